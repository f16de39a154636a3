package report

import (
	"strings"
	"testing"
)

func TestChangedText(t *testing.T) {
	long := strings.Repeat("é", 100)
	for _, c := range []struct{ old, new, want string }{
		{"a", "b", `"a" → "b"`},
		{long + "x", long + "y", `…"éééééx" → …"éééééy" (201 → 201 bytes, from byte 200 on)`},
		{long, long + "y", `…"ééééé" → …"éééééy" (200 → 201 bytes, from byte 200 on)`},
		{long, "", `"` + strings.Repeat("é", shownRunes/2) + `…" → "" (200 → 0 bytes, from byte 0 on)`},
	} {
		if got := changedText(c.old, c.new); got != c.want {
			t.Errorf("%s, expected %s", got, c.want)
		}
	}
}
