package report

import (
	"fmt"
	"io"
	"reflect"
	"strconv"
	"unicode/utf8"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/diff"
	"github.com/peftconv/peftconv/internal/cli"
)

// PrintChanges lists metadata that are added (+), removed (-) and changed (~).
func PrintChanges(w io.Writer, changes []diff.ValueChange) {
	table := cli.NewTable(w)
	for _, c := range changes {
		key := cli.Name(c.Key)
		switch {
		case c.Old == nil:
			fmt.Fprintf(table, "  + %s\t%s\t%s\n", key, valueKind(*c.New), shortValue(c.New.Any()))
		case c.New == nil:
			fmt.Fprintf(table, "  - %s\t%s\t%s\n", key, valueKind(*c.Old), shortValue(c.Old.Any()))
		default:
			fmt.Fprintf(table, "  ~ %s\t%s\t%s\n", key, changedKind(*c.Old, *c.New), changedValue(*c.Old, *c.New))
		}
	}
	table.Flush()
}

func changedKind(old, new gguf.Value) string {
	if a, b := valueKind(old), valueKind(new); a != b {
		return a + " → " + b
	}
	return valueKind(old)
}

// changedValue is both values in one line, of long ones where they differ.
func changedValue(old, new gguf.Value) string {
	a, okA := old.Str()
	b, okB := new.Str()
	if okA && okB {
		return changedText(a, b)
	}
	x, okX := elementsOf(old.Any())
	y, okY := elementsOf(new.Any())
	if okX && okY && len(x)+len(y) > shownElements {
		return changedList(x, y)
	}
	return shortValue(old.Any()) + " → " + shortValue(new.Any())
}

// changedText shows two texts from a little before where they begin to differ.
func changedText(a, b string) string {
	const before = 10 // bytes
	if utf8.RuneCountInString(a) <= shownRunes/2 && utf8.RuneCountInString(b) <= shownRunes/2 {
		return strconv.QuoteToGraphic(a) + " → " + strconv.QuoteToGraphic(b)
	}
	at := 0
	for at < min(len(a), len(b)) && a[at] == b[at] {
		at++
	}
	start := max(0, at-before)
	for start > 0 && !utf8.RuneStart(a[start]) {
		start--
	}
	part := func(s string) string {
		text := strconv.QuoteToGraphic(cli.Cut(s[start:], shownRunes/2))
		if start > 0 {
			return "…" + text
		}
		return text
	}
	return fmt.Sprintf("%s → %s (%s → %s bytes, from byte %s on)", part(a), part(b), cli.CountText(len(a)),
		cli.CountText(len(b)), cli.CountText(at))
}

// changedList counts the elements that differ and shows the first.
func changedList(a, b []any) string {
	first, differ := -1, 0
	for i := range min(len(a), len(b)) {
		if !reflect.DeepEqual(a[i], b[i]) {
			differ++
			if first < 0 {
				first = i
			}
		}
	}
	if first < 0 {
		return "the first " + cli.Plural(min(len(a), len(b)), "element") + " are the same"
	}
	return fmt.Sprintf("%s differ, the first is %d: %s → %s", cli.Plural(differ, "element"), first, shortValue(a[first]),
		shortValue(b[first]))
}
