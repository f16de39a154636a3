package merge

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// mergeVector is a tensor of numbers that are no weights of a linear map which changes, or that the base does not have:
// the weight of a norm, or the biases of one linear map or of several.
type mergeVector struct {
	name   string
	after  string     // the tensor that a new one follows; "" where the base has it
	part   model.Part // of the layer, where it is new
	base   []float32  // as the base's file has it; nil where it has none
	change []float32
	to     gguf.Type
}

// size is the bytes that it has in the output.
func (v *mergeVector) size() int64 { return int64(len(v.change)) * int64(v.to.BlockSize()) }

// touchVectors adds the changes of an adapter's vectors and says whether it has any.
func (m *merger) touchVectors(bound *attach.Bound) (any bool, err error) {
	changes := bound.Vectors()
	for i := range changes {
		if err := m.touchVector(&changes[i]); err != nil {
			return true, err
		}
	}
	return len(changes) > 0, nil
}

func (m *merger) touchVector(c *attach.VectorChange) error {
	if c.Factors != nil {
		return m.multiplyVector(c)
	}
	v, err := m.vectorOf(c)
	if err != nil {
		return err
	}
	place, err := m.placeIn(v, c, len(c.Change))
	if err != nil {
		return err
	}
	for i, x := range c.Change {
		v.change[place(i)] += x
	}
	return nil
}

// vectorOf is the entry of the tensor that a change is in.
func (m *merger) vectorOf(c *attach.VectorChange) (*mergeVector, error) {
	name := c.Tensor()
	v := m.vectors[name]
	switch {
	case v != nil:
		return v, nil
	case c.Base() == nil:
		return m.addBias(c.Linear)
	}
	base, err := m.storedVector(name)
	if err != nil {
		return nil, err
	}
	v = &mergeVector{name: name, base: base, change: make([]float32, len(base))}
	return v, m.putVector(v)
}

// storedVector are the numbers of a tensor of the base.
func (m *merger) storedVector(name string) ([]float32, error) {
	t, ok := m.base.Store.Tensor(name)
	if !ok || !quant.Supported(t.Type) {
		return nil, fmt.Errorf("tensor %s is not there, or of a type that cannot be read", name)
	}
	n := 1
	for _, d := range t.Shape {
		n *= int(d)
	}
	x := make([]float32, n)
	quant.Dequantize(t.Type, x, t.Data)
	return x, nil
}

// placeIn says where the file has each of the n values that a change is of.
func (m *merger) placeIn(v *mergeVector, c *attach.VectorChange, n int) (func(i int) int, error) {
	first, order := 0, []int32(nil)
	if c.Linear != nil {
		first, order = c.Linear.BiasRow(), m.biasOrder(c.Linear)
	}
	if first+n > len(v.change) || order != nil && len(order) != n {
		return nil, fmt.Errorf("tensor %s has %d values, expected %d from value %d on", v.name, len(v.change), n, first)
	}
	place := func(i int) int { return first + index(order, i) }
	if c.Linear != nil && v.base != nil {
		for i, x := range c.Linear.Bias {
			if v.base[place(i)] != x {
				return nil, inAnotherForm(c.Linear)
			}
		}
	}
	return place, nil
}

// biasOrder is which value of a Hugging Face file's bias each of a linear map is; nil: the same.
func (m *merger) biasOrder(l *model.Linear) []int32 {
	t := m.base.Model.Arch.Tensor(l.Role)
	switch t.Transform.(type) {
	case arch.SplitHeads, arch.TileHeads:
		if m.base.Model.HF != nil && !l.Part {
			return t.Rows(&m.base.Model.Spec, l.Layer)
		}
	}
	return nil
}

// multiplyVector multiplies a vector that the base or an adapter before has.
func (m *merger) multiplyVector(c *attach.VectorChange) error {
	if m.vectors[c.Tensor()] == nil && c.Base() == nil {
		return nil
	}
	v, err := m.vectorOf(c)
	if err != nil {
		return err
	}
	place, err := m.placeIn(v, c, len(c.Factors))
	if err != nil {
		return err
	}
	for i, f := range c.Factors {
		at := place(i)
		v.change[at] *= f
		if v.base != nil {
			v.change[at] += (f - 1) * v.base[at]
		}
	}
	return nil
}

// multiplyLate multiplies vectors after all adapters have changed them.
func (m *merger) multiplyLate() error {
	for i := range m.late {
		if err := m.multiplyVector(&m.late[i]); err != nil {
			return err
		}
	}
	return nil
}

// addBias adds a bias that the base does not have, for all maps whose weights are in the tensor of a linear map.
func (m *merger) addBias(l *model.Linear) (*mergeVector, error) {
	name, part := l.BiasTensor(), partOf(l)
	kind, can := m.base.Architecture(), m.base.Model.TakesBias(l)
	if hf := m.base.Model.HF; hf != nil {
		kind, can = hf.Type, hf.BiasFlags[part] != "" && !m.base.Model.InMixture(l)
	}
	if !can {
		return nil, fmt.Errorf("tensor %s: a model of type %s has no such bias", name, kind)
	}
	v, err := m.newBias(l)
	if err != nil || m.base.GGUF != nil {
		return v, err
	}
	return v, m.addZeros(part)
}

