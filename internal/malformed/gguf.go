package malformed

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

// GGUF are lies in a GGUF file: in its counts, its metadata, its table of tensors and their data.
func GGUF(good []byte) iter.Seq[Variant] {
	file, err := gguf.Parse(good)
	if err != nil {
		panic("malformed: the good GGUF file is none: " + err.Error())
	}
	return func(yield func(Variant) bool) {
		m := &ggufMaker{maker{yield: yield}, good, file}
		m.header()
		for key, v := range file.Meta.All() {
			m.key(key, v)
		}
		m.added()
		m.table()
		m.data()
	}
}

type ggufMaker struct {
	maker
	good []byte
	file *gguf.File
}

// header adds lies about the counts, and in the first key.
func (m *ggufMaker) header() {
	for _, f := range []struct {
		name     string
		at, size int
	}{{"version", 4, 4}, {"number of tensors", 8, 8}, {"number of values", 16, 8}, {"length of the first key",
		24, 8}} {
		for _, n := range []uint64{0, 1, 2, 255, 1 << 20, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 40, 1<<63 - 1,
			1 << 63, 1<<64 - 1} {
			if f.size == 4 && n > math.MaxUint32 {
				continue
			}
			m.patch(f.at, f.size, n, "%s %d", f.name, n)
		}
	}
}

// patch adds a file with another number of size bytes at a place.
func (m *ggufMaker) patch(at, size int, n uint64, format string, args ...any) {
	data := bytes.Clone(m.good)
	if size == 4 {
		binary.LittleEndian.PutUint32(data[at:], uint32(n))
	} else {
		binary.LittleEndian.PutUint64(data[at:], n)
	}
	m.add(data, format, args...)
}

// scalars are values of every kind, absurd ones among them.
var scalars = []any{uint8(0), uint32(0), uint32(1), uint32(math.MaxUint32), int32(-1), int64(math.MinInt64),
	uint64(1 << 31),
	uint64(math.MaxUint64), float32(math.NaN()), float32(math.Inf(1)), math.Inf(-1), 1e300, float32(-1),
	float32(0), true,
	"", "text", "\xff\xfe", "\x1b]0;x\x07", []uint32{}, []uint32{1, 2}, []string{"a"}, []string{},
	[]float32{float32(math.NaN())}}

// key adds lies in the place of one value.
func (m *ggufMaker) key(key string, v gguf.Value) {
	m.meta(func(meta *gguf.Metadata) error { meta.Delete(key); return nil }, "%s: missing", key)
	set := func(x any, name string) {
		m.meta(func(meta *gguf.Metadata) error { return meta.Set(key, x) }, "%s: %s", key, name)
	}
	for _, x := range scalars {
		set(x, fmt.Sprintf("%T %.20q", x, fmt.Sprint(x)))
	}
	set(strings.Repeat("x", hugeText), "a huge text")
	if list, ok := v.Strings(); ok && len(list) > 0 {
		last := len(list) - 1
		with := func(i int, text string) []string {
			other := slices.Clone(list)
			other[i] = text
			return other
		}
		set(list[:last], "one text less")
		set(list[:1], "one text only")
		set(append(slices.Clone(list), "one more"), "one text more")
		set(with(last, list[0]), "the first text again")
		set(with(last, ""), "an empty text")
		set(with(0, "\xff\xfe"), "invalid UTF-8")
		set(with(last, strings.Repeat("x", hugeText)), "a huge text")
		set(make([]string, len(list)), "empty texts")
		set(slices.Repeat(list, 2), "all texts twice")
	}
	if list, ok := v.Floats(); ok && len(list) > 0 {
		for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e30} {
			other := slices.Clone(list)
			other[len(other)/2] = float32(x)
			set(other, fmt.Sprintf("%v in the middle", x))
		}
		set(list[1:], "one number less")
		set(append(slices.Clone(list), 1), "one number more")
	}
	if list, ok := v.Ints(); ok && len(list) > 0 {
		for _, x := range []int64{-1, 0, 99, math.MaxInt64} {
			other := slices.Clone(list)
			other[len(other)-1] = x
			set(other, fmt.Sprintf("%d at the end", x))
		}
		set(list[1:], "one number less")
		set(append(slices.Clone(list), 1), "one number more")
		set(make([]int64, len(list)), "zeros")
	}
}

