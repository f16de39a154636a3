package chat

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/peftconv/peftconv/internal/jinja"
	"github.com/peftconv/peftconv/internal/testdata"
)

type goldenFile struct {
	Template string
	BOS      string `json:"bos_token"`
	EOS      string `json:"eos_token"`
	Stops    []string
	Cases    []goldenCase
}

type goldenCase struct {
	Conversation string
	Kwargs       json.RawMessage
	Turns        []struct {
		Message    int
		How        How
		Example    *int
		PromptRest string `json:"prompt_rest"`
		TurnRest   string `json:"turn_rest"`
	}
	Examples [][]goldenSegment
	Marked   []goldenSegment
}

type goldenSegment struct {
	Text  string
	Learn bool
}

func (s *goldenSegment) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&s.Text, &s.Learn})
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// conversations are those that masks are marked for.
func conversations(t *testing.T, path string) map[string]*Conversation {
	t.Helper()
	var all []json.RawMessage
	readJSON(t, path, &all)
	out := map[string]*Conversation{}
	for _, raw := range all {
		v, err := jinja.FromJSON(raw)
		if err != nil {
			t.Fatal(err)
		}
		d := v.(*jinja.Dict)
		c := &Conversation{}
		name, _ := d.Get("name")
		messages, _ := d.Get("messages")
		for _, m := range messages.(*jinja.List).Items {
			c.Messages = append(c.Messages, m.(*jinja.Dict))
		}
		if tools, ok := d.Get("tools"); ok {
			c.Tools = tools.(*jinja.List)
		}
		out[name.(string)] = c
	}
	return out
}

func plain(segments []Segment) (out []goldenSegment) {
	for _, s := range segments {
		out = append(out, goldenSegment{s.Text, s.Learn})
	}
	return out
}

// Masks are those that people have marked by hand: 33 templates, 160 conversations.
func TestMarked(t *testing.T) {
	dir := testdata.Shared(t, "chat")
	all := conversations(t, filepath.Join(dir, "masks", "conversations.json"))
	files, _ := filepath.Glob(filepath.Join(dir, "masks", "*.json"))
	cases := 0
	for _, path := range files {
		if filepath.Base(path) == "conversations.json" {
			continue
		}
		var g goldenFile
		readJSON(t, path, &g)
		for _, marked := range []bool{false, true} {
			source := filepath.Join(dir, "templates", g.Template+".jinja")
			if marked {
				source = filepath.Join(dir, "masks", "marked", strings.TrimPrefix(g.Template, "more/")+".jinja")
			}
			data, err := os.ReadFile(source)
			if err != nil {
				t.Fatal(err)
			}
			tmpl, err := New(string(data))
			if err != nil {
				t.Fatal(err)
			}
			tmpl.BOS, tmpl.EOS, tmpl.Stops = g.BOS, g.EOS, g.Stops
			tmpl.Now = time.Date(2026, time.March, 5, 9, 7, 8, 0, time.UTC)
			for _, c := range g.Cases {
				checkCase(t, g.Template, tmpl, all[c.Conversation], &c, marked)
				cases++
			}
		}
	}
	t.Logf("%d cases, without generation blocks and with them", cases)
}

func checkCase(t *testing.T, name string, tmpl *Template, c *Conversation, want *goldenCase, marked bool) {
	t.Helper()
	tmpl.Arguments = nil
	if want.Kwargs != nil {
		v, err := jinja.FromJSON(want.Kwargs)
		if err != nil {
			t.Fatal(err)
		}
		tmpl.Arguments = v.(*jinja.Dict)
	}
	got, err := tmpl.Mask(c, Assistant)
	if err != nil {
		t.Errorf("%s, %s: %v", name, want.Conversation, err)
		return
	}
	for i, turn := range got.Turns {
		w := want.Turns[i]
		example := -1
		if w.Example != nil {
			example = *w.Example
		}
		if turn.Message != w.Message || turn.How != w.How || turn.Example != example || turn.PromptRest != w.PromptRest ||
			turn.TurnRest != w.TurnRest {
			t.Errorf("%s, %s, marked %v: message %d is %s in example %d, prompt rest %q, turn rest %q\nwant %d %s in %d, %q, %q",
				name, want.Conversation, marked, turn.Message, turn.How, turn.Example, turn.PromptRest, turn.TurnRest, w.Message,
				w.How, example, w.PromptRest, w.TurnRest)
		}
	}
	if len(got.Examples) != len(want.Examples) {
		t.Errorf("%s, %s, marked %v: %d examples, want %d", name, want.Conversation, marked, len(got.Examples),
			len(want.Examples))
		return
	}
	for i := range got.Examples {
		if p := plain(got.Examples[i]); !reflect.DeepEqual(p, want.Examples[i]) {
			t.Errorf("%s, %s, marked %v, example %d:\ngot  %+v\nwant %+v", name, want.Conversation, marked, i, p,
				want.Examples[i])
		}
	}
	if !marked {
		return
	}
	whole := want.Marked
	if whole == nil && len(want.Examples) == 1 {
		whole = want.Examples[0]
	}
	text, spans, err := tmpl.Render(c, c.Messages, false)
	if p := plain(segments(text, spans)); err != nil || whole != nil && !reflect.DeepEqual(p, whole) {
		t.Errorf("%s, %s: generation blocks\ngot  %+v\nwant %+v", name, want.Conversation, p, whole)
	}
}
