package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/peftconv/peftconv/internal/cli"
)

// Print shows the inspection to people.
func (in *Inspection) Print(w io.Writer, tensors bool) {
	fmt.Fprintf(w, "%s: %s\n", in.File, in.headline())
	fmt.Fprintf(w, "%s, %s, %s\n", cli.BytesText(in.Size), cli.Plural(len(in.Tensors), "tensor"),
		cli.Plural(int(in.Parameters), "parameter"))
	if in.Adapter != nil {
		fmt.Fprintf(w, "low-rank pairs for %s, rank %s\n", cli.Plural(in.Adapter.Modules, "module"),
			joinInts(in.Adapter.Ranks))
	}
	if q := in.Quantized; q != nil {
		fmt.Fprintf(w, "trained quantization-aware: blocks of %s (%s), pairs of %s (%s)\n", cli.Plural(q.Blocks, "weight"),
			cli.BytesText(q.BlockBytes), cli.Plural(q.Pairs, "weight"), cli.BytesText(q.PairBytes))
	}
	in.printMetadata(w)
	in.printTypes(w)
	if tensors {
		in.printTensors(w)
	}
}

// headline is "GGUF v3 model, llama, alignment 32".
func (in *Inspection) headline() string {
	text := in.Format + " " + cli.Printable(in.Kind, shownRunes)
	if in.Format == "gguf" {
		text = fmt.Sprintf("GGUF v%d %s", in.Version, cli.Printable(in.Kind, shownRunes))
	}
	if in.Architecture != "" {
		text += ", " + cli.Name(in.Architecture)
	}
	if in.ByteOrder == "big" {
		text += ", big-endian"
	}
	if in.Alignment > 0 {
		text += fmt.Sprintf(", alignment %d, data at byte %s", in.Alignment, cli.CountText(in.DataOffset))
	}
	return text
}

func joinInts(list []int64) string {
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = fmt.Sprint(v)
	}
	return strings.Join(words, ", ")
}

func (in *Inspection) printMetadata(w io.Writer) {
	if len(in.Metadata) == 0 {
		return
	}
	fmt.Fprintf(w, "\nMetadata (%d)\n", len(in.Metadata))
	table := cli.NewTable(w)
	for _, e := range in.Metadata {
		if e.value == nil { // a field of a JSON configuration that is not set
			continue
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\n", cli.Name(e.key), e.kind, shortValue(e.value))
	}
	table.Flush()
}

func (in *Inspection) printTypes(w io.Writer) {
	if len(in.Types) == 0 {
		return
	}
	var total int64
	for _, t := range in.Types {
		total += t.Bytes
	}
	fmt.Fprint(w, "\nTypes\n")
	table := cli.NewTable(w)
	for _, t := range in.Types {
		share := 0.0
		if total > 0 {
			share = 100 * float64(t.Bytes) / float64(total)
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\t%s bytes\t%.1f %%\n", t.Type, cli.Plural(t.Tensors, "tensor"),
			cli.Plural(int(t.Parameters), "parameter"), cli.CountText(t.Bytes), share)
	}
	table.Flush()
}

func (in *Inspection) printTensors(w io.Writer) {
	fmt.Fprintf(w, "\nTensors (%d)\n", len(in.Tensors))
	// The widths are found first, where a table would hold all rows: there may be hundreds of thousands.
	head := []string{"offset", "bytes", "type", "shape", "name"}
	cells := func(t *tensorLine) []string {
		return []string{fmt.Sprint(t.Offset), fmt.Sprint(t.Bytes), t.Type, cli.ShapeText(t.Shape), cli.Name(t.Name)}
	}
	widths := make([]int, len(head)-1) // the last column needs none
	widen := func(cells []string) {
		for i := range widths {
			widths[i] = max(widths[i], utf8.RuneCountInString(cells[i]))
		}
	}
	widen(head)
	for i := range in.Tensors {
		widen(cells(&in.Tensors[i]))
	}
	out := bufio.NewWriter(w)
	row := func(cells []string) {
		for i, width := range widths {
			fmt.Fprintf(out, "  %-*s", width, cells[i])
		}
		fmt.Fprintf(out, "  %s\n", cells[len(widths)])
	}
	row(head)
	for i := range in.Tensors {
		row(cells(&in.Tensors[i]))
	}
	out.Flush()
}
