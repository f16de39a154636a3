package template

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func parse(t *testing.T, text string) *Discrete {
	t.Helper()
	template, err := ParseDiscrete(text)
	if err != nil {
		t.Fatal(err)
	}
	return template
}

func TestParseIsTheInverseOfString(t *testing.T) {
	for _, c := range []struct {
		text, want string
		slots      int
		fields     string
	}{
		{"{sentence} It was [slot][slot] {answer}", "{sentence} It was[slot][slot] {answer}", 2, "sentence answer"},
		{"[slot*3]\n{a} and {b}: {c}", "[slot*3]\n{a} and {b}: {c}", 3, "a b c"},
		{"{a} so [slot: truly great] {a} {c}", "{a} so[slot: truly great] {a} {c}", 1, "a c"},
		{"{a} so [slot:great] {c}", "{a} so[slot: great] {c}", 1, "a c"},
		{"{{ {a} } [x] {c}", "{{ {a} } [x] {c}", 0, "a c"},
		{"Tell: [slot]{c}", "Tell:[slot]{c}", 1, "c"},
	} {
		template := parse(t, c.text)
		if got := template.String(); got != c.want {
			t.Errorf("%q: String is %q, want %q", c.text, got, c.want)
		}
		if again := parse(t, template.String()).String(); again != c.want {
			t.Errorf("%q: read again it is %q, want %q", c.text, again, c.want)
		}
		if got := template.Slots(); got != c.slots {
			t.Errorf("%q: %d slots, want %d", c.text, got, c.slots)
		}
		if got := strings.Join(template.Fields(), " "); got != c.fields {
			t.Errorf("%q: fields %q, want %q", c.text, got, c.fields)
		}
	}
}

func TestBadTemplates(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "expected it to end with the field",
		"{a} It was [slot]":         "expected it to end with the field",
		"{a":                        "byte 1: expected { to go on with the name of a field and }",
		"so {} {b}":                 "byte 4: expected { to go on with the name",
		"{a{b}}":                    "expected { to go on with the name",
		"{a} [slot {b}":             "byte 5: [slot is not closed",
		"{a} [slot [slot] {b}":      "[slot is not closed",
		"{a} [slot*0] {b}":          "[slot*0], expected [slot], [slot*3]",
		"{a} [slot*x] {b}":          "[slot*x], expected",
		"{a} [slots] {b}":           "[slots], expected",
		"{a} [slot: ] {b}":          "[slot: ], expected",
		"{a} [slot*257] {b}":        "of at most 256",
		"{a}[slot*200][slot*99]{b}": "299 slots, expected at most 256",
		"{b}":                       "nothing stands before {b}",
	} {
		if _, err := ParseDiscrete(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q in it", text, err, want)
		}
	}
}

func TestRender(t *testing.T) {
	split := func(words string) ([]string, error) { return strings.SplitAfter(words, "t "), nil }
	template, err := parse(t, "[slot: Now read] {a}\n[slot]so [slot: it was]  {b}").Fill(split)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(template.Words(), "|"), " Now read|| it |was"; got != want {
		t.Fatalf("words %q, want %q", got, want)
	}
	words := []string{" Now read", " well", " it", " was"}
	r := template.With(words).Render(func(name string) string { return "<" + name + ">" })
	if want := "Now read <a>\nwellso it was"; r.Prompt != want {
		t.Fatalf("prompt %q, want %q", r.Prompt, want)
	}
	for i, span := range r.Slots {
		if got, want := r.Prompt[span.From:span.To], strings.TrimLeft(words[i], " "); strings.TrimLeft(got, " ") != want {
			t.Errorf("slot %d is %q, want %q", i, got, want)
		}
	}
	if got := r.Completion(" good"); got != "  good" {
		t.Errorf("completion %q, want the blanks of the template alone", got)
	}
	literal := template.With(words).Literal()
	if got, want := literal.String(), "Now read {a}\nwellso it was  {b}"; got != want {
		t.Errorf("literal %q, want %q", got, want)
	}
	if got := literal.Render(func(name string) string { return "<" + name + ">" }).Prompt; got != r.Prompt {
		t.Errorf("the literal template gives %q, with slots it gives %q", got, r.Prompt)
	}
}

func TestIsWord(t *testing.T) {
	for _, word := range []string{" was", " a", " I", ",", "?", " Ärger"} {
		if !IsWord(word) {
			t.Errorf("%q is no word", word)
		}
	}
	for _, word := range []string{"", " ", "was", " b", " 12", "<s>", "{", "[", " x]", "\n", ",,"} {
		if IsWord(word) {
			t.Errorf("%q is a word", word)
		}
	}
}

// Forms are compared with files; with PEFTCONV_UPDATE set those are written.
func TestForms(t *testing.T) {
	answers := []string{"glad", "merry", "sad"}
	for _, c := range []struct {
		name, template string
		answers        []string
	}{
		{"after", "{tale}\n\nIn the end[slot: she was] {mood}", answers},
		{"before", "[slot: Translate into \"French\"]:\n{text}\n", nil},
		{"two", "Q: {question}\nHint: {{ {hint}\nA: {answer}", nil},
	} {
		if c.name == "before" {
			c.template += "{answer}"
		}
		template := parse(t, c.template)
		golden(t, c.name+".system.txt", template.System(c.answers))
		golden(t, c.name+".Modelfile", template.Modelfile(c.answers, "./base.gguf"))
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("PEFTCONV_UPDATE") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.ReplaceAll(string(want), "\r\n", "\n") {
		t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
	}
}

func FuzzParseDiscrete(f *testing.F) {
	for _, text := range []string{"{a} It was [slot][slot] {b}", "[slot*3]{{ {a}\n[slot: x y] {b}", "{a}[slot"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		template, err := ParseDiscrete(text)
		if err != nil {
			return
		}
		again, err := ParseDiscrete(template.String())
		if err != nil {
			t.Fatalf("%q becomes %q: %v", text, template.String(), err)
		}
		if again.String() != template.String() || !slices.Equal(again.Fields(), template.Fields()) ||
			again.Slots() != template.Slots() {
			t.Fatalf("%q becomes %q, read again %q", text, template.String(), again.String())
		}
	})
}
