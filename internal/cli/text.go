package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"
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
	for i := 0; i < len(s); n++ {
		if limit > 0 && n == limit {
			return b.String() + fmt.Sprintf("… (%s bytes)", CountText(len(s)))
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if unicode.IsPrint(r) && !(r == utf8.RuneError && size == 1) {
			b.WriteRune(r)
		} else {
			b.WriteString(escape(r, s[i:i+size]))
		}
		i += size
	}
	return b.String()
}

// NameLimit is how many characters of a name out of a file are printed.
const NameLimit = 200

// Name is the name of something in a file as it is printed in a line of other text: Printable, and not too long.
func Name(s string) string { return Printable(s, NameLimit) }

// Line is a text as it is printed in a line of its own: Printable, and cut where it is very long.
func Line(s string) string { return Printable(s, longText) }

// escape is a character as Go's strings have it; text is its bytes.
func escape(r rune, text string) string {
	if r == utf8.RuneError && len(text) == 1 {
		return fmt.Sprintf(`\x%02x`, text[0])
	}
	q := strconv.QuoteRune(r)
	return q[1 : len(q)-1]
}

// isObeyed says whether a terminal does something for a character other than showing it: controls but the end of a
// line and the tabulator, and what changes the direction of the text after it.
func isObeyed(r rune) bool {
	switch {
	case r == '\n', r == '\t':
		return false
	case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return unicode.IsControl(r)
}

// escaped is a text in which the characters that terminals obey, and what is no UTF-8, are escaped; rest is the
// beginning of a character at its end.
func escaped(text []byte) (safe, rest []byte) {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		invalid := r == utf8.RuneError && size == 1
		switch {
		case invalid && !utf8.FullRune(text[i:]):
			return safe, bytes.Clone(text[i:])
		case invalid || isObeyed(r):
			safe = append(safe, escape(r, string(text[i:i+size]))...)
		default:
			safe = append(safe, text[i:i+size]...)
		}
		i += size
	}
	return safe, nil
}

// A word or quoted text of more than longText bytes is cut in the middle: so many of the first and of the last are
// left.
const (
	longText  = 1000
	cutBefore = 200
	cutAfter  = 100
)

// Shorten is a text for people in which words and quoted texts of great length, as names out of files may be, are cut
// in the middle, with their lengths.
func Shorten(text string) string {
	if len(text) <= longText {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		n := partLen(text)
		if n <= longText {
			b.WriteString(text[:n])
		} else {
			b.WriteString(cutMiddle(text[:n]))
		}
		text = text[n:]
	}
	return b.String()
}

// longLine is the most bytes of a line of an error.
const longLine = 4000

// ErrorText is the text of an error as messages have it: on one line, whatever is in names out of files, but for errors
// that are joined, each of which has its own; cut in the middle where it is very long.
func ErrorText(err error) string {
	text := oneLine(err.Error())
	for e := err; e != nil; e = errors.Unwrap(e) {
		if parts := joinedBy(e); parts != nil {
			return strings.Replace(text, oneLine(e.Error()), strings.Join(parts, "\n"), 1)
		}
	}
	if text = Shorten(text); len(text) > longLine {
		text = cutMiddle(text)
	}
	return text
}

func oneLine(text string) string { return strings.ReplaceAll(text, "\n", `\n`) }

// several is what errors.Join makes.
type several interface{ Unwrap() []error }

// joinedBy are the texts of errors that errors.Join joined, nil where it did not.
func joinedBy(err error) (texts []string) {
	joined, ok := err.(several)
	if !ok {
		return nil
	}
	var plain []string
	for _, part := range joined.Unwrap() {
		plain = append(plain, part.Error())
		texts = append(texts, ErrorText(part))
	}
	if strings.Join(plain, "\n") != err.Error() {
		return nil
	}
	return texts
}

// cutMiddle is the beginning and the end of a long text.
func cutMiddle(text string) string {
	before, after := cutBefore, len(text)-cutAfter
	for !utf8.RuneStart(text[before]) {
		before--
	}
	for !utf8.RuneStart(text[after]) {
		after--
	}
	return fmt.Sprintf("%s… (%s bytes) …%s", text[:before], CountText(len(text)), text[after:])
}

// partLen is the length of what a text begins with: a text in double quotes within a line, a word, or one blank.
func partLen(text string) int {
	if text[0] == '"' {
		for i := 1; i < len(text) && text[i] != '\n'; i++ {
			switch text[i] {
			case '"':
				return i + 1
			case '\\':
				i++
			}
		}
		return 1
	}
	return max(1, wordLen(text))
}

// wordLen is the number of bytes before the first blank or double quote.
func wordLen(text string) int {
	if n := strings.IndexAny(text, " \t\n\""); n >= 0 {
		return n
	}
	return len(text)
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

// firstRunes is a text cut to a number of characters.
func firstRunes(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}
