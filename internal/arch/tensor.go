package arch

import (
	"strconv"
	"strings"
)

// Tensor is a line of an architecture's table. Names have %d where the number of the layer is, and names in Hugging
// Face files %e where the number of the expert is, or %h that of the head.
type Tensor struct {
	Role      Role
	GGUF      string // name in a GGUF file
	HF        string // name in Hugging Face files, "" where they have none
	AlsoHF    string // the name in Hugging Face files that do not have HF, "" where there is none
	Shape     []Dim  // rows first
	Transform Transform
	Optional  bool // a file need not have it
	Bias      bool // a bias may stand beside the weight
	Within    *Within
}

// Within is where the rows of a tensor may be instead: in a tensor that holds those of several. Of stacked tensors it
// is where those of each expert are.
type Within struct {
	GGUF, HF string // the names of that tensor, "" where no such files have it
	Before   []Dim  // rows before it
	All      []Dim  // rows of all
}

// In is the name in either kind of file, "" where there is none.
func (w *Within) In(hf bool, layer int) string {
	switch {
	case w == nil:
		return ""
	case hf:
		return inLayer(w.HF, layer)
	}
	return inLayer(w.GGUF, layer)
}

// Rows are the number of rows before those of the tensor, and of all.
func (w *Within) Rows(s *Spec, layer int) (before, all int) {
	for _, d := range w.Before {
		before += d.Of(s, layer)
	}
	for _, d := range w.All {
		all += d.Of(s, layer)
	}
	return before, all
}

// Transform is what a conversion from Hugging Face to GGUF does to a tensor, and to the bias beside it; nil is nothing.
type Transform interface{ transform() }

// PermuteHeads brings the rows of each of so many heads into the order in which RoPE turns neighbours: Hugging Face
// turns row i of a head together with row i + half of it, GGUF row 2i with 2i + 1.
type PermuteHeads struct{ Heads Dim }

func (PermuteHeads) transform() {}

// AddOne raises the weights of a norm: Hugging Face stores what is added to 1.
type AddOne struct{}

func (AddOne) transform() {}

// Transpose exchanges rows and columns: Hugging Face stores (in, out).
type Transpose struct{}

func (Transpose) transform() {}

// SplitHeads brings rows of queries, keys and values, which stand together head by head in Hugging Face files, into the
// order of all queries, all keys, all values. With Groups it is all query heads that share a key head which stand
// before it.
type SplitHeads struct{ Groups bool }

func (SplitHeads) transform() {}

// PickQKVZ takes from a fused projection, whose rows are queries, keys, values and gate of each key head, those of all
// queries, all keys and all values, or those of the gate.
type PickQKVZ struct{ Gate bool }

func (PickQKVZ) transform() {}

// TileHeads brings the value heads of a gated delta net, of which those that read a key head follow each other in
// Hugging Face files, into the order in which value head h reads key head h mod their number. Skip are the rows, and
// Each the rows of a head; Columns: it is the columns that are brought into that order.
type TileHeads struct {
	Skip, Each Dim
	Columns    bool
}

func (TileHeads) transform() {}

// PackExperts is for the experts of gpt-oss: Hugging Face files have either blocks of MXFP4 in the order (experts, out,
// in), or numbers in the order (experts, in, out). Of so many outputs that follow each other, Every, it is number
// First.
type PackExperts struct{ First, Every int }

func (PackExperts) transform() {}

const layerNumber = "%d"

// PerLayer reports whether each layer has such a tensor.
func (t *Tensor) PerLayer() bool { return strings.Contains(t.GGUF, layerNumber) }

// InGGUF is the name in a GGUF file.
func (t *Tensor) InGGUF(layer int) string { return inLayer(t.GGUF, layer) }

// InHF is the name in Hugging Face files.
func (t *Tensor) InHF(layer int) string { return inLayer(t.HF, layer) }

// AlsoInHF is the other name in Hugging Face files.
func (t *Tensor) AlsoInHF(layer int) string { return inLayer(t.AlsoHF, layer) }

// Module is Hugging Face's name of the module that the tensor is the weight of or, where a module or parameter has the
// rows of others too (Joint), or Hugging Face has none, a name of that form.
func (t *Tensor) Module(layer int) string {
	module := strings.TrimSuffix(t.InHF(layer), weightSuffix)
	if joint := t.Joint(layer); joint != "" {
		module = strings.TrimSuffix(joint, weightSuffix) + partNames[t.Role]
	}
	if module == "" {
		return strings.TrimSuffix(t.InGGUF(layer), weightSuffix)
	}
	return module
}

