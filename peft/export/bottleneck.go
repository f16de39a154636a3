package export

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/quant"
)

// bottleneckModel is the base with bottleneck adapters as parts of its layers, or as layers.
func bottleneckModel(m *methods.BottleneckMethod, b *attach.Base, params []attach.Param) (*modelFile, error) {
	if err := deliverable(m, b); err != nil {
		return nil, err
	}
	x := &bottleneckExport{BottleneckMethod: m, base: b, params: params, file: &modelFile{}}
	if m.Placement == methods.Parallel {
		return x.file, x.widen()
	}
	return x.file, x.insert()
}

// deliverable says why no graph of llama.cpp computes such adapters, where that is so.
func deliverable(m *methods.BottleneckMethod, b *attach.Base) error {
	arch := b.Architecture()
	switch {
	case m.Placement == methods.SerialHoulsby:
		return errors.New("llama.cpp has no place for a network between a part of a layer and its addition (serial-houlsby); " +
			"serial-pfeiffer and parallel adapters can be exported")
	case m.Input != methods.InputNorm:
		return errors.New("llama.cpp puts a norm before every network; an adapter that reads the stream as it is cannot be exported")
	case m.Activation != "silu" && m.Activation != methods.ActivationSwiGLU:
		return fmt.Errorf("llama.cpp's networks of %s models have the activation silu; an adapter with %s cannot be exported", arch, m.Activation)
	case m.Placement == methods.Parallel && slices.Contains(m.Parts, model.Attention.String()):
		return errors.New("llama.cpp has no network beside attention; parallel adapters of the FFN alone can be exported")
	case m.Placement == methods.Parallel && arch != "llama" && !m.Gated():
		return fmt.Errorf("llama.cpp's FFN of %s models has no biases; a parallel adapter with the activation swiglu can be exported", arch)
	case m.Placement == methods.SerialPfeiffer && arch != "llama":
		return fmt.Errorf("llama.cpp's architecture deci, whose layers may be FFN alone, stands for llama models only, not for %s", arch)
	}
	return nil
}

// bottleneckExport is one export of bottleneck adapters.
type bottleneckExport struct {
	*methods.BottleneckMethod
	base   *attach.Base
	params []attach.Param
	file   *modelFile

	asked, missed float64 // squares of the adapter's values, and of what rounding to the base's types changes of them
}

// network is an adapter as a SwiGLU network with biases, whose hidden width is padded with units that are always zero.
type network struct {
	width            int       // hidden
	gate, up         []float32 // (width, D)
	down             []float32 // (D, width)
	gateBias, upBias []float32 // (width); nil where the network has none
	downBias         []float32 // (D)
	norm             []float32 // (D) or nil
	streamWidth      int       // D
}

// network makes that of a place; an adapter that is not there has only padding. Without a gate silu(h) is silu(h)·1.
func (x *bottleneckExport) network(at methods.BottleneckPlace, width int) *network {
	d, k := x.Width, x.Bottleneck
	n := &network{
		width: width, streamWidth: d, gate: make([]float32, width*d), up: make([]float32, width*d), down: make([]float32, d*width),
	}
	if !x.Gated() {
		n.gateBias, n.upBias, n.downBias = make([]float32, width), make([]float32, width), make([]float32, d)
	}
	p, ok := x.BottleneckMethod.Params[at]
	if !ok {
		return n
	}
	data := func(i int) []float32 { return x.params[i].Data }
	for r := range d {
		for c, v := range data(p.Up)[r*k : (r+1)*k] {
			n.down[r*width+c] = v * float32(x.Scale)
		}
	}
	if p.Norm >= 0 {
		n.norm = data(p.Norm)
	}
	if x.Gated() {
		copy(n.gate, data(p.Gate))
		copy(n.up, data(p.Down))
		return n
	}
	copy(n.gate, data(p.Down))
	copy(n.gateBias, data(p.DownBias))
	for i := range k {
		n.upBias[i] = 1
	}
	for i, v := range data(p.UpBias) {
		n.downBias[i] = v * float32(x.Scale)
	}
	return n
}

// widen makes each layer's feed-forward network so much wider that the adapter is part of it.
func (x *bottleneckExport) widen() error {
	f := x.base.GGUF
	key := x.base.Architecture() + ".feed_forward_length"
	old, ok := f.Meta.Uint(key)
	if !ok {
		return fmt.Errorf("%s has no single %s", x.base.Path, key)
	}
	added, err := x.paddedWidth()
	if err != nil {
		return err
	}
	x.file.meta = f.Meta.Clone()
	if err := x.file.meta.Set(key, uint32(old)+uint32(added)); err != nil {
		return err
	}
	networks := map[string]*network{}
	for i := range x.base.Model.Layers {
		networks[fmt.Sprintf("blk.%d.", i)] = x.network(methods.BottleneckPlace{Layer: i, Part: model.FFN}, added)
	}
	for _, t := range f.Tensors {
		prefix, name := splitBlock(t.Name)
		x.widenTensor(t, networks[prefix], prefix, name)
	}
	x.noteRounding()
	return nil
}

