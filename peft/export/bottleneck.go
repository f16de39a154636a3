package export

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/quant"
)

// bottleneckModel is the base with bottleneck adapters as parts of its layers, or as layers.
func bottleneckModel(m *methods.BottleneckMethod, b *attach.Base, params []attach.Param) (*modelFile, error) {
	if err := deliverable(m, b); err != nil {
		return nil, err
	}
	x := &bottleneckExport{BottleneckMethod: m, base: b, params: params, file: &modelFile{}}
	if m.Placement == method.Parallel {
		return x.file, x.widen()
	}
	return x.file, x.insert()
}

// deliverable says why no graph of llama.cpp computes such adapters, nil where one does.
func deliverable(m *methods.BottleneckMethod, b *attach.Base) error {
	a := b.Model.Arch
	switch {
	case m.Placement == method.SerialHoulsby:
		return errors.New("llama.cpp has no place for a network between a part of a layer and " +
			"its addition (serial-houlsby); serial-pfeiffer and parallel adapters can be exported")
	case m.Input != method.InputNorm:
		return errors.New("llama.cpp puts a norm before every network; " +
			"an adapter that reads the stream as it is cannot be exported")
	case m.Activation != "silu" && m.Activation != method.ActivationSwiGLU:
		return fmt.Errorf("llama.cpp's networks of %s models have "+
			"the activation silu; an adapter with %s cannot be exported",
			a.Name, m.Activation)
	case m.Placement == method.Parallel && slices.Contains(m.Parts, model.Attention.String()):
		return errors.New("llama.cpp has no network beside attention; parallel adapters of the FFN alone can be exported")
	case m.Placement == method.Parallel && !a.AddsBiases && !m.Gated():
		return fmt.Errorf("llama.cpp's FFN of %s models has no biases; "+
			"a parallel adapter with the activation swiglu can be exported", a.Name)
	case b.Model.Spec.ResidualScale != 0 && b.Model.Spec.ResidualScale != 1:
		return fmt.Errorf("%s models scale what their networks add, which an adapter is not part of", a.Name)
	case m.Placement == method.SerialPfeiffer && a.FFNOnly == "":
		return fmt.Errorf("llama.cpp's architecture deci, whose layers may be FFN alone, "+
			"stands for llama models only, not for %s", a.Name)
	}
	for i, layer := range b.Model.Layers {
		if reason := undeliverable(m, layer); reason != "" {
			return fmt.Errorf("the adapter cannot be exported: layer %d of %s %s", i, b.Path, reason)
		}
	}
	return nil
}

// undeliverable says why a layer cannot have such adapters, "" where it can.
func undeliverable(m *methods.BottleneckMethod, layer *model.Layer) string {
	s := layer.Spec
	switch {
	case s.Experts.Count > 0:
		return "has experts in place of one network"
	case s.FFN == 0:
		return "has no feed-forward network"
	case m.Placement == method.SerialPfeiffer:
		if s.Mixer != arch.SelfAttention {
			return "has no attention"
		}
		return ""
	case s.Activation != arch.SiLU:
		return "has a network of another activation than silu"
	case layer.Linear(arch.Gate) == nil || layer.Linear(arch.Gate).Part:
		return "has no gate of its own in its network"
	case layer.Norm(arch.FFNPostNorm) != nil || layer.Norm(arch.FFNSubNorm) != nil:
		return "norms what its network gives, which an adapter beside it is not part of"
	}
	return ""
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
		width: width, streamWidth: d, gate: make([]float32, width*d), up: make([]float32, width*d),
		down: make([]float32, d*width),
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

// widen makes each layer's feed-forward network wider, so that the adapter is part of it.
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
	type widened struct {
		*model.Linear
		by *network
	}
	maps, biases := map[string]widened{}, map[string]bool{}
	for i, layer := range x.base.Model.Layers {
		n := x.network(methods.BottleneckPlace{Layer: i, Part: model.FFN}, added)
		for _, l := range ffnMaps(layer) {
			maps[l.Tensor], biases[l.BiasTensor()] = widened{l, n}, true
		}
	}
	for _, t := range f.Tensors {
		switch l, ok := maps[t.Name]; {
		case ok:
			x.widenMap(t, l.Linear, l.by)
		case !biases[t.Name]: // biases follow their weights
			x.file.tensors = append(x.file.tensors, copied(t))
		}
	}
	x.noteRounding()
	return nil
}

