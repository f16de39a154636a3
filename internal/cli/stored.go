package cli

import (
	"fmt"
	"strings"

	"github.com/peftconv/peftconv/peft/train"
)

// StoredText says in which form a quantization-aware adapter is stored.
func StoredText(st *train.Stored) string {
	var parts []string
	for _, p := range []struct {
		form  string
		n     int
		bytes int64
	}{{"blocks", st.Blocks, st.BlockBytes}, {"pairs", st.Pairs, st.PairBytes}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%s of %s (%s)", p.form, Plural(p.n, "weight"), BytesText(p.bytes)))
		}
	}
	return fmt.Sprintf("stored as %s; all pairs take %s, the base's blocks of these weights %s",
		strings.Join(parts, " and "), BytesText(st.AllPairs), BytesText(st.AllBlocks))
}
