package dataset

import (
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/template"
)

// TestTemplateData compares the ids of a record with those of its parts.
func TestTemplateData(t *testing.T) {
	words, err := template.ParseVirtual("[P*2] {question} [P] Answer: {answer}")
	if err != nil {
		t.Fatal(err)
	}
	tok := byteTokenizer(t, nil)
	path := write(t, "x.jsonl", `{"question": "Who is there?", "answer": "Nobody", "more": 1}`)
	set, err := Load(path, tok, Options{SeqLen: 64, Template: words})
	if err != nil {
		t.Fatal(err)
	}
	bos, _ := tok.BOS()
	eos, _ := tok.EOS()
	answer := append(tok.EncodeContinuation("Nobody", true), eos)
	want := slices.Concat([]int32{bos, -1, -2}, tok.Encode("Who is there?", true), []int32{-3},
		tok.Encode("Answer: ", true), answer)
	e := set.Examples[0]
	if !slices.Equal(e.IDs, want) || e.Targets() != len(answer) {
		t.Errorf("ids %v with %d targets, want %v with %d", e.IDs, e.Targets(), want, len(answer))
	}
	short, err := Load(path, tok, Options{SeqLen: len(want) - 4, Template: words})
	if err != nil {
		t.Fatal(err)
	}
	if ids := short.Examples[0].IDs; len(ids) != len(want)-4 || !slices.Contains(ids, -1) || !slices.Contains(ids, -3) {
		t.Errorf("cut to %d tokens: %v, want the virtual ones kept", len(want)-4, ids)
	}
	text := write(t, "x.txt", "some text")
	plain, err := Load(text, tok, Options{SeqLen: 64, Template: words})
	if err != nil || show(tok, plain.Examples[0]) != "!<some text" {
		t.Errorf("a text beside a template gives %v, %v", plain, err)
	}
	if _, err := Load(text, tok, Options{SeqLen: 64, Classes: &Classes{Labels: []string{"a", "b"}}}); err == nil ||
		!strings.Contains(err.Error(), "x.txt: a text; classes need records") {
		t.Errorf("a text with classes gives %v", err)
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
	if b.TargetCount() != 2 || b.Targets[b.Bounds[1]-1] != 1 || b.Targets[b.Bounds[2]-1] != 0 || head.Classes != 2 ||
		head.Targets() != 2 {
		t.Errorf("targets %v of %d classes, want class 1 and class 0 at the ends", b.Targets, head.Classes)
	}
	words, err := Load(path, tok, Options{SeqLen: 64, Classes: &Classes{Labels: []string{"down", "up"}, Words: true}})
	if err != nil {
		t.Fatal(err)
	}
	if got := show(tok, words.Examples[0]); got != "<good day\nUP" || words.Examples[0].Class != 2 ||
		len(words.Answers) != 2 {
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
		if _, err := Load(path, tok, Options{SeqLen: 64, Classes: &c.classes}); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v gives %v, want an error with %q", c.classes, err, c.want)
		}
	}
}
