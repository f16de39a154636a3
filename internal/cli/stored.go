package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/peftconv/peftconv/peft/train"
)

// PrintStored prints in which form a quantization-aware adapter is stored; nothing of nil.
func PrintStored(w io.Writer, st *train.Stored) {
	if st == nil {
		return
	}
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
	fmt.Fprintf(w, "stored as %s; all pairs take %s, the base's blocks of these weights %s\n",
		strings.Join(parts, " and "), BytesText(st.AllPairs), BytesText(st.AllBlocks))
}
