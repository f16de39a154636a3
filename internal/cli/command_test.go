package cli

import (
	"testing"
)

func TestNearest(t *testing.T) {
	for _, c := range []struct{ word, want string }{
		{"trian", "train"}, {"inspct", "inspect"}, {"gen", "generate"}, {"x", ""}, {"quantize", ""},
	} {
		if got := Nearest(c.word, []string{"inspect", "train", "merge", "generate", "eval"}); got != c.want {
			t.Errorf("nearest(%q) = %q, want %q", c.word, got, c.want)
		}
	}
}