// ffnMaps are the linear maps of the feed-forward network of a layer.
func ffnMaps(layer *model.Layer) []*model.Linear {
	return []*model.Linear{layer.Linear(arch.Gate), layer.Linear(arch.Up), layer.Linear(arch.Down)}
}

// paddedWidth is the width of the adapters in whole blocks of every layer's ffn_down.
func (x *bottleneckExport) paddedWidth() (int, error) {
	step := 1
	for _, layer := range x.base.Model.Layers {
		for _, l := range ffnMaps(layer) {
			if quant.NeedsImportance(l.W.Type) {
				return 0, fmt.Errorf("tensor %s is %v, in which no new "+
					"weights can be written without an importance matrix", l.Tensor, l.W.Type)
			}
		}
		step = max(step, layer.Linear(arch.Down).W.Type.BlockLen())
	}
	return (x.Bottleneck + step - 1) / step * step, nil
}

// widenMap adds a linear map of a feed-forward network, widened, and its bias.
func (x *bottleneckExport) widenMap(t *gguf.Tensor, l *model.Linear, n *network) {
	var made modelTensor
	switch l.Role {
	case arch.Gate:
		x.count(t.Type, n.gate, x.Width)
		made = wider(t, n.gate)
	case arch.Up:
		x.count(t.Type, n.up, x.Width)
		made = wider(t, n.up)
	case arch.Down:
		x.count(t.Type, n.down, n.width)
		made = longer(t, n.down)
	}
	x.file.tensors = append(x.file.tensors, made)
	if n.upBias != nil || l.Bias != nil {
		x.addBias(l, n)
	}
}

