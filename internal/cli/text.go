package cli

import (
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
)

// BytesText is a size for people: 212.4 MB (powers of ten, as file managers and disks count).
func BytesText(n int64) string {
	units := []string{"kB", "MB", "GB", "TB"}
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, u := float64(n)/1000, 0
	for v >= 999.95 && u+1 < len(units) {
		v, u = v/1000, u+1
	}
	return fmt.Sprintf("%.1f %s", v, units[u])
}

// CountText is a whole number with commas: 1,185,376.
func CountText[T ~int | ~int64 | ~uint64](n T) string {
	digits := fmt.Sprint(n)
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return sign + b.String()
}

// Printable is a string out of a file made safe for a terminal: control characters are escaped, and what is
// longer than limit runes is cut (0: no limit).
func Printable(s string, limit int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if limit > 0 && n == limit {
			return b.String() + fmt.Sprintf("… (%s bytes)", CountText(len(s)))
		}
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
		}
		n++
	}
	return b.String()
}

// Cut is the first runes of a text, with an ellipsis where it is longer.
func Cut(s string, limit int) string {
	if short := firstRunes(s, limit); short != s {
		return short + "…"
	}
	return s
}

// ShellQuote is a word as a shell takes it, quoted where it must be.
func ShellQuote(word string) string {
	safe := word != "" && !strings.ContainsFunc(word, func(r rune) bool {
		return !(unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_./=:,+@%~", r) ||
			r == '\\' && runtime.GOOS == "windows")
	})
	switch {
	case safe:
		return word
	case runtime.GOOS == "windows":
		return `"` + strings.ReplaceAll(word, `"`, `\"`) + `"`
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// CommandLine is a command ready to paste.
func CommandLine(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = ShellQuote(w)
	}
	return strings.Join(quoted, " ")
}

// Plural is "1 tensor", "48 tensors".
func Plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return CountText(n) + " " + what + "s"
}

// NewTable writes columns that are separated by tabs, aligned, to w when it is flushed.
func NewTable(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

// ShapeText is "64 × 512".
func ShapeText(shape []int64) string {
	if len(shape) == 0 {
		return "scalar"
	}
	words := make([]string, len(shape))
	for i, v := range shape {
		words[i] = fmt.Sprint(v)
	}
	return strings.Join(words, " × ")
}