// paddedWidth is the width of the adapters in whole blocks of every layer's ffn_down.
func (x *bottleneckExport) paddedWidth() (int, error) {
	step := 1
	for _, layer := range x.base.Model.Layers {
		for _, l := range []*model.Linear{layer.Gate, layer.Up, layer.Down} {
			if quant.NeedsImportance(l.W.Type) {
				return 0, fmt.Errorf("tensor %s is %v, in which no new weights can be written without an importance matrix", l.Tensor, l.W.Type)
			}
		}
		step = max(step, layer.Down.W.Type.BlockLen())
	}
	return (x.Bottleneck + step - 1) / step * step, nil
}

// widenTensor adds a tensor of the base, widened where it is one of a feed-forward network.
func (x *bottleneckExport) widenTensor(t *gguf.Tensor, n *network, prefix, name string) {
	d := int64(x.Width)
	add := func(made modelTensor) { x.file.tensors = append(x.file.tensors, made) }
	switch name {
	case "ffn_gate.weight":
		x.count(t.Type, n.gate, int(d))
		add(wider(t, n.gate))
	case "ffn_up.weight":
		x.count(t.Type, n.up, int(d))
		add(wider(t, n.up))
	case "ffn_down.weight":
		x.count(t.Type, n.down, n.width)
		add(longer(t, n.down))
	case "ffn_gate.bias", "ffn_up.bias", "ffn_down.bias":
		return // added below, with the old values
	default:
		add(copied(t))
		return
	}
	if n.upBias == nil && x.base.GGUF.Tensor(prefix+strings.TrimSuffix(name, "weight")+"bias") == nil {
		return
	}
	x.addBias(t, n, prefix, strings.TrimSuffix(name, ".weight"))
}

// addBias adds the bias of a widened map: that of the base, then the network's.
func (x *bottleneckExport) addBias(t *gguf.Tensor, n *network, prefix, name string) {
	i := map[string]int{"ffn_gate": 4, "ffn_up": 5, "ffn_down": 6}[name]
	added := map[string][]float32{"ffn_gate": n.gateBias, "ffn_up": n.upBias, "ffn_down": n.downBias}[name]
	var layer int
	fmt.Sscanf(prefix, "blk.%d.", &layer)
	old := x.base.Model.Layers[layer].Linears()[i].Bias
	if old == nil {
		old = make([]float32, t.Rows())
	}
	bias := slices.Clone(old)
	switch {
	case added == nil:
		if name != "ffn_down" {
			bias = append(bias, make([]float32, n.width)...)
		}
	case name == "ffn_down":
		for j, v := range added {
			bias[j] += v
		}
	default:
		bias = append(bias, added...)
	}
	x.file.tensors = append(x.file.tensors, floatTensor(prefix+name+".bias", bias, int64(len(bias))))
}

// count adds up what rounding values to a type changes.
func (x *bottleneckExport) count(t gguf.Type, values []float32, cols int) {
	got := make([]float32, len(values))
	quant.Dequantize(t, got, inType(t, values, cols))
	for i, v := range values {
		diff := float64(got[i]) - float64(v)
		x.asked += float64(v) * float64(v)
		x.missed += diff * diff
	}
}

// noteRounding says how much the adapter was rounded, where it was.
func (x *bottleneckExport) noteRounding() {
	if x.missed > 0 {
		x.file.note = fmt.Sprintf("the adapter's weights are rounded to the types of the base's FFN, by %.2g %% of their norm",
			100*math.Sqrt(x.missed/x.asked))
	}
}

// splitBlock parts "blk.3." from the rest of a tensor's name.
func splitBlock(name string) (prefix, rest string) {
	words := strings.SplitN(name, ".", 3)
	if len(words) < 3 || words[0] != "blk" {
		return "", name
	}
	return words[0] + "." + words[1] + ".", words[2]
}

// insert makes the adapters networks of layers of their own, in the architecture deci: there a layer without heads is a
// feed-forward network alone. An adapter after attention takes the place of the network of its layer, and the network
// comes after it.
func (x *bottleneckExport) insert() error {
	var err error
	if x.file.meta, err = renameArchitecture(x.base.GGUF.Meta, x.base.Architecture(), "deci"); err != nil {
		return err
	}
	byLayer := map[string][]*gguf.Tensor{}
	for _, t := range x.base.GGUF.Tensors {
		prefix, _ := splitBlock(t.Name)
		if byLayer[prefix] = append(byLayer[prefix], t); prefix == "" {
			x.file.tensors = append(x.file.tensors, copied(t))
		}
	}
	stack := &deciLayers{x: x}
	for i := range x.base.Model.Layers {
		stack.add(i, byLayer[fmt.Sprintf("blk.%d.", i)])
	}
	return stack.describe()
}