// partNames are what parts of a joint tensor are told apart by.
var partNames = map[Role]string{
	Gate: "_gate", Up: "_up", ExpertGate: "_gate", ExpertUp: "_up", SharedGate: "_gate", SharedUp: "_up",
	RecurrentQKV: "_qkv", RecurrentGate: "_gate",
}

// Joint is the name in Hugging Face files of the weight that has the rows of several linear maps, "" where the tensor
// is one of its own: those of gate and up-projection, of parts of a recurrence, or of all experts. That of experts may
// be a parameter that is the weight of no module.
func (t *Tensor) Joint(layer int) string {
	name := ""
	_, picked := t.Transform.(PickQKVZ)
	switch {
	case t.HF == "" && t.Within != nil:
		name = inLayer(t.Within.HF, layer)
	case picked, t.Role.Kind() == Experts && !t.EachExpert():
		name = t.InHF(layer)
	}
	if !strings.HasSuffix(name, weightSuffix) && t.Role.Kind() != Experts {
		return ""
	}
	return name
}

// JointRows is the row there of each row of the tensor, or of the part of each expert.
func (t *Tensor) JointRows(s *Spec, layer int) []int32 {
	if _, picked := t.Transform.(PickQKVZ); picked {
		return t.Rows(s, layer)
	}
	before, every := 0, 1
	if by, packed := t.Transform.(PackExperts); packed {
		before, every = by.First, by.Every
	} else if t.HF == "" {
		before, _ = t.Within.Rows(s, layer)
	}
	rows := make([]int32, t.Shape[len(t.Shape)-2].Of(s, layer))
	for r := range rows {
		rows[r] = int32(before + every*r)
	}
	return rows
}

// EachExpert reports whether Hugging Face files have a tensor for each expert.
func (t *Tensor) EachExpert() bool { return strings.Contains(t.HF, expertNumber) }

// ExpertInHF is the name of an expert's weight in Hugging Face files that have one for each.
func (t *Tensor) ExpertInHF(layer, expert int) string {
	return strings.Replace(t.InHF(layer), expertNumber, strconv.Itoa(expert), 1)
}

// EachHead reports whether Hugging Face files have a tensor for each head.
func (t *Tensor) EachHead() bool { return strings.Contains(t.HF, headNumber) }

// HeadInHF is the name of a head's tensor in Hugging Face files that have one for each.
func (t *Tensor) HeadInHF(layer, head int) string {
	return strings.Replace(t.InHF(layer), headNumber, strconv.Itoa(head), 1)
}

// ExpertModule is Hugging Face's name of an expert's module or, where the experts are one parameter, a name of that
// form.
func (t *Tensor) ExpertModule(layer, expert int) string {
	if t.EachExpert() {
		return strings.TrimSuffix(t.ExpertInHF(layer, expert), weightSuffix)
	}
	module := t.Module(layer)
	at := strings.LastIndexByte(module, '.') + 1
	return module[:at] + strconv.Itoa(expert) + "." + module[at:]
}

const (
	expertNumber = "%e"
	headNumber   = "%h"
)

const weightSuffix = ".weight"

// BiasName is the name of the bias beside a weight, in any file.
func BiasName(weight string) string { return strings.TrimSuffix(weight, weightSuffix) + ".bias" }

func inLayer(name string, layer int) string {
	return strings.Replace(name, layerNumber, strconv.Itoa(layer), 1)
}

// layerOf reports whether a name is one of those that a pattern stands for, and the number of the layer, -1 without
// one.
func layerOf(pattern, name string) (layer int, ok bool) {
	before, after, perLayer := strings.Cut(pattern, layerNumber)
	if !perLayer {
		return -1, name == pattern
	}
	rest, found := strings.CutPrefix(name, before)
	number, ends := strings.CutSuffix(rest, after)
	if !found || !ends {
		return 0, false
	}
	layer, err := strconv.Atoi(number)
	return layer, err == nil && layer >= 0 && inLayer(pattern, layer) == name
}

// Dim is a dimension of a tensor by name; its size follows from the Spec.
type Dim uint8

