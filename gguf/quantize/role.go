package quantize

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
)

// role is the role of a tensor in a model, as the rules distinguish it.
type role uint8

const (
	other   role = iota
	anyRole      // in a rule: any but the head
	embedding
	head
	attnQ
	attnK
	attnV // also where it is one tensor with query and key, or with the key's up-projection
	attnOut
	ffnUp
	ffnGate
	ffnDown
)

const (
	headName      = "output.weight"
	embeddingName = "token_embd.weight"
	perLayerName  = "per_layer_token_embd.weight" // an embedding for every layer
)

// roleNames are the parts of names that determine the role; the first that occurs is used.
var roleNames = []struct {
	part string
	role role
}{
	{"attn_qkv.weight", attnV}, {"attn_kv_b.weight", attnV}, {"attn_v.weight", attnV},
	{"attn_k.weight", attnK}, {"attn_q.weight", attnQ}, {"attn_output.weight", attnOut},
	{"ffn_up", ffnUp}, {"ffn_gate", ffnGate}, {"ffn_down", ffnDown},
}

// rolesByTable are the roles of tensors in the table of an architecture; others have theirs by name.
var rolesByTable = map[arch.Role]role{
	arch.TokenEmbedding: embedding, arch.OutputHead: head,
	arch.Query: attnQ, arch.Key: attnK, arch.Value: attnV, arch.AttentionOutput: attnOut,
	arch.Up: ffnUp, arch.Gate: ffnGate, arch.Down: ffnDown,
}

// roleOf is the role of a tensor: by the table of the architecture, where that is known and has the tensor, or else by
// the names that most architectures share.
func (m *traits) roleOf(name string) role {
	if t, _, ok := m.inTable(name); ok {
		if r, ok := rolesByTable[t.Role]; ok {
			return r
		}
	}
	return roleByName(name)
}

// layerOf is the number of the layer of a tensor, -1 where there is none.
func (m *traits) layerOf(name string) int {
	if _, layer, ok := m.inTable(name); ok {
		return layer
	}
	return layerByName(name)
}

// inTable finds a tensor in the table of the architecture.
func (m *traits) inTable(name string) (t *arch.Tensor, layer int, ok bool) {
	if m.arch == nil {
		return nil, 0, false
	}
	return m.arch.InGGUF(name)
}

// roleByName is the role of the tensor of that name in most architectures.
func roleByName(name string) role {
	switch name {
	case headName:
		return head
	case embeddingName, perLayerName:
		return embedding
	}
	for _, r := range roleNames {
		if strings.Contains(name, r.part) {
			return r.role
		}
	}
	return other
}

// keptNames are parts of the names of weights that are never quantized: small ones, and sensitive ones.
var keptNames = []string{
	"_norm.weight",
	"ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", // which experts a token goes to
	"altup", "laurel", "per_layer_model_proj", // of Gemma 3n
	"ssm_conv1d", "shortconv.conv.weight", // convolutions over a few tokens
	"indexer.k_proj.weight", "indexer.q_proj.weight",
	"time_mix_first.weight", "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight", // of RWKV
	"time_mix_v0.weight", "time_mix_v1.weight", "time_mix_v2.weight",
	"time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight",
	"time_mix_g1.weight", "time_mix_g2.weight",
	"time_mix_decay_w1.weight", "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight",
	// relative positions of T5
	"attn_rel_b.weight",
	".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd", ".patch_merger", // of images
	"a.rvq.codebook", "mm.a.code_embd", // of sound
}

// quantizable says whether a tensor can get another type at all: a matrix, or several that are stacked, of weights.
func (m *traits) quantizable(t *gguf.Tensor) bool {
	if dims(t) < 2 {
		return false
	}
	if known, _, ok := m.inTable(t.Name); ok && rolesByTable[known.Role] != other {
		return true
	}
	if !strings.HasSuffix(t.Name, "weight") {
		return false
	}
	switch t.Name {
	case "position_embd.weight", "token_types.weight":
		return false
	}
	return !slices.ContainsFunc(keptNames, func(part string) bool { return strings.Contains(t.Name, part) })
}

// dims is the number of dimensions up to the last that is not 1.
func dims(t *gguf.Tensor) int {
	n := len(t.Shape)
	for n > 0 && t.Shape[n-1] == 1 {
		n--
	}
	return n
}

// dim is dimension i, 1 where the shape has fewer.
func dim(t *gguf.Tensor, i int) int64 {
	if i < len(t.Shape) {
		return t.Shape[i]
	}
	return 1
}

// layerByName is the number of the layer in the name of one of its tensors, -1 where there is none.
func layerByName(name string) int {
	rest, ok := strings.CutPrefix(name, "blk.")
	if !ok {
		return -1
	}
	end := 0
	for end < len(rest) && '0' <= rest[end] && rest[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(rest[:end])
	if err != nil {
		return -1
	}
	return n
}

// sorted is a model's tensors in the order in which they are written: those of no layer, then layer after layer, each
// by name.
func (m *traits) sorted(tensors []*gguf.Tensor) []*gguf.Tensor {
	type placed struct {
		tensor *gguf.Tensor
		layer  int
	}
	order := make([]placed, len(tensors))
	for i, t := range tensors {
		order[i] = placed{t, m.layerOf(t.Name)}
	}
	slices.SortStableFunc(order, func(a, b placed) int {
		return cmp.Or(a.layer-b.layer, strings.Compare(a.tensor.Name, b.tensor.Name))
	})
	out := make([]*gguf.Tensor, len(order))
	for i := range order {
		out[i] = order[i].tensor
	}
	return out
}
