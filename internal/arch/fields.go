package arch

import (
	"fmt"
	"math"
	"strings"

	"github.com/peftconv/peftconv/gguf"
)

// Fields reads what a model's files say of it: the metadata of a GGUF file, or the config.json of Hugging Face files.
// Every method takes both names of a field, without the architecture's prefix in GGUF and with dots between nested
// names in config.json; "" is a name that the kind of file does not have. The first error is kept, and what is wrong is
// zero then.
type Fields struct {
	HF bool // it is config.json

	arch   string
	meta   *gguf.Metadata
	config map[string]any
	err    error
}

// Fail notes an error, unless there is one already.
func (f *Fields) Fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf(format, args...)
	}
}

// Name is the name of a field in this kind of file, for errors.
func (f *Fields) Name(inGGUF, inHF string) string {
	if f.HF {
		return inHF
	}
	return "metadata " + f.arch + "." + inGGUF
}

// value is the value of a field; a null of JSON is none.
func (f *Fields) value(inGGUF, inHF string) (v fieldValue, found bool) {
	switch {
	case f.HF && inHF != "":
		var at any = f.config
		for name := range strings.SplitSeq(inHF, ".") {
			object, _ := at.(map[string]any)
			at = object[name]
		}
		return fieldValue{json: at}, at != nil
	case !f.HF && inGGUF != "":
		v, found := f.meta.Get(f.arch + "." + inGGUF)
		return fieldValue{gguf: v, inGGUF: true}, found
	}
	return fieldValue{}, false
}

// maxInt is the largest whole number that a field can be.
const maxInt = 1 << 30

// Int is a whole number that every model has. Where config.json has none it is 0, which Spec.Check reports.
func (f *Fields) Int(inGGUF, inHF string) int {
	if _, found := f.value(inGGUF, inHF); !found && !f.HF {
		f.Fail("%s is missing", f.Name(inGGUF, inHF))
	}
	return f.IntOr(inGGUF, inHF, 0)
}

// IntOr is a whole number, missing where the field is not there.
func (f *Fields) IntOr(inGGUF, inHF string, missing int) int {
	return valueOr(f, inGGUF, inHF, missing, fieldValue.int, "one whole number below 2^30")
}

// valueOr is a field as get takes it, missing where the field is not there. Where get cannot take it, want says what
// was expected.
func valueOr[T any](f *Fields, inGGUF, inHF string, missing T, get func(fieldValue) (T, bool), want string) T {
	v, found := f.value(inGGUF, inHF)
	if !found {
		return missing
	}
	x, ok := get(v)
	if !ok {
		f.Fail("%s is %v, expected %s", f.Name(inGGUF, inHF), v, want)
	}
	return x
}

// IntPerLayer is a whole number that every model has, one for all layers or one for each: each is nil where it is one.
func (f *Fields) IntPerLayer(inGGUF, inHF string, layers int) (all int, each []int) {
	v, _ := f.value(inGGUF, inHF)
	list, ok := v.ints()
	switch {
	case !ok:
		return f.Int(inGGUF, inHF), nil
	case len(list) != layers || layers == 0:
		f.Fail("%s has %d numbers, expected one or %d", f.Name(inGGUF, inHF), len(list), layers)
		return 0, nil
	}
	return list[0], list
}

// FloatOr is a number, missing where the field is not there.
func (f *Fields) FloatOr(inGGUF, inHF string, missing float64) float64 {
	return valueOr(f, inGGUF, inHF, missing, fieldValue.float, "a number")
}

// BoolOr is true or false, missing where the field is not there.
func (f *Fields) BoolOr(inGGUF, inHF string, missing bool) bool {
	return valueOr(f, inGGUF, inHF, missing, fieldValue.bool, "true or false")
}

// Text is a text, "" where the field is not there.
func (f *Fields) Text(inGGUF, inHF string) string {
	return valueOr(f, inGGUF, inHF, "", fieldValue.text, "a text")
}

// fieldValue is a value of either kind of file.
type fieldValue struct {
	gguf   gguf.Value
	json   any
	inGGUF bool
}

func (v fieldValue) String() string {
	if v.inGGUF {
		return fmt.Sprint(v.gguf)
	}
	return fmt.Sprint(v.json)
}

func (v fieldValue) int() (int, bool) {
	if v.inGGUF {
		n, ok := v.gguf.Uint()
		return int(n), ok && n <= maxInt
	}
	return wholeNumber(v.json)
}

func wholeNumber(v any) (int, bool) {
	x, ok := v.(float64)
	return int(x), ok && x == math.Trunc(x) && 0 <= x && x <= maxInt
}

// ints are the numbers of an array; ok is false for what is no array of whole numbers.
func (v fieldValue) ints() (list []int, ok bool) {
	if v.inGGUF {
		numbers, ok := v.gguf.Ints()
		for _, n := range numbers {
			if n < 0 || n > maxInt {
				return nil, false
			}
			list = append(list, int(n))
		}
		return list, ok
	}
	numbers, ok := v.json.([]any)
	for _, v := range numbers {
		n, whole := wholeNumber(v)
		if !whole {
			return nil, false
		}
		list = append(list, n)
	}
	return list, ok
}

func (v fieldValue) float() (x float64, ok bool) {
	if v.inGGUF {
		return v.gguf.Float()
	}
	x, ok = v.json.(float64)
	return x, ok
}

func (v fieldValue) bool() (x, ok bool) {
	if v.inGGUF {
		return v.gguf.Bool()
	}
	x, ok = v.json.(bool)
	return x, ok
}

func (v fieldValue) text() (s string, ok bool) {
	if v.inGGUF {
		return v.gguf.Str()
	}
	s, ok = v.json.(string)
	return s, ok
}
