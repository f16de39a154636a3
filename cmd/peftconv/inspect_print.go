package main

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"text/tabwriter"
)

// How much of a metadata value the overview shows.
const (
	shownRunes    = 90
	shownElements = 6
)

// print shows the inspection to people.
func (in *inspection) print(w io.Writer, tensors bool) {
	fmt.Fprintf(w, "%s: %s\n", in.File, in.headline())
	fmt.Fprintf(w, "%s, %s, %s\n", bytesText(in.Size), plural(len(in.Tensors), "tensor"), plural(int(in.Parameters), "parameter"))
	if in.Adapter != nil {
		fmt.Fprintf(w, "low-rank pairs for %s, rank %s\n", plural(in.Adapter.Modules, "module"), joinInts(in.Adapter.Ranks))
	}
	in.printMetadata(w)
	in.printTypes(w)
	if tensors {
		in.printTensors(w)
	}
}

// headline is "GGUF v3 model, llama, alignment 32".
func (in *inspection) headline() string {
	text := in.Format + " " + printable(in.Kind, shownRunes)
	if in.Format == "gguf" {
		text = fmt.Sprintf("GGUF v%d %s", in.Version, printable(in.Kind, shownRunes))
	}
	if in.Architecture != "" {
		text += ", " + printable(in.Architecture, shownRunes)
	}
	if in.ByteOrder == "big" {
		text += ", big-endian"
	}
	if in.Alignment > 0 {
		text += fmt.Sprintf(", alignment %d, data at byte %s", in.Alignment, countText(in.DataOffset))
	}
	return text
}

// plural is "1 tensor", "48 tensors".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return countText(n) + " " + what + "s"
}

func joinInts(list []int64) string {
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = fmt.Sprint(v)
	}
	return strings.Join(words, ", ")
}

func (in *inspection) printMetadata(w io.Writer) {
	if len(in.Metadata) == 0 {
		return
	}
	fmt.Fprintf(w, "\nMetadata (%d)\n", len(in.Metadata))
	table := newTable(w)
	for _, e := range in.Metadata {
		if e.value == nil { // a field of a JSON configuration that is not set
			continue
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\n", printable(e.key, 0), e.kind, shortValue(e.value))
	}
	table.Flush()
}

func newTable(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

// shortValue is a value in one line: strings escaped and cut, arrays by their first elements.
func shortValue(v any) string {
	if s, ok := v.(string); ok {
		return printable(s, shownRunes)
	}
	list, ok := elements(v)
	if !ok {
		data, err := json.Marshal(jsonValue(v))
		if err != nil {
			return fmt.Sprint(v)
		}
		return printable(string(data), shownRunes)
	}
	shown := make([]string, 0, shownElements)
	for _, e := range list[:min(len(list), shownElements)] {
		if s, isString := e.(string); isString {
			e = strconv.QuoteToGraphic(cut(s, shownRunes/shownElements))
		}
		shown = append(shown, fmt.Sprint(e))
	}
	if len(list) > shownElements {
		shown = append(shown, "…")
	}
	return "[" + strings.Join(shown, ", ") + "]"
}

// elements is a value as a list, if it is one.
func elements(v any) ([]any, bool) {
	r := reflect.ValueOf(v)
	if r.Kind() != reflect.Slice {
		return nil, false
	}
	list := make([]any, r.Len())
	for i := range list {
		list[i] = r.Index(i).Interface()
	}
	return list, true
}

func (in *inspection) printTypes(w io.Writer) {
	if len(in.Types) == 0 {
		return
	}
	var total int64
	for _, t := range in.Types {
		total += t.Bytes
	}
	fmt.Fprint(w, "\nTypes\n")
	table := newTable(w)
	for _, t := range in.Types {
		share := 0.0
		if total > 0 {
			share = 100 * float64(t.Bytes) / float64(total)
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\t%s bytes\t%.1f %%\n", t.Type, plural(t.Tensors, "tensor"),
			plural(int(t.Parameters), "parameter"), countText(t.Bytes), share)
	}
	table.Flush()
}

func (in *inspection) printTensors(w io.Writer) {
	fmt.Fprintf(w, "\nTensors (%d)\n", len(in.Tensors))
	table := newTable(w)
	fmt.Fprint(table, "  offset\tbytes\ttype\tshape\tname\n")
	for _, t := range in.Tensors {
		fmt.Fprintf(table, "  %d\t%d\t%s\t%s\t%s\n", t.Offset, t.Bytes, t.Type, shapeText(t.Shape), printable(t.Name, 0))
	}
	table.Flush()
}

// shapeText is "64 × 512".
func shapeText(shape []int64) string {
	if len(shape) == 0 {
		return "scalar"
	}
	words := make([]string, len(shape))
	for i, v := range shape {
		words[i] = fmt.Sprint(v)
	}
	return strings.Join(words, " × ")
}
