package report

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/cli"
)

// jsonValue replaces what JSON cannot hold: numbers that are not finite become strings, bytes become numbers.
func jsonValue(v any) any {
	switch v := v.(type) {
	case float32:
		return jsonNumber(v)
	case float64:
		return jsonNumber(v)
	case []float32:
		return mapSlice(v, jsonNumber[float32])
	case []float64:
		return mapSlice(v, jsonNumber[float64])
	case []uint8:
		return mapSlice(v, func(b uint8) any { return int(b) })
	case []any:
		return mapSlice(v, jsonValue)
	}
	return v
}

func jsonNumber[F float32 | float64](f F) any {
	if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
		return fmt.Sprint(f)
	}
	return f
}

func mapSlice[T any](in []T, f func(T) any) []any {
	out := make([]any, len(in))
	for i, v := range in {
		out[i] = f(v)
	}
	return out
}

// valueKind is "u32", "str", "str[512]".
func valueKind(v gguf.Value) string {
	if v.Type() == gguf.KindArray {
		return fmt.Sprintf("%s[%d]", v.Elem(), v.Len())
	}
	return v.Type().String()
}

// How much of a metadata value the overview shows.
const (
	shownRunes    = 90
	shownElements = 6
)

// shortValue is a value in one line: strings escaped and cut, arrays by their first elements.
func shortValue(v any) string {
	if s, ok := v.(string); ok {
		return cli.Printable(s, shownRunes)
	}
	list, ok := elementsOf(v)
	if !ok {
		data, err := json.Marshal(jsonValue(v))
		if err != nil {
			return fmt.Sprint(v)
		}
		return cli.Printable(string(data), shownRunes)
	}
	shown := make([]string, 0, shownElements)
	for _, e := range list[:min(len(list), shownElements)] {
		if s, isString := e.(string); isString {
			e = strconv.QuoteToGraphic(cli.Cut(s, shownRunes/shownElements))
		}
		shown = append(shown, fmt.Sprint(e))
	}
	if len(list) > shownElements {
		shown = append(shown, "…")
	}
	return "[" + strings.Join(shown, ", ") + "]"
}

// elementsOf is a value as a list, if it is one.
func elementsOf(v any) ([]any, bool) {
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