// newBias adds a bias of zeros.
func (m *merger) newBias(l *model.Linear) (*mergeVector, error) {
	whole, err := m.wholeTensor(l)
	if err == nil {
		err = holds(&whole, l)
	}
	if err != nil {
		return nil, err
	}
	v := &mergeVector{name: l.BiasTensor(), after: l.Tensor, part: partOf(l), change: make([]float32, whole.Rows)}
	return v, m.putVector(v)
}

// addZeros gives all maps of attention, or of the feed-forward network, that have no bias one of zeros: a Hugging Face
// configuration has biases for all of them or none.
func (m *merger) addZeros(part model.Part) error {
	for _, l := range m.base.Model.Linears() {
		if !l.Role.In(part) || l.Bias != nil || m.vectors[l.BiasTensor()] != nil ||
			m.base.Model.InMixture(l) {
			continue
		}
		if _, err := m.newBias(l); err != nil {
			return err
		}
	}
	return nil
}

// partOf is the part of its layer that a linear map is in.
func partOf(l *model.Linear) model.Part {
	if l.Role.In(model.Attention) {
		return model.Attention
	}
	return model.FFN
}

// putVector notes a vector, with the type that it gets: its own, or for a new one float32 in a GGUF file and the type
// of its weight in a Hugging Face directory.
func (m *merger) putVector(v *mergeVector) error {
	v.to = gguf.F32
	switch {
	case m.base.GGUF != nil && v.after == "":
		v.to = m.base.GGUF.Tensor(v.name).Type
	case m.base.GGUF == nil:
		kind, err := storedType(m.base, v)
		if err != nil {
			return err
		}
		v.to = kind
	}
	if m.widens() {
		v.to = gguf.F32
	}
	if v.to.BlockLen() != 1 {
		return fmt.Errorf("tensor %s has the type %v, which a vector that changes cannot have", v.name, v.to)
	}
	if m.vectors == nil {
		m.vectors = map[string]*mergeVector{}
	}
	m.vectors[v.name] = v
	return nil
}

// widens reports whether the output is asked to be in F32, so that nothing is rounded: vectors that change, and in a
// Hugging Face directory all others, are then F32 too.
func (m *merger) widens() bool {
	t, err := gguf.ParseType(m.opt.Type)
	return err == nil && t == gguf.F32
}

// storedType is the type of a vector, or of the weight that it follows, in a Hugging Face directory.
func storedType(b *attach.Base, v *mergeVector) (gguf.Type, error) {
	name := v.name
	if v.after != "" {
		name = v.after
	}
	if t, ok := b.Store.Tensor(name); ok && model.Dtypes[t.Type] != "" {
		return t.Type, nil
	}
	return 0, fmt.Errorf("tensor %s is in none of the types that can be written", name)
}

// added are the new vectors that follow a tensor.
func (m *merger) added(tensor string) []*mergeVector {
	var all []*mergeVector
	for _, v := range m.vectors {
		if v.after == tensor {
			all = append(all, v)
		}
	}
	return all
}

// vectorBytes makes a vector as it is written, and measures what of its change is in it.
func (m *merger) vectorBytes(v *mergeVector) ([]byte, error) {
	old := v.base
	if old == nil {
		old = make([]float32, len(v.change))
	}
	merged := slices.Clone(old)
	kernels.Add(merged, v.change)
	if i := floats.FirstNonFinite(merged); i >= 0 {
		return nil, fmt.Errorf("tensor %s: value %d becomes %v", v.name, i, merged[i])
	}
	asked := slices.Clone(merged)
	data := floats.Encode(v.to, merged, len(merged))
	quant.Dequantize(v.to, merged, data)
	stats := compareRows(requant.Rows{Old: old, Change: v.change, New: merged})
	m.total.add(stats)
	r := Tensor{Name: v.name, Type: v.to.String(), Recovery: stats.recovery(), Noise: stats.noise()}
	r.Little = r.Recovery < littleRecovery
	r.BitExact = slices.Equal(merged, asked)
	m.report.BitExact = m.report.BitExact && r.BitExact
	m.report.Tensors = append(m.report.Tensors, r)
	return data, nil
}

// addsVectors reports whether there are vectors that the base does not have.
func (m *merger) addsVectors() bool {
	for _, v := range m.vectors {
		if v.after != "" {
			return true
		}
	}
	return false
}

// newConfig is config.json with the flags for biases that there are now, and with the type that transformers loads the
// weights as where it is another one.
func (m *merger) newConfig(data []byte) ([]byte, error) {
	flags := map[string]bool{}
	for _, v := range m.vectors {
		if v.after != "" {
			flags[m.base.Model.HF.BiasFlags[v.part]] = true
		}
	}
	if len(flags) == 0 && m.opt.Type == "" {
		return data, nil
	}
	var config map[string]any
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, err
	}
	for flag := range flags {
		config[flag] = true
	}
	m.setDtype(config)
	if text, ok := config[m.base.Model.HF.Text].(map[string]any); ok {
		m.setDtype(text)
	}
	return json.MarshalIndent(config, "", "  ")
}

// torchTypes are the names that configurations have for types.
var torchTypes = map[string]string{"F32": "float32", "F16": "float16", "BF16": "bfloat16"}

// setDtype sets the type of the weights in a configuration, under both names that it may have.
func (m *merger) setDtype(config map[string]any) {
	for _, key := range []string{"torch_dtype", "dtype"} {
		if _, ok := config[key]; ok && m.opt.Type != "" {
			config[key] = torchTypes[strings.ToUpper(m.opt.Type)]
		}
	}
}
