package jinja

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/peftconv/peftconv/internal/testdata"
)

// goldenNow is the time of the golden renderings.
var goldenNow = time.Date(2026, time.March, 5, 9, 7, 8, 0, time.UTC)

type rendering struct {
	Template     string
	Conversation string
	Prompt       bool
	Text         *string
	Error        string
	Message      string
}

// What Jinja2 makes of 87 templates and 10 conversations, in the configuration of transformers.
func TestGolden(t *testing.T) {
	dir := testdata.Shared(t, "chat")
	var expected struct {
		Templates []struct {
			Template string
			BOS      *string `json:"bos_token"`
			EOS      *string `json:"eos_token"`
		}
		Renderings []rendering
	}
	data, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &expected); err != nil {
		t.Fatal(err)
	}
	templates, variables := map[string]*Template{}, map[string]*Dict{}
	for _, x := range expected.Templates {
		source, err := os.ReadFile(filepath.Join(dir, "templates", x.Template+".jinja"))
		if err != nil {
			t.Fatal(err)
		}
		if templates[x.Template], err = Compile(string(source)); err != nil {
			t.Errorf("%s: %v", x.Template, err)
		}
		d := NewDict()
		if x.BOS != nil {
			d.Set("bos_token", *x.BOS)
		}
		if x.EOS != nil {
			d.Set("eos_token", *x.EOS)
		}
		variables[x.Template] = d
	}
	conversations := readConversations(t, filepath.Join(dir, "conversations.json"))
	texts, refused, different := 0, 0, 0
	for _, want := range expected.Renderings {
		tmpl, c := templates[want.Template], conversations[want.Conversation]
		if tmpl == nil {
			continue
		}
		v := variables[want.Template].Clone()
		for _, name := range []string{"messages", "tools", "documents"} {
			value, _ := c.Get(name)
			v.Set(name, value)
		}
		v.Set("add_generation_prompt", want.Prompt)
		got, _, err := tmpl.Render(v, goldenNow)
		e, _ := err.(*Error)
		switch {
		case want.Text != nil && err != nil:
			different++
			t.Errorf("%s, %s, prompt %v: %v", want.Template, want.Conversation, want.Prompt, err)
		case want.Text != nil && got != *want.Text:
			different++
			t.Errorf("%s, %s, prompt %v:\ngot  %q\nwant %q", want.Template, want.Conversation, want.Prompt, got, *want.Text)
		case want.Text != nil:
			texts++
		case want.Error == "raise" && (e == nil || !e.Raised || e.Message != want.Message):
			different++
			t.Errorf("%s, %s, prompt %v: got %q, error %v, want the error %q", want.Template, want.Conversation, want.Prompt,
				got, err, want.Message)
		case want.Error == "raise":
			refused++
		case err == nil:
			t.Logf("%s, %s: rendered, while Jinja2 has %s: %s", want.Template, want.Conversation, want.Error, want.Message)
		}
	}
	t.Logf("%d texts and %d refusals are equal, %d differ", texts, refused, different)
}

func readConversations(t *testing.T, path string) map[string]*Dict {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	v, err := FromJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*Dict{}
	for _, item := range v.(*List).Items {
		c := item.(*Dict)
		name, _ := c.Get("name")
		out[name.(string)] = c
	}
	return out
}

// What Jinja2 3.1.2 makes of expressions and statements, in the same configuration. It needs no reference data.
func TestJinja2(t *testing.T) {
	var file struct {
		Variables  json.RawMessage
		Renderings [][2]string
	}
	data, err := os.ReadFile("testdata/jinja2.json")
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range file.Renderings {
		if got, _, err := render(t, r[0], string(file.Variables)); err != nil || got != r[1] {
			t.Errorf("%s\ngot  %q, %v\nwant %q", r[0], got, err, r[1])
		}
	}
}
