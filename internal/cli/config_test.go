package cli

import (
	"strings"
	"testing"
)

// keys are those of TestParseConfig and FuzzParseConfig that are whole sections.
func keys(name string) bool { return name == "rank-pattern" }

func TestParseConfig(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"# nothing\n", ""},
		{"lora_r: 4\n", "lora-r=4"},
		{"lr: 1e-5\nname: 'it''s'\n", "lr=1e-5 name=it's"},
		{"targets: [q_proj, v_proj]\n", "targets=q_proj|v_proj"},
		{"targets:\n- q_proj\n- '*.v,proj'\n", "targets=q_proj|*.v,proj"},
		{"resume: null\nempty: ~\nleft:\n", ""},
		{"lora_parameters:\n  rank: 8\n  keys: [a]\n", "lora-parameters.rank=8 lora-parameters.keys=a"},
		{"rank_pattern: {q_proj: 4, v_proj: 2}\n", "rank-pattern=q_proj=4|v_proj=2"},
		{"template: |-\n  a\n  b\n", "template=a\nb"},
		{"on: yes\n", "on=yes"},
		{"- a\n", "!c.yaml:1:1: Sequence, expected NAME: value lines"},
		{"a: [[1]]\n", "!c.yaml:1:5: a: expected a list of plain values"},
		{"a: 1\n---\nb: 2\n", "!a second document"},
		{"a: 1\nA: 2\n", `!c.yaml:2:1: "a" is given twice`},
		{"a: &x 1\nb: *x\n", "!c.yaml:1:"},
		{"a: [1\n", "!c.yaml:1:"},
		{strings.Repeat("[", 50_000), "!c.yaml:1:17: lists more than 16 deep"},
		{strings.Repeat("{a: ", 50_000), "!c.yaml:1:65: lists more than 16 deep"},
		{strings.Repeat("- ", 50_000), "!c.yaml:1:33: lists more than 16 deep"},
	} {
		entries, err := parseConfig("c.yaml", []byte(c.text), keys)
		if want, wrong := strings.CutPrefix(c.want, "!"); wrong {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: error %v, want %q", c.text, err, want)
			}
			continue
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.key+"="+strings.Join(e.values, "|"))
		}
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%q: %q, want %q (%v)", c.text, got, c.want, err)
		}
	}
}

// FuzzParseConfig wants no panic, and an error or entries that have names.
func FuzzParseConfig(f *testing.F) {
	for _, seed := range []string{"a: 1\n", "a: [1, {b: c}]\n", "? x\n: y\n", "a: &x [*x]\n", "<<: {a: 1}\n",
		"a: !!int 1\n", "a: |\n  b\n", "---\n...\n", "\t", "{a: {b: {c: 1}}}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, err := parseConfig("c.yaml", text, keys)
		if err != nil && !strings.HasPrefix(err.Error(), "c.yaml") {
			t.Errorf("an error without the file's name: %v", err)
		}
		for _, e := range entries {
			if e.node == nil {
				t.Errorf("%q has no place", e.key)
			}
		}
	})
}