// added adds keys that good files need not have.
func (m *ggufMaker) added() {
	prefix, _ := m.file.Meta.String("general.architecture")
	for _, kv := range []struct {
		key string
		v   any
	}{
		{"general.alignment", uint32(0)}, {"general.alignment", uint32(24)}, {"general.alignment", uint32(1 << 15)},
		{"general.alignment", "32"}, {"general.type", "mmproj"}, {"general.type", "adapter"}, {"general.type",
			uint32(1)},
		{"split.count", uint16(2)}, {"split.no", uint16(7)}, {"general.quantization_version", "two"},
		{prefix + ".rope.freq_base", float32(0)}, {prefix + ".rope.freq_base", float32(-1)},
		{prefix + ".rope.freq_base", float32(math.Inf(1))}, {prefix + ".rope.freq_base", float32(math.NaN())},
		{prefix + ".rope.freq_base", "10000"}, {prefix + ".rope.freq_base", 1e300},
		{prefix + ".rope.dimension_count", uint32(0)}, {prefix + ".rope.dimension_count", uint32(3)},
		{prefix + ".rope.dimension_count", uint32(1 << 20)}, {prefix + ".rope.scaling.type", "yarn"},
		{prefix + ".rope.scaling.type", "warp"}, {prefix + ".rope.scaling.factor", float32(math.NaN())},
		{prefix + ".rope.scaling.factor", float32(-1)}, {prefix + ".rope.scaling.factor", float32(1e-38)},
		{prefix + ".attention.key_length", uint32(0)}, {prefix + ".attention.key_length", uint32(1 << 29)},
		{prefix + ".attention.value_length", uint32(5)}, {prefix + ".expert_count", uint32(8)},
		{prefix + ".attention.sliding_window", uint32(1)}, {prefix + ".vocab_size", uint32(3)},
		{"tokenizer.ggml.padding_token_id", uint32(1 << 30)}, {"tokenizer.ggml.eot_token_id", int32(-5)},
		{"tokenizer.ggml.add_bos_token", "yes"}, {"tokenizer.ggml.add_eos_token", uint32(1)},
		{"tokenizer.ggml.pre", "no such thing"}, {"tokenizer.ggml.merges", []string{"a b c", "", " "}},
		{"tokenizer.chat_template", "{% if %}"}, {"tokenizer.chat_template", uint32(1)},
		{"tokenizer.chat_template", strings.Repeat("{{", 100_000)}, {"tokenizer.chat_templates", "default"},
		{"peftconv.pad", uint32(1)}, {"x\x1b]0;x\x07y", "a key with control characters"}, {"\xff\xfe",
			"a key that is no UTF-8"},
	} {
		text := fmt.Sprint(kv.v)
		m.meta(func(meta *gguf.Metadata) error { return meta.Set(kv.key, kv.v) }, "%q set to %T %.30q", kv.key,
			kv.v, text)
	}
	for _, kind := range []string{tokenizer.ByteLevel, tokenizer.WordPiece, tokenizer.Unigram, tokenizer.Gemma4,
		tokenizer.Whitespace, tokenizer.HybridDNA, "none", "rwkv", "x"} {
		m.meta(func(meta *gguf.Metadata) error { return meta.Set("tokenizer.ggml.model", kind) },
			"a vocabulary of kind %s", kind)
	}
}

// meta adds a file with other metadata. Those that the writer refuses are left out.
func (m *ggufMaker) meta(edit func(*gguf.Metadata) error, format string, args ...any) {
	meta := m.file.Meta.Clone()
	if edit(meta) != nil {
		return
	}
	m.write(meta, m.file.Table(), format, args...)
}

// write adds a file. The data of a tensor are those of the first good one of its name, cut or filled up with ones.
func (m *ggufMaker) write(meta *gguf.Metadata, table []gguf.Tensor, format string, args ...any) {
	var out bytes.Buffer
	w, err := gguf.NewWriter(&out, meta, table)
	if err != nil {
		return
	}
	for i := range table {
		t := &table[i]
		data := bytes.Repeat([]byte{0x3d}, int(t.Size()))
		if old := m.file.Tensor(t.Name); old != nil {
			copy(data, old.Bytes())
		}
		if w.WriteTensor(t.Name, data) != nil {
			return
		}
	}
	if w.Close() == nil {
		m.add(out.Bytes(), format, args...)
	}
}

