package words

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables into docs/coming-from.md")

// page is the documentation that is made from the table, from the line that has the mark on.
const (
	page = "../../docs/coming-from.md"
	mark = "<!-- made from internal/words; go test ./internal/words -update writes it -->\n"
)

// TestPage holds the documentation to the table.
func TestPage(t *testing.T) {
	old, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text, _, found := bytes.Cut(old, []byte(mark))
	if !found {
		t.Fatalf("%s has no line %s", page, mark)
	}
	want := string(text) + mark + tables()
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(old) != want {
		t.Errorf("%s is not what the table says: go test ./internal/words -update", page)
	}
}

// tables are the tables of the documentation, one for each program.
func tables() string {
	var out strings.Builder
	for _, program := range Programs {
		fmt.Fprintf(&out, "\n## %s\n\n| there | here |\n|---|---|\n", program)
		for i := range Table {
			w := &Table[i]
			if slices.Contains(w.From, program) {
				fmt.Fprintf(&out, "| %s | %s |\n", there(w), here(w))
			}
		}
	}
	return out.String()
}

func there(w *Word) string {
	name := "--" + w.Name
	if strings.Contains(w.Name, ".") { // keys of a section of a configuration file
		name = strings.ReplaceAll(strings.ReplaceAll(w.Name, "-", "_"), ".", ": ")
	}
	if w.Value != "" {
		name += " " + w.Value
	}
	if w.Short != "" {
		name = "-" + w.Short + ", " + name
	}
	return "`" + name + "`" + verbsOf(w)
}

// verbsOf says of a word that not only train knows which verbs do.
func verbsOf(w *Word) string {
	if w.Verbs == nil || len(w.Verbs) == 1 && w.Verbs[0] == "train" {
		return ""
	}
	return " (" + strings.Join(w.Verbs, ", ") + ")"
}

// valueOf is what a word sets for a value.
func valueOf(w *Word, value string) string {
	sets, err := w.Sets(value, nil)
	if err != nil {
		return err.Error()
	}
	return "`--" + sets[0].Flag + " " + sets[0].Value + "`"
}

func here(w *Word) string {
	switch {
	case w.Note != "":
		return "no effect: " + w.Note
	case w.Instead != "":
		return "refused: " + w.Instead
	}
	text := "`" + w.Here() + "`"
	if w.Switch && w.Convert != nil {
		text = valueOf(w, "true") + " with true, " + valueOf(w, "false") + " with false"
	}
	if w.NotWith != "" {
		text += ", not beside `--" + w.NotWith + "`: " + w.Why
	}
	return text
}

// TestTable wants each word to be there once a verb, to have one effect, and no name that would never be looked up.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for i := range Table {
		w := &Table[i]
		effects := 0
		for _, has := range []bool{w.Means != nil, w.Note != "", w.Instead != ""} {
			if has {
				effects++
			}
		}
		if effects != 1 {
			t.Errorf("%s has %d effects, expected 1", w.Name, effects)
		}
		if w.Name != Normal(w.Name) || w.Value != Normal(w.Value) {
			t.Errorf("%s %s: expected lower case with dashes", w.Name, w.Value)
		}
		if len(w.From) == 0 || (w.Means == nil && w.Verbs == nil && w.Value == "") {
			t.Errorf("%s belongs to no program or to no verb", w.Name)
		}
		if (w.NotWith == "") != (w.Why == "") || w.Settles != "" && w.Instead == "" {
			t.Errorf("%s: a reason is missing", w.Name)
		}
		key := w.Name + "=" + w.Value + " " + strings.Join(w.Verbs, ",")
		if seen[key] {
			t.Errorf("%s is there twice", key)
		}
		seen[key] = true
	}
}

func TestConversions(t *testing.T) {
	rank := func(string) string { return "8" }
	for _, c := range []struct{ word, value, want string }{
		{"num-layers", "16", "layers=last:16"},
		{"num-layers", "-1", "layers=all"},
		{"num-layers", "0", ""},
		{"num-layers", "many", ""},
		{"num-train-epochs", "3.0", "epochs=3"},
		{"num-train-epochs", "0.5", ""},
		{"max-steps", "-1", "steps=0"},
		{"max-steps", "10", "steps=10"},
		{"lora-parameters.scale", "20.0", "alpha=160"},
		{"lora-parameters.scale", "x", ""},
		{"lora-r", "4", "rank=4"},
		{"mask-prompt", "true", "train-on=last"},
		{"mask-prompt", "false", "train-on=all"},
		{"train-on-inputs", "False", "train-on=assistant"},
		{"warmup-ratio", "0.1", "warmup=0.1"},
		{"warmup-ratio", "1", ""},
		{"packing", "true", "no-packing=false"},
		{"packing", "False", "no-packing=true"},
		{"packing", "maybe", ""},
	} {
		for _, w := range For("train") {
			if w.Name != c.word {
				continue
			}
			sets, err := w.Sets(c.value, rank)
			if (err == nil) != (c.want != "") || err == nil && sets[0].Flag+"="+sets[0].Value != c.want {
				t.Errorf("%s %s: %v, %v, want %q", c.word, c.value, sets, err, c.want)
			}
		}
	}
}
