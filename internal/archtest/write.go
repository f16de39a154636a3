package archtest

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/modeltest"
	"github.com/peftconv/peftconv/internal/store"
)

// Model is a small random model.
type Model struct {
	Name    string // of the case
	Arch    string
	Fields  map[string]any // metadata without the architecture's prefix
	Vocab   int            // 0: 64
	Tied    bool
	Biases  []arch.Role // weights with a bias beside them
	Has     []arch.Role // optional tensors that it has
	Lacks   []arch.Role // tensors of other names hold these
	Fused   []arch.Role // roles whose rows lie in the tensor that holds those of several
	Seed    uint64
	NoWords bool                        // the vocabulary has only a size
	Type    func(name string) gguf.Type // of matrices; nil: F32
	Extra   []gguf.Tensor               // further tensors
	Rows    int                         // matrices have no more rows than so many, as if they were cut; 0: all
}

// Spec is what the metadata say that the model computes. The vocabulary is that of the model.
func (m *Model) Spec(t testing.TB) arch.Spec {
	t.Helper()
	var out bytes.Buffer
	w, err := gguf.NewWriter(&out, m.Meta(t), nil)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	file, err := gguf.Parse(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	info, err := arch.Read(store.OfGGUF(file))
	if err != nil {
		t.Fatalf("%s: %v", m.Name, err)
	}
	info.Spec.Vocab = m.vocab()
	return info.Spec
}

func (m *Model) vocab() int {
	if m.Vocab > 0 {
		return m.Vocab
	}
	return 64
}

// Meta is the metadata. The vocabulary is a small one.
func (m *Model) Meta(t testing.TB) *gguf.Metadata {
	t.Helper()
	meta := &gguf.Metadata{}
	set := func(key string, v any) {
		if err := meta.Set(key, v); err != nil {
			t.Fatal(err)
		}
	}
	set("general.architecture", m.Arch)
	name := "small" // llama.cpp looks for tokens where the name is a known one
	if m.NoWords {
		name = m.Name
	}
	set("general.name", name)
	m.vocabulary(set)
	for _, key := range slices.Sorted(maps.Keys(m.Fields)) {
		v := m.Fields[key]
		switch x := v.(type) {
		case int:
			v = uint32(x)
		case float64:
			v = float32(x)
		case []int:
			list := make([]int32, len(x))
			for i := range x {
				list[i] = int32(x[i])
			}
			v = list
		}
		set(m.Arch+"."+key, v)
	}
	return meta
}

// vocabulary sets the tokens: begin and end, a newline, and words of one letter.
func (m *Model) vocabulary(set func(key string, v any)) {
	if m.NoWords {
		set("tokenizer.ggml.model", "none")
		set(m.Arch+".vocab_size", uint32(m.vocab()))
		return
	}
	tokens, types := []string{"<s>", "</s>", "Ċ", "Ġ", "ab"}, []int32{3, 3, 1, 1, 1}
	for c := 'a'; len(tokens) < m.vocab(); c++ {
		tokens, types = append(tokens, string(c)), append(types, 1)
	}
	set("tokenizer.ggml.model", "gpt2")
	set("tokenizer.ggml.pre", "gpt-2")
	set("tokenizer.ggml.tokens", tokens)
	set("tokenizer.ggml.token_type", types)
	set("tokenizer.ggml.merges", []string{"a b"})
	set("tokenizer.ggml.bos_token_id", uint32(0))
	set("tokenizer.ggml.eos_token_id", uint32(1))
}

// Tensors are the tensors of the model, without data.
func (m *Model) Tensors(t testing.TB) []gguf.Tensor {
	t.Helper()
	s, a := m.Spec(t), arch.ByName(m.Arch)
	var all []gguf.Tensor
	seen := map[string]bool{}
	add := func(name string, shape []int64, matrix bool) {
		if seen[name] {
			return
		}
		seen[name] = true
		slices.Reverse(shape)
		if len(shape) > 1 {
			shape[1] = m.rows(shape[1])
		}
		tensor := gguf.Tensor{Name: name, Shape: shape}
		if matrix && m.Type != nil {
			if typ := m.Type(name); shape[0]%int64(typ.BlockLen()) == 0 {
				tensor.Type = typ
			}
		}
		all = append(all, tensor)
	}
	one := func(tensor *arch.Tensor, layer int) {
		if tensor.Role == arch.RopeFactors { // a layer that they are for
			for layer = 0; s.At(layer).Rope.Plain; layer++ {
			}
		}
		shape, name := tensor.Sizes(&s, layer), tensor.InGGUF(layer)
		if slices.Contains(m.Fused, tensor.Role) {
			name = tensor.Within.In(false, layer)
			_, rows := tensor.Within.Rows(&s, layer)
			shape[len(shape)-2] = int64(rows)
		}
		kind := tensor.Role.Kind()
		add(name, shape, kind == arch.Linear || kind == arch.Experts || kind == arch.End || kind == arch.Heads)
		if slices.Contains(m.Biases, tensor.Role) {
			n := slices.Clone(shape)
			slices.Reverse(n) // add has turned it
			if kind != arch.Norm {
				n = n[:len(n)-1]
			}
			add(arch.BiasName(name), n, false)
		}
	}
	for i := range a.Tensors {
		tensor := &a.Tensors[i]
		if tensor.Optional && !slices.Contains(m.Has, tensor.Role) || slices.Contains(m.Lacks, tensor.Role) ||
			m.Tied && tensor.Role == arch.OutputHead {
			continue
		}
		if !tensor.PerLayer() {
			if tensor.Role.Needed(&s, s.At(0)) {
				one(tensor, -1)
			}
			continue
		}
		for layer := range s.Layers {
			if tensor.Role.Needed(&s, s.At(layer)) {
				one(tensor, layer)
			}
		}
	}
	return append(append(all, m.drafts(&s, all)...), m.Extra...)
}

// rows is how many of n rows a matrix has.
func (m *Model) rows(n int64) int64 {
	if m.Rows > 0 {
		return min(n, int64(m.Rows))
	}
	return n
}

// drafts are the tensors of draft layers: those of the last layer that attends, and what makes its input and output.
func (m *Model) drafts(s *arch.Spec, all []gguf.Tensor) (out []gguf.Tensor) {
	last := s.Layers - 1
	for last > 0 && s.At(last).Mixer != arch.SelfAttention {
		last--
	}
	width := int64(s.Width)
	for layer := s.Layers; layer < s.Layers+s.Drafts; layer++ {
		prefix := fmt.Sprintf("blk.%d.", layer)
		for _, t := range all {
			if rest, ok := strings.CutPrefix(t.Name, fmt.Sprintf("blk.%d.", last)); ok {
				t.Name = prefix + rest
				out = append(out, t)
			}
		}
		for _, t := range []gguf.Tensor{
			{Name: "nextn.eh_proj.weight", Shape: []int64{2 * width, m.rows(width)}},
			{Name: "nextn.enorm.weight", Shape: []int64{width}},
			{Name: "nextn.hnorm.weight", Shape: []int64{width}},
			{Name: "nextn.shared_head_norm.weight", Shape: []int64{width}},
		} {
			t.Name = prefix + t.Name
			out = append(out, t)
		}
	}
	return out
}

// Write writes the model.
func (m *Model) Write(t testing.TB, path string) {
	t.Helper()
	modeltest.WriteValues(t, path, m.Meta(t), m.Tensors(t), m.values)
}

// values are random numbers that make every part of a model matter: weights of norms near 1, matrices whose products
// are as large as their input, biases, decays and factors of a size that shows.
func (m *Model) values(tensor *gguf.Tensor) []float32 {
	h := fnv.New64a()
	h.Write([]byte(tensor.Name))
	random := rand.New(rand.NewPCG(h.Sum64(), m.Seed+1))
	of := func() float64 { return random.NormFloat64() }
	name := strings.TrimSuffix(strings.TrimSuffix(tensor.Name, ".weight"), ".bias")
	value := func() float64 { return 1.5 * of() / math.Sqrt(float64(tensor.Cols())) }
	switch {
	case strings.HasSuffix(name, "ssm_a"):
		value = func() float64 { return -math.Exp(of() / 2) }
	case strings.HasSuffix(name, "ssm_dt"), strings.HasSuffix(name, "ssm_d"), strings.HasSuffix(name, "attn_sinks"):
		value = of
	case strings.Contains(name, "conv1d"), strings.HasSuffix(name, "shortconv.conv"):
		value = func() float64 { return of() / 2 }
	case strings.HasPrefix(name, "rope_f"):
		value = func() float64 { return 1 + 3*random.Float64() }
	case strings.HasSuffix(name, "exp_probs_b"):
		value = func() float64 { return of() / 10 }
	case strings.HasSuffix(tensor.Name, ".bias"):
		value = func() float64 { return of() / 5 }
	case strings.Contains(name, "norm"), strings.HasSuffix(tensor.Name, "scale"), strings.HasSuffix(name, "_scale"):
		value = func() float64 { return 1 + of()/5 }
	case strings.HasSuffix(name, "token_embd"), strings.HasSuffix(name, "position_embd"):
		value = of
	}
	x := make([]float32, tensor.Elements())
	for i := range x {
		x[i] = float32(value())
	}
	return x
}
