package cli

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestTexts(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{BytesText(999), "999 B"}, {BytesText(1000), "1.0 kB"},
		{BytesText(999_999), "1.0 MB"}, {BytesText(212_400_000), "212.4 MB"},
		{CountText(0), "0"}, {CountText(1185376), "1,185,376"}, {CountText(-1000), "-1,000"},
		{Printable("a\x1b[2Jb", 0), `a\x1b[2Jb`}, {Printable("añb", 2), "añ… (4 bytes)"},
		{CommandLine("peftconv", "eval", "--data", "my file.txt"), "peftconv eval --data 'my file.txt'"},
		{CommandLine("it's"), `'it'\''s'`},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestReflow(t *testing.T) {
	text := "One two three four.\nFive six.\n\n  kept as it is\n  a line that is longer than the terminal\nLast."
	want := "One two three\nfour. Five six.\n\n  kept as it is\n" +
		"  a line that\n    is longer\n    than the\n    terminal\nLast.\n"
	if got := Reflow(text, 16); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestErrorText(t *testing.T) {
	a, b := errors.New("a\nb"), errors.New("c")
	for _, c := range []struct {
		err  error
		want string
	}{
		{a, `a\nb`}, {errors.Join(a, b), "a\\nb\nc"}, {fmt.Errorf("x: %w", errors.Join(a, b)), "x: a\\nb\nc"},
		{UsageError{errors.Join(b, a)}, "c\na\\nb"}, {fmt.Errorf("%w and %w", a, b), `a\nb and c`},
		{fmt.Errorf("%s", strings.Repeat("a b ", 2000)),
			strings.Repeat("a b ", 50) + "… (8,000 bytes) …" + strings.Repeat("a b ", 25)},
	} {
		if got := ErrorText(c.err); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