// table adds lies about tensors: first such as a writer takes, then such as none would.
func (m *ggufMaker) table() {
	table := m.file.Table()
	edit := func(i int, change func(t *gguf.Tensor), what string) {
		other := slices.Clone(table)
		t := &other[i]
		t.Shape = slices.Clone(t.Shape)
		change(t)
		m.write(m.file.Meta, other, "%s: %s", table[i].Name, what)
	}
	m.write(m.file.Meta, nil, "no tensors")
	for _, i := range some(indices(len(table))) {
		name := table[i].Name
		m.write(m.file.Meta, slices.Delete(slices.Clone(table), i, i+1), "%s: missing", name)
		edit(i, func(t *gguf.Tensor) { t.Name = "odd." + name[:min(len(name), 40)] }, "renamed")
		edit(i, func(t *gguf.Tensor) { t.Name = "a\x1b]0;x\x07\xff" }, "a name of control characters")
		edit(i, func(t *gguf.Tensor) { t.Shape[0] *= 2 }, "twice as wide")
		edit(i, func(t *gguf.Tensor) { t.Shape = append(t.Shape, 1) }, "one dimension more")
		edit(i, func(t *gguf.Tensor) { t.Shape = append([]int64{1}, t.Shape...) }, "one dimension more in front")
		edit(i, func(t *gguf.Tensor) { t.Shape = []int64{t.Elements()} }, "in one row")
		edit(i, func(t *gguf.Tensor) { slices.Reverse(t.Shape) }, "transposed")
		edit(i, func(t *gguf.Tensor) { t.Shape[len(t.Shape)-1]++ }, "one row more")
		for _, typ := range []gguf.Type{gguf.F16, gguf.F64, gguf.I8, gguf.I64, gguf.Q8_0, gguf.Q4_0} {
			edit(i, func(t *gguf.Tensor) { t.Type = typ }, "of type "+typ.String())
		}
		m.line(i, &table[i])
	}
}

// line adds lies in the bytes of a line of the table: name, dimensions, shape, type, offset.
func (m *ggufMaker) line(i int, t *gguf.Tensor) {
	text := binary.LittleEndian.AppendUint64(nil, uint64(len(t.Name)))
	at := bytes.Index(m.good, append(text, t.Name...))
	if at < 0 {
		panic("malformed: no tensor " + t.Name)
	}
	dims := at + len(text) + len(t.Name)
	kind := dims + 4 + 8*len(t.Shape)
	for _, f := range []struct {
		name     string
		at, size int
		to       []uint64
	}{
		{"length of its name", at, 8, []uint64{0, 1, 1 << 20, 1 << 62, math.MaxUint64}},
		{"number of dimensions", dims, 4, []uint64{0, 3, 4, 5, 1 << 31}},
		{"first dimension", dims + 4, 8, []uint64{0, 1, 31, 1 << 31, 1 << 40, 1 << 62, math.MaxUint64}},
		{"type", kind, 4, []uint64{1, 2, 4, 24, 31, 39, 99, 1<<32 - 1}},
		{"offset", kind + 4, 8, []uint64{1, 4, 32, 1 << 40, 1 << 63, math.MaxUint64 - 31}},
	} {
		for _, n := range f.to {
			m.patch(f.at, f.size, n, "%s: %s %d", t.Name, f.name, n)
		}
	}
}

// data adds tensors of other values.
func (m *ggufMaker) data() {
	for _, t := range some(m.file.Tensors) {
		for _, x := range []float64{math.NaN(), math.Inf(1), 3e38} {
			if t.Type != gguf.F32 {
				continue
			}
			data := bytes.Clone(m.good)
			at := m.file.DataOffset + int64(t.Offset) + int64(len(t.Bytes()))/8*4
			binary.LittleEndian.PutUint32(data[at:], math.Float32bits(float32(x)))
			m.add(data, "%s: a value is %v", t.Name, x)
		}
	}
}