// The dimensions.
const (
	DimNone            Dim = iota // 0
	DimVocab                      // tokens
	DimContext                    // positions
	DimWidth                      // of the residual stream
	DimQuery                      // all query heads
	DimQueryGated                 // with a gate beside each
	DimKey                        // all key heads
	DimValue                      // all value heads
	DimAttended                   // what attention gives
	DimQKV                        // queries, keys and values
	DimQueryHeads                 // number of query heads
	DimKeyHeads                   // number of key heads
	DimHead                       // a head of queries or keys
	DimQueryRank                  // latent queries
	DimLatent                     // latent keys and values
	DimLatentRope                 // with the part of the key that turns
	DimNope                       // the part of a key that does not
	DimHeadValue                  // a head of values of latent attention
	DimUpBoth                     // keys and values of all heads from the latent ones
	DimFFN                        // inner width of the feed-forward network
	DimGateUp                     // gate and up-projection
	DimExperts                    // number of experts
	DimExpertFFN                  // inner width of an expert
	DimExpertGateUp               // its gate and up-projection
	DimShared                     // inner width of the shared expert
	DimRopePairs                  // pairs of values of a head that turn
	DimRecurrentIn                // all that a recurrent mixer needs
	DimRecurrentQKV               // channels of its convolution
	DimRecurrentInner             // what it gives
	DimRecurrentHeads             // its heads
	DimRecurrentHeads2            // twice that
	DimRecurrentDim               // what a head of it gives
	DimRecurrentKeys              // queries and keys of all its heads
	DimGroupInner                 // what a group of its heads gives
	DimGroups                     // groups of its heads
	DimRecurrentTaps              // taps of its convolution
	DimTaps                       // taps of the short convolution
	DimConvIn                     // the three inputs of the short convolution
	DimLayerEmbedding             // a layer's part of the second embedding
	DimLayerEmbeddings            // all of it
	DimOne                        // 1
)

// Of is the size in a layer; tensors of no layer have the sizes of the first.
func (d Dim) Of(s *Spec, layer int) int {
	l := s.At(max(layer, 0))
	query, key, value := l.QueryHeads*l.HeadDim, l.KeyHeads*l.HeadDim, l.KeyHeads*l.Values()
	switch d {
	case DimNone:
		return 0
	case DimVocab:
		return s.Vocab
	case DimContext:
		return s.Context
	case DimWidth:
		return s.Width
	case DimQuery:
		return query
	case DimQueryGated:
		return 2 * query
	case DimKey:
		return key
	case DimValue:
		return value
	case DimAttended:
		return l.QueryHeads * l.Values()
	case DimQKV:
		return query + key + value
	case DimQueryHeads:
		return l.QueryHeads
	case DimKeyHeads:
		return l.KeyHeads
	case DimHead:
		return l.HeadDim
	case DimQueryRank:
		return l.Latent.QueryRank
	case DimLatent:
		return l.Latent.Rank
	case DimLatentRope:
		return l.Latent.Rank + l.Latent.Rope
	case DimNope:
		return l.Latent.Nope
	case DimHeadValue:
		return l.Latent.Value
	case DimUpBoth:
		return l.QueryHeads * (l.Latent.Nope + l.Latent.Value)
	case DimFFN:
		return l.FFN
	case DimGateUp:
		return 2 * l.FFN
	case DimExperts:
		return l.Experts.Count
	case DimExpertFFN:
		return l.Experts.FFN
	case DimExpertGateUp:
		return 2 * l.Experts.FFN
	case DimShared:
		return l.Experts.Shared
	case DimRopePairs:
		return l.Rope.Dim / 2
	case DimTaps:
		return l.Taps
	case DimConvIn:
		return 3 * s.Width
	case DimLayerEmbedding:
		return s.LayerEmbedding
	case DimLayerEmbeddings:
		return s.LayerEmbedding * s.Layers
	case DimOne:
		return 1
	}
	return d.ofRecurrence(l)
}

// ofRecurrence is the size of a dimension of a recurrent mixer.
func (d Dim) ofRecurrence(l *Layer) int {
	delta, mamba := &l.Delta, &l.Mamba
	switch d {
	case DimRecurrentIn:
		return mamba.Inner() + mamba.Channels() + mamba.Heads
	case DimRecurrentQKV:
		return delta.Channels() + mamba.Channels()
	case DimRecurrentInner:
		return delta.ValueHeads*delta.ValueDim + mamba.Inner()
	case DimRecurrentHeads:
		return delta.ValueHeads + mamba.Heads
	case DimRecurrentHeads2:
		return 2 * delta.ValueHeads
	case DimRecurrentDim:
		return delta.ValueDim + mamba.HeadDim
	case DimRecurrentKeys:
		return 2 * delta.KeyHeads * delta.KeyDim
	case DimGroupInner:
		return mamba.Inner() / max(mamba.Groups, 1)
	case DimGroups:
		return mamba.Groups
	case DimRecurrentTaps:
		return delta.Taps + mamba.Taps
	}
	panic("arch: a dimension without a size")
}

// Sizes is the shape in a layer, rows first.
func (t *Tensor) Sizes(s *Spec, layer int) []int64 {
	sizes := make([]int64, len(t.Shape))
	for i, d := range t.Shape {
		sizes[i] = int64(d.Of(s, layer))
	}
	return sizes
}
