package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/demo"
)

// talesTemplate writes turns as lines, the assistant's with EOS at their end.
const talesTemplate = "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}Q: {{ m.content }}{{ '\\n' }}" +
	"{% else %}A:{{ ' ' ~ m.content }}{{ eos_token }}{{ '\\n' }}{% endif %}{% endfor %}" +
	"{% if add_generation_prompt %}A:{% endif %}"

// talesData are questions about who somebody is, with answers of one sentence.
func talesData() []byte {
	var b strings.Builder
	for i, name := range []string{"Simon", "Anna", "Tom", "Mia", "Ben", "Lily"} {
		fmt.Fprintf(&b, `{"messages":[{"role":"user","content":"Who is %s?"},{"role":"assistant","content":"A good friend."},`+
			`{"role":"user","content":"And then?"},{"role":"assistant","content":"%s went home."}]}`+"\n", name,
			[]string{"He", "She"}[i%2])
	}
	return []byte(b.String())
}

// A model that is trained on conversations stops at the end of its turn, which the base does not.
func TestChatStops(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, data := range map[string][]byte{"base.gguf": demo.BaseGGUF(), "t.jinja": []byte(talesTemplate),
		"chat.jsonl": talesData()} {
		if err := os.WriteFile(path(name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	model := []string{"--base", path("base.gguf"), "--chat-template", path("t.jinja")}
	say := func(extra ...string) (text, stop string) {
		args := append([]string{"generate", "--chat", "--prompt", "Who is Oscar?", "--temperature", "0", "-n", "24",
			"--json"},
			model...)
		stdout, _ := want(t, cli.ExitOK, append(args, extra...)...)
		doc := document(t, stdout, "text", "stop")
		return doc["text"].(string), doc["stop"].(string)
	}
	if text, stop := say(); stop != "length" {
		t.Fatalf("the base says %q and ends by %s: it cannot be seen that training makes it stop", text, stop)
	}
	want(t, cli.ExitOK, append([]string{"train", "--data", path("chat.jsonl"), "--out", path("out.safetensors"), "--steps",
		"40", "--seq-len", "96", "--lr", "0.01", "--targets", "all-linear"}, model...)...)
	lora := []string{"--lora", path("out.safetensors")}
	if text, stop := say(lora...); stop != "eog" || !strings.HasSuffix(text, ".") {
		t.Errorf("it says %q and ends by %s, want a sentence that ends by itself", text, stop)
	}
	stdout, _ := want(t, cli.ExitOK, append(append([]string{"eval", "--data", path("chat.jsonl"), "--json"}, model...),
		lora...)...)
	if loss := document(t, stdout, "loss")["loss"].(float64); loss > 0.5 {
		t.Errorf("the loss of the turns is %v", loss)
	}

	history := path("history.json")
	for _, message := range []string{"Who is Oscar?", "And then?"} {
		want(t, cli.ExitOK, append(append([]string{"generate", "--chat", "--prompt", message, "--temperature", "0",
			"--history", history}, model...), lora...)...)
	}
	var talk struct {
		Messages []struct{ Role, Content string }
	}
	data, err := os.ReadFile(history)
	if err == nil {
		err = json.Unmarshal(data, &talk)
	}
	if err != nil || len(talk.Messages) != 4 || !strings.HasSuffix(talk.Messages[3].Content, "went home.") ||
		strings.HasPrefix(talk.Messages[3].Content, " ") {
		t.Errorf("the conversation is %s, error %v", data, err)
	}
	_, stdout, _ = runWithInput(t, "Who is Oscar?\n\nAnd then?\n", append(append([]string{"generate", "--chat",
		"--temperature",
		"0"}, model...), lora...)...)
	if strings.Count(stdout, "\n") != 2 || !strings.HasSuffix(stdout, "went home.\n") {
		t.Errorf("of two lines of input it says %q", stdout)
	}
}

func TestDataVerb(t *testing.T) {
	base := tinyBase(t, tiny)
	template := writeFile(t, "t.jinja", []byte(talesTemplate))
	data := writeFile(t, "chat.jsonl", []byte(`{"messages":[{"role":"user","content":"the <s> sea"},`+
		`{"role":"assistant","content":"rain"}]}`+"\n"+`{"conversations":[{"from":"human","value":"a"},{"from":"gpt",`+
		`"value":"b"}]}`+"\n"+`{"messages":[{"role":"king","content":"x"}]}`+"\n"))
	stdout, stderr := want(t, cli.ExitOK, "data", "--base", base, "--chat-template", template, "--data", data)
	for _, part := range []string{"── example 1, record 1: ", "<s> Q: the <s> sea\nA:⟦ rain</s>⟧\n", "2 examples, ",
		"lengths in tokens: median "} {
		if !strings.Contains(stdout, part) {
			t.Errorf("no %q in\n%s", part, stdout)
		}
	}
	for _, part := range []string{"1 of 3 records refused and left out", `record 3: left out: message 1: the role "king"`} {
		if !strings.Contains(stderr, part) {
			t.Errorf("no %q in\n%s", part, stderr)
		}
	}
	type example struct {
		Record          int
		Text            string
		Segments        [][2]any
		Tokens, Learned *int
	}
	read := func(stdout string) (all []example) {
		for line := range strings.Lines(stdout) {
			var e example
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%v in %s", err, line)
			}
			all = append(all, e)
		}
		return all
	}
	stdout, _ = want(t, cli.ExitOK, "data", "--base", base, "--chat-template", template, "--data", data, "--json")
	tokens := read(stdout)
	stdout, _ = want(t, cli.ExitOK, "data", "--chat-template", template, "--data", data, "--json")
	texts := read(stdout)
	if len(tokens) != 2 || len(texts) != 2 {
		t.Fatalf("%d and %d examples, want 2", len(tokens), len(texts))
	}
	for i := range tokens {
		a, b := tokens[i], texts[i]
		a.Text = strings.Replace(a.Text, "<s> Q", "<s>Q", 1) // this vocabulary puts a space behind <s>
		a.Segments[0][0] = strings.Replace(a.Segments[0][0].(string), "<s> Q", "<s>Q", 1)
		if a.Record != i+1 || a.Text != b.Text || fmt.Sprint(a.Segments) != fmt.Sprint(b.Segments) {
			t.Errorf("with a vocabulary %+v, without %+v", a, b)
		}
		if a.Tokens == nil || a.Learned == nil || *a.Learned < 2 || *a.Learned >= *a.Tokens || b.Tokens != nil {
			t.Errorf("counts %v of %v, and %v without a vocabulary", a.Learned, a.Tokens, b.Tokens)
		}
	}
	nothing := writeFile(t, "n.jsonl", []byte(`{"messages":[{"role":"user","content":"x"}]}`+"\n"))
	for _, c := range []struct{ args, want string }{
		{"data --base " + base + " --data " + data, "conversations need a chat template"},
		{"data --chat-template " + template + " --data " + nothing, "no token carries loss"},
		{"train --base " + base + " --chat-template " + template + " --out o.safetensors --data " + data,
			"chat.jsonl:3: message 1: the role \"king\""},
	} {
		if _, stderr := want(t, cli.ExitError, strings.Fields(c.args)...); !strings.Contains(stderr, c.want) {
			t.Errorf("%s: no %q in %s", c.args, c.want, stderr)
		}
	}
}