// addBias adds the bias of a widened map: that of the base, then the network's.
func (x *bottleneckExport) addBias(l *model.Linear, n *network) {
	added := map[arch.Role][]float32{arch.Gate: n.gateBias, arch.Up: n.upBias, arch.Down: n.downBias}[l.Role]
	bias := make([]float32, l.W.Rows)
	copy(bias, l.Bias)
	switch {
	case added == nil:
		if l.Role != arch.Down {
			bias = append(bias, make([]float32, n.width)...)
		}
	case l.Role == arch.Down:
		for j, v := range added {
			bias[j] += v
		}
	default:
		bias = append(bias, added...)
	}
	x.file.tensors = append(x.file.tensors, floatTensor(l.BiasTensor(), bias, int64(len(bias))))
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
		x.file.note = fmt.Sprintf("the adapter's weights are rounded "+
			"to the types of the base's FFN, by %.2g %% of their norm",
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

// insert makes each adapter the network of a new layer, in an architecture whose layers may be without attention
// (arch.Arch.FFNOnly): there a layer without heads is a feed-forward network alone. An adapter after attention takes
// the place of the network of its layer, and the network comes after it.
func (x *bottleneckExport) insert() error {
	var err error
	a := x.base.Model.Arch
	if x.file.meta, err = renameArchitecture(x.base.GGUF.Meta, a.Name, a.FFNOnly); err != nil {
		return err
	}
	byLayer := map[string][]*gguf.Tensor{}
	for _, t := range x.base.GGUF.Tensors {
		prefix, _ := splitBlock(t.Name)
		if byLayer[prefix] = append(byLayer[prefix], t); prefix == "" {
			x.file.tensors = append(x.file.tensors, copied(t))
		}
	}
	stack := &ffnOnlyLayers{x: x, ffn: map[string]bool{}}
	for i, layer := range x.base.Model.Layers {
		stack.ffn[layer.Norm(arch.FFNNorm).Tensor] = true
		for _, l := range ffnMaps(layer) {
			stack.ffn[l.Tensor], stack.ffn[l.BiasTensor()] = true, true
		}
		stack.add(i, byLayer[blockPrefix(i)])
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

// blockPrefix begins the names of the tensors of a layer.
func blockPrefix(layer int) string { return fmt.Sprintf("blk.%d.", layer) }

// ffnOnlyLayers are layers being made: of the base, and of adapters.
type ffnOnlyLayers struct {
	x                  *bottleneckExport
	ffn                map[string]bool // the names of the tensors of feed-forward networks in the base
	heads, keyHeads, f []int32         // of each layer so far: query heads, key heads, width of the network
}

// begin starts a layer with the attention of one of the base's, or without any where it is nil, whose network has the
// given width, and gives its number.
func (s *ffnOnlyLayers) begin(attention *arch.Layer, width int) int {
	heads, keyHeads := 0, 0
	if attention != nil {
		heads, keyHeads = attention.QueryHeads, attention.KeyHeads
	}
	s.heads, s.keyHeads, s.f = append(s.heads, int32(heads)), append(s.keyHeads, int32(keyHeads)),
		append(s.f, int32(width))
	return len(s.f) - 1
}

// add adds layer i of the base with its adapters.
func (s *ffnOnlyLayers) add(i int, tensors []*gguf.Tensor) {
	spec := s.x.base.Model.Spec.At(i)
	after := func(part model.Part) bool {
		_, ok := s.x.BottleneckMethod.Params[methods.BottleneckPlace{Layer: i, Part: part}]
		return ok
	}
	if after(model.Attention) {
		layer := s.begin(spec, s.x.Bottleneck)
		s.copy(layer, tensors, func(name string) bool { return !s.ffn[name] })
		s.network(layer, methods.BottleneckPlace{Layer: i, Part: model.Attention})
		s.copy(s.begin(nil, spec.FFN), tensors, func(name string) bool { return s.ffn[name] })
	} else {
		s.copy(s.begin(spec, spec.FFN), tensors, func(string) bool { return true })
	}
	if after(model.FFN) {
		s.network(s.begin(nil, s.x.Bottleneck), methods.BottleneckPlace{Layer: i, Part: model.FFN})
	}
}

// copy adds those tensors of a layer of the base that belong into a new one.
func (s *ffnOnlyLayers) copy(layer int, tensors []*gguf.Tensor, belongs func(name string) bool) {
	for _, t := range tensors {
		if belongs(t.Name) {
			_, name := splitBlock(t.Name)
			made := copied(t)
			made.Name = blockPrefix(layer) + name
			s.x.file.tensors = append(s.x.file.tensors, made)
		}
	}
}

// network adds an adapter as the network of a layer, in float32.
func (s *ffnOnlyLayers) network(layer int, at methods.BottleneckPlace) {
	n := s.x.network(at, s.x.Bottleneck)
	d, k := int64(n.streamWidth), int64(n.width)
	name := func(role arch.Role) string { return s.x.base.Model.Arch.Tensor(role).InGGUF(layer) }
	add := func(name string, x []float32, shape ...int64) {
		if x != nil {
			s.x.file.tensors = append(s.x.file.tensors, floatTensor(name, x, shape...))
		}
	}
	add(name(arch.FFNNorm), n.norm, d)
	add(name(arch.Gate), n.gate, d, k)
	add(name(arch.Up), n.up, d, k)
	add(name(arch.Down), n.down, k, d)
	add(arch.BiasName(name(arch.Gate)), n.gateBias, k)
	add(arch.BiasName(name(arch.Up)), n.upBias, k)
	add(arch.BiasName(name(arch.Down)), n.downBias, d)
}

// describe writes the layers to the metadata: llama.cpp reads the arrays as 32-bit signed integers only.
func (s *ffnOnlyLayers) describe() error {
	spec, meta := &s.x.base.Model.Spec, s.x.file.meta
	key := s.x.base.Model.Arch.FFNOnly + "."
	return errors.Join(
		meta.Set(key+"block_count", uint32(len(s.f))), meta.Set(key+"feed_forward_length", s.f),
		meta.Set(key+"attention.head_count", s.heads), meta.Set(key+"attention.head_count_kv", s.keyHeads),
		meta.Set(key+"attention.key_length", uint32(spec.HeadDim)),
		meta.Set(key+"attention.value_length", uint32(spec.Values())),
		meta.Set(key+"rope.dimension_count", uint32(spec.Rope.Dim)),
	)
}