// renameArchitecture is metadata in which the keys of one architecture are those of another.
func renameArchitecture(meta *gguf.Metadata, from, to string) (*gguf.Metadata, error) {
	out := &gguf.Metadata{}
	for key, value := range meta.All() {
		if rest, ok := strings.CutPrefix(key, from+"."); ok {
			key = to + "." + rest
		}
		if err := out.Set(key, value); err != nil {
			return nil, err
		}
	}
	return out, out.Set("general.architecture", to)
}

// deciLayers are layers being made: of the base, and of adapters.
type deciLayers struct {
	x                  *bottleneckExport
	heads, keyHeads, f []int32 // of each layer so far: query heads, key heads, width of the network
}

// begin starts a layer with attention or without, whose network has the given width, and gives its prefix.
func (s *deciLayers) begin(attention bool, width int) string {
	spec := &s.x.base.Model.Spec
	heads, keyHeads := 0, 0
	if attention {
		heads, keyHeads = spec.QueryHeads, spec.KeyHeads
	}
	s.heads, s.keyHeads, s.f = append(s.heads, int32(heads)), append(s.keyHeads, int32(keyHeads)), append(s.f, int32(width))
	return fmt.Sprintf("blk.%d.", len(s.f)-1)
}

// add adds layer i of the base with its adapters.
func (s *deciLayers) add(i int, tensors []*gguf.Tensor) {
	ffn := s.x.base.Model.Spec.FFN
	after := func(part model.Part) bool {
		_, ok := s.x.BottleneckMethod.Params[methods.BottleneckPlace{Layer: i, Part: part}]
		return ok
	}
	if after(model.Attention) {
		prefix := s.begin(true, s.x.Bottleneck)
		s.copy(prefix, tensors, func(name string) bool { return !strings.HasPrefix(name, "ffn_") })
		s.network(prefix, methods.BottleneckPlace{Layer: i, Part: model.Attention})
		s.copy(s.begin(false, ffn), tensors, func(name string) bool { return strings.HasPrefix(name, "ffn_") })
	} else {
		s.copy(s.begin(true, ffn), tensors, func(string) bool { return true })
	}
	if after(model.FFN) {
		s.network(s.begin(false, s.x.Bottleneck), methods.BottleneckPlace{Layer: i, Part: model.FFN})
	}
}

// copy adds those tensors of a layer of the base that belong into a new one.
func (s *deciLayers) copy(prefix string, tensors []*gguf.Tensor, belongs func(name string) bool) {
	for _, t := range tensors {
		if _, name := splitBlock(t.Name); belongs(name) {
			made := copied(t)
			made.Name = prefix + name
			s.x.file.tensors = append(s.x.file.tensors, made)
		}
	}
}

// network adds an adapter as the network of a layer, in float32.
func (s *deciLayers) network(prefix string, at methods.BottleneckPlace) {
	n := s.x.network(at, s.x.Bottleneck)
	d, k := int64(n.streamWidth), int64(n.width)
	add := func(name string, x []float32, shape ...int64) {
		if x != nil {
			s.x.file.tensors = append(s.x.file.tensors, floatTensor(prefix+name, x, shape...))
		}
	}
	add("ffn_norm.weight", n.norm, d)
	add("ffn_gate.weight", n.gate, d, k)
	add("ffn_up.weight", n.up, d, k)
	add("ffn_down.weight", n.down, k, d)
	add("ffn_gate.bias", n.gateBias, k)
	add("ffn_up.bias", n.upBias, k)
	add("ffn_down.bias", n.downBias, d)
}

// describe puts the layers into the metadata: llama.cpp reads the arrays as 32-bit signed integers only.
func (s *deciLayers) describe() error {
	spec, meta := &s.x.base.Model.Spec, s.x.file.meta
	return errors.Join(
		meta.Set("deci.block_count", uint32(len(s.f))), meta.Set("deci.feed_forward_length", s.f),
		meta.Set("deci.attention.head_count", s.heads), meta.Set("deci.attention.head_count_kv", s.keyHeads),
		meta.Set("deci.attention.key_length", uint32(spec.HeadDim)), meta.Set("deci.attention.value_length", uint32(spec.HeadDim)),
		meta.Set("deci.rope.dimension_count", uint32(spec.Rope.Dim)),
	)
}
