package template

import (
	"slices"
	"strings"
	"testing"
)

func TestParseVirtual(t *testing.T) {
	template, err := ParseVirtual("[P*3] {question} [P]Answer: {answer}")
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

func TestBadVirtual(t *testing.T) {
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
		if _, err := ParseVirtual(c.template); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q gives the error %v, want one with %q", c.template, err, c.want)
		}
	}
}

// FuzzParseVirtual wants a template that parses to have virtual tokens and a last field.
func FuzzParseVirtual(f *testing.F) {
	f.Add("[P*3] {question} [P*5] Answer: {answer}")
	f.Add("[P]{a}")
	f.Add("[P*2{a}]")
	f.Fuzz(func(t *testing.T, text string) {
		template, err := ParseVirtual(text)
		if err != nil {
			return
		}
		if template.Virtual() < 1 || len(template.Fields()) < 1 {
			t.Errorf("%q has %d virtual tokens and fields %v", text, template.Virtual(), template.Fields())
		}
	})
}
