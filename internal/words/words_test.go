package words

import (
	"strings"
	"testing"
)

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
