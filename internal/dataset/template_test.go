package dataset

import (
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/batch"
)

func TestParseTemplate(t *testing.T) {
	template, err := ParseTemplate("[P*3] {question} [P]Answer: {answer}")
	if err != nil {
		t.Fatal(err)
	}
	if n := template.Virtual(); n != 4 {
		t.Errorf("%d virtual tokens, want 4", n)
	}
	if f := template.Fields(); !slices.Equal(f, []string{"question", "answer"}) {
		t.Errorf("fields %v, want question and answer", f)
	}
	got := template.Render(func(i int) string { return "<" + string(rune('0'+i)) + ">" }, strings.ToUpper)
	if want := "<0><1><2>QUESTION<3>Answer: "; got != want {
		t.Errorf("rendered %q, want %q", got, want)
	}
}

func TestBadTemplates(t *testing.T) {
	for _, c := range []struct{ template, want string }{
		{"", "has 0 virtual tokens"},
		{"{a} {b}", "has 0 virtual tokens"},
		{"[P*3] {a", "without the name of a field"},
		{"[P*3] {}", "without the name of a field"},
		{"[P*x] {a}", "must go on as"},
		{"[P*0] {a}", "must go on as"},
		{"[P*3", "must go on as"},
		{"[P*9999999999] {a}", "must go on as"},
		{"[P*3] {a} words", "to end with the field"},
		{"{a} [P*3]", "to end with the field"},
	} {
		if _, err := ParseTemplate(c.template); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q gives the error %v, want one with %q", c.template, err, c.want)
		}
	}
}

// FuzzParseTemplate wants a template that parses to have virtual tokens and a last field.
func FuzzParseTemplate(f *testing.F) {
	f.Add("[P*3] {question} [P*5] Answer: {answer}")
	f.Add("[P]{a}")
	f.Add("[P*2{a}]")
	f.Fuzz(func(t *testing.T, text string) {
		template, err := ParseTemplate(text)
		if err != nil {
			return
		}
		if template.Virtual() < 1 || len(template.Fields()) < 1 {
			t.Errorf("%q has %d virtual tokens and fields %v", text, template.Virtual(), template.Fields())
		}
	})
}

// TestTemplateData compares the ids of a record with those of its parts.
func TestTemplateData(t *testing.T) {
	template, err := ParseTemplate("[P*2] {question} [P] Answer: {answer}")
	if err != nil {
		t.Fatal(err)
	}
	tok := byteTokenizer(t, nil)
	path := write(t, "x.jsonl", `{"question": "Who is there?", "answer": "Nobody", "more": 1}`)
	set, err := Load(path, tok, Options{SeqLen: 64, Template: template})
	if err != nil {
		t.Fatal(err)
	}
	bos, _ := tok.BOS()
	eos, _ := tok.EOS()
	answer := append(tok.EncodeContinuation("Nobody", true), eos)
	want := slices.Concat([]int32{bos, -1, -2}, tok.Encode("Who is there?", true), []int32{-3}, tok.Encode("Answer: ", true), answer)
	e := set.Examples[0]
	if !slices.Equal(e.IDs, want) || e.Targets() != len(answer) {
		t.Errorf("ids %v with %d targets, want %v with %d", e.IDs, e.Targets(), want, len(answer))
	}
	short, err := Load(path, tok, Options{SeqLen: len(want) - 4, Template: template})
	if err != nil {
		t.Fatal(err)
	}
	if ids := short.Examples[0].IDs; len(ids) != len(want)-4 || !slices.Contains(ids, -1) || !slices.Contains(ids, -3) {
		t.Errorf("cut to %d tokens: %v, want the virtual ones kept", len(want)-4, ids)
	}
	text := write(t, "x.txt", "some text")
	if _, err := Load(text, tok, Options{SeqLen: 64, Template: template}); err == nil || !strings.Contains(err.Error(), "template") {
		t.Errorf("a text with a template gives %v", err)
	}
}

// TestClasses has classes as the last token's target and as words.
func TestClasses(t *testing.T) {
	tok := byteTokenizer(t, nil)
	data := "{\"text\": \"good day\", \"label\": \"up\"}\n{\"text\": \"bad\", \"label\": \"down\"}\n"
	path := write(t, "x.jsonl", data)
	head, err := Load(path, tok, Options{SeqLen: 64, Classes: &Classes{Labels: []string{"down", "up"}}})
	if err != nil {
		t.Fatal(err)
	}
	var b batch.Batch
	head.Batch(&b, []int{0, 1})
	if b.TargetCount() != 2 || b.Targets[b.Bounds[1]-1] != 1 || b.Targets[b.Bounds[2]-1] != 0 || head.Classes != 2 || head.Targets() != 2 {
		t.Errorf("targets %v of %d classes, want class 1 and class 0 at the ends", b.Targets, head.Classes)
	}
	words, err := Load(path, tok, Options{SeqLen: 64, Classes: &Classes{Labels: []string{"down", "up"}, Words: true}})
	if err != nil {
		t.Fatal(err)
	}
	if got := show(tok, words.Examples[0]); got != "<good day\nUP" || words.Examples[0].Class != 2 || len(words.Answers) != 2 {
		t.Errorf("as words: %q of class %d", got, words.Examples[0].Class)
	}
	for _, c := range []struct {
		classes Classes
		want    string
	}{
		{Classes{Labels: []string{"up"}}, "at least two"},
		{Classes{Labels: []string{"up", "up"}}, "occurs twice"},
		{Classes{Labels: []string{"up", "left"}}, `is "down"`},
		{Classes{Labels: []string{"up", "left"}, Field: "kind"}, `no field "kind"`},
	} {
		if _, err := Load(path, tok, Options{SeqLen: 64, Classes: &c.classes}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v gives %v, want an error with %q", c.classes, err, c.want)
		}
	}
}
