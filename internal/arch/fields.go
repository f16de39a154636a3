package arch

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
)

// Fields reads what a model's files say of it: the metadata of a GGUF file, or the config.json of Hugging Face files.
// Every method takes both names of a field, without the architecture's prefix in GGUF and with dots between nested
// names in config.json; "" is a name that the kind of file does not have. The first error is kept, and what is wrong is
// zero then.
type Fields struct {
	HF bool // it is config.json

	arch      string
	meta      *gguf.Metadata
	names     map[string]string // other names of fields in config.json, which count first
	share     float64           // of a head that turns in the class of Hugging Face where config.json does not say; 0: 1
	plainRope bool              // rope_scaling of config.json is left to the architecture
	config    map[string]any
	root      map[string]any // config.json where config is a part of it
	err       error
}

// rename has fields of config.json under other names too, which count first; "" is one that is not there.
func (f *Fields) rename(names map[string]string) { f.names = names }

// refuse reports switches of config.json that are on and change what the architecture computes.
func (f *Fields) refuse(switches ...string) {
	for _, name := range switches {
		if f.BoolOr("", name, false) {
			f.Fail("%s is %w", name, ErrUnsupported)
		}
	}
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
		other, renamed := f.names[inHF]
		at := f.find(other)
		if at == nil && (!renamed || other != "") {
			at = f.find(inHF)
		}
		return fieldValue{json: at}, at != nil
	case !f.HF && inGGUF != "":
		v, found := f.meta.Get(f.arch + "." + inGGUF)
		return fieldValue{gguf: v, inGGUF: true}, found
	}
	return fieldValue{}, false
}

// find is the value of a name in config.json, nil where there is none.
func (f *Fields) find(name string) any {
	if at := lookUp(f.config, name); at != nil {
		return at
	}
	return lookUp(f.root, name)
}

// lookUp is the value of a name with dots between nested names, nil where there is none.
func lookUp(config map[string]any, name string) any {
	var at any = config
	for part := range strings.SplitSeq(name, ".") {
		object, _ := at.(map[string]any)
		at = object[part]
	}
	return at
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
		var zero T
		return zero
	}
	return x
}

// Numbers is a whole number for all layers, or one for each.
type Numbers struct {
	all  int
	each []int
}

func (n *Numbers) at(i int) int {
	if n.each != nil {
		return n.each[i]
	}
	return n.all
}

func (n *Numbers) first() int   { return n.at(0) }
func (n *Numbers) differ() bool { return n.each != nil }

// most is the largest of them.
func (n *Numbers) most() int {
	if n.each != nil {
		return slices.Max(n.each)
	}
	return n.all
}

// Ints is a whole number that every model has, one for all layers or one for each.
func (f *Fields) Ints(inGGUF, inHF string, layers int) Numbers {
	if _, found := f.value(inGGUF, inHF); !found && !f.HF {
		f.Fail("%s is missing", f.Name(inGGUF, inHF))
	}
	return f.IntsOr(inGGUF, inHF, layers, 0)
}

// IntsOr is a whole number, one for all layers or one for each, missing where the field is not there. A file has
// numbers for the layers that do not run too.
func (f *Fields) IntsOr(inGGUF, inHF string, layers, missing int) Numbers {
	v, _ := f.value(inGGUF, inHF)
	list, ok := v.ints()
	switch {
	case !ok:
		return Numbers{all: f.IntOr(inGGUF, inHF, missing)}
	case layers <= 0 || len(list) != layers && len(list) != layers+f.drafts():
		f.Fail("%s has %d numbers, expected one or %d", f.Name(inGGUF, inHF), len(list), layers)
		return Numbers{}
	}
	return Numbers{each: list[:layers]}
}

// drafts is the number of layers that do not run.
func (f *Fields) drafts() int { return f.IntOr("nextn_predict_layers", "", 0) }

// Flags is true or false for each layer; ok is false where the field is not there, or is one number.
func (f *Fields) Flags(inGGUF, inHF string, layers int) (list []bool, ok bool) {
	v, found := f.value(inGGUF, inHF)
	if !found {
		return nil, false
	}
	list, ok = v.flags()
	if ok && len(list) != layers {
		f.Fail("%s has %d values, expected %d", f.Name(inGGUF, inHF), len(list), layers)
		return nil, false
	}
	return list, ok
}

// Texts is a text for each layer in config.json; ok is false where the field is not there.
func (f *Fields) Texts(inHF string, layers int) (list []string, ok bool) {
	v, found := f.value("", inHF)
	values, ok := v.json.([]any)
	if !found || !ok {
		return nil, false
	}
	for _, v := range values {
		text, _ := v.(string)
		list = append(list, text)
	}
	if len(list) < layers {
		f.Fail("%s has %d values, expected %d", inHF, len(list), layers)
		return nil, false
	}
	return list, true
}

// Floats are the numbers of a list in config.json, nil where it is not there.
func (f *Fields) Floats(inHF string) (list []float32) {
	v, found := f.value("", inHF)
	values, ok := v.json.([]any)
	if found && !ok {
		f.Fail("%s is %v, expected a list of numbers", inHF, v)
	}
	for i, v := range values {
		x, ok := v.(float64)
		if !ok {
			f.Fail("%s: value %d is %v, expected a number", inHF, i, v)
		}
		list = append(list, float32(x))
	}
	return list
}

// FloatOr is a number, missing where the field is not there.
func (f *Fields) FloatOr(inGGUF, inHF string, missing float64) float64 {
	return valueOr(f, inGGUF, inHF, missing, fieldValue.float, "a finite number")
}

// context is how many tokens the model was made for, 0 where the files do not say.
func (f *Fields) context() int {
	const inGGUF, inHF = "context_length", "max_position_embeddings"
	n := f.IntOr(inGGUF, inHF, 0)
	if _, found := f.value(inGGUF, inHF); found && n == 0 {
		f.Fail("%s is 0, expected a positive number of tokens", f.Name(inGGUF, inHF))
	}
	return n
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

// flags are the truth values of an array, of numbers too.
func (v fieldValue) flags() (list []bool, ok bool) {
	if !v.inGGUF {
		return nil, false
	}
	if list, ok := v.gguf.Bools(); ok {
		return list, true
	}
	numbers, ok := v.ints()
	for _, n := range numbers {
		list = append(list, n != 0)
	}
	return list, ok
}

// float is a number that a float32 can be.
func (v fieldValue) float() (x float64, ok bool) {
	if v.inGGUF {
		x, ok = v.gguf.Float()
	} else {
		x, ok = v.json.(float64)
	}
	return x, ok && math.Abs(x) <= math.MaxFloat32
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
