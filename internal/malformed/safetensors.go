package malformed

import (
	"encoding/binary"
	"encoding/json"
	"iter"
	"maps"
	"math"
	"slices"

	"github.com/peftconv/peftconv/safetensors"
)

// Safetensors are lies in a safetensors file: in the length of its header, in the header, in JSON that stands in its
// metadata, and in the data.
func Safetensors(good []byte) iter.Seq[Variant] {
	f, err := safetensors.Parse(good)
	if err != nil {
		panic("malformed: the good safetensors file is none: " + err.Error())
	}
	n := binary.LittleEndian.Uint64(good)
	header, data := good[8:8+n], good[8+n:]
	return func(yield func(Variant) bool) {
		m := &maker{yield: yield}
		for _, n := range []uint64{0, 1, n - 1, n + 1, 1 << 31, 100<<20 + 1, 1 << 62, math.MaxUint64} {
			other := slices.Clone(good)
			binary.LittleEndian.PutUint64(other, n)
			m.add(other, "header of %d bytes", n)
		}
		with := func(v Variant) { m.add(header64(v.Data, data), "header: %s", v.Lie) }
		for v := range JSON(header, 3) {
			with(v)
		}
		for v := range Texts(header) {
			with(v)
		}
		m.metadata(f.Metadata, header, data)
		m.values(good)
	}
}

// header64 is a file of a header and data.
func header64(header, data []byte) []byte {
	return join(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header, data)
}

// metadata adds lies in values of the metadata that are JSON themselves.
func (m *maker) metadata(meta map[string]string, header, data []byte) {
	for _, key := range slices.Sorted(maps.Keys(meta)) {
		text := meta[key]
		if text == "" || text[0] != '{' {
			continue
		}
		for v := range JSON([]byte(text), 2) {
			var doc map[string]any
			if json.Unmarshal(header, &doc) != nil {
				panic("malformed: a header is no JSON")
			}
			doc["__metadata__"].(map[string]any)[key] = string(v.Data)
			other, err := json.Marshal(doc)
			if err != nil {
				panic("malformed: " + err.Error())
			}
			m.add(header64(other, data), "%s: %s", key, v.Lie)
		}
	}
}

// values adds files in which a value is none, or huge, or all are zero.
func (m *maker) values(good []byte) {
	change := func(name string, edit func(data []byte), lie any) {
		other := slices.Clone(good)
		f, err := safetensors.Parse(other)
		if err != nil {
			panic("malformed: " + err.Error())
		}
		edit(f.Tensor(name).Bytes()) // a view of other
		m.add(other, "%s: %v", name, lie)
	}
	f, _ := safetensors.Parse(good)
	for _, t := range f.Tensors {
		if t.DType != safetensors.F32 || t.Elements() == 0 {
			continue
		}
		for _, x := range []float64{math.NaN(), math.Inf(-1), 3e38} {
			change(t.Name, func(data []byte) {
				binary.LittleEndian.PutUint32(data[len(data)/8*4:], math.Float32bits(float32(x)))
			}, x)
		}
		change(t.Name, func(data []byte) { clear(data) }, "zeros")
	}
}
