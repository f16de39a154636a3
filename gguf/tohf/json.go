package tohf

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// encodeJSON is values as the text of a JSON file, with keys in order and numbers as Python writes them.
func encodeJSON(values map[string]any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(inJSON(values))
	return out.Bytes(), err
}

// inJSON is a value with its floats in the form of real.
func inJSON(v any) any {
	switch x := v.(type) {
	case map[string]any:
		object := make(map[string]any, len(x))
		for key, v := range x {
			object[key] = inJSON(v)
		}
		return object
	case []any:
		list := make([]any, len(x))
		for i, v := range x {
			list[i] = inJSON(v)
		}
		return list
	case []float32:
		list := make([]any, len(x))
		for i, v := range x {
			list[i] = real(float64(v))
		}
		return list
	case float32:
		return real(float64(x))
	case float64:
		return real(x)
	}
	return v
}

// real is a number that is no whole one by its kind: the shortest that is read as it, in single precision where that
// has it.
func real(x float64) json.RawMessage {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return json.RawMessage("null")
	}
	bits, form := 64, byte('f')
	if float64(float32(x)) == x {
		bits = 32
	}
	if a := math.Abs(x); a != 0 && (a < 1e-4 || a >= 1e16) {
		form = 'e'
	}
	text := strconv.FormatFloat(x, form, -1, bits)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return json.RawMessage(text)
}
