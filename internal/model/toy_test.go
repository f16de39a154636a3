package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
)

// toy is an architecture with names of its own, layers that differ, and its embedding table as output head.
func init() {
	layer := func(role arch.Role, name string, shape ...arch.Dim) arch.Tensor {
		return arch.Tensor{Role: role, GGUF: "toy.%d." + name, HF: "h.%d." + name, Shape: shape, Bias: true}
	}
	query := layer(arch.Query, "query.weight", arch.DimQuery, arch.DimWidth)
	query.Transform = arch.PermuteHeads{Heads: arch.DimQueryHeads}
	arch.Register(&arch.Arch{
		Name: "toy",
		Spec: func(f *arch.Fields) arch.Spec {
			s := arch.Spec{Layers: f.Int("depth", ""), Width: f.Int("width", ""), NormEps: 1e-5}
			s.Layer = arch.Layer{FFN: 12, QueryHeads: 4, KeyHeads: 2, HeadDim: 2, Rope: arch.Rope{Dim: 2, Base: 10000, Scale: 1}}
			s.Each = slices.Repeat([]arch.Layer{s.Layer}, s.Layers)
			rope := arch.Rope{Dim: 4, Base: 100, Scale: 1, Neox: true}
			s.Each[1] = arch.Layer{FFN: 20, QueryHeads: 4, KeyHeads: 4, HeadDim: 4, Rope: rope}
			return s
		},
		Tensors: []arch.Tensor{
			{Role: arch.TokenEmbedding, GGUF: "words", HF: "wte.weight", Shape: []arch.Dim{arch.DimVocab, arch.DimWidth}},
			{Role: arch.OutputNorm, GGUF: "last_norm", HF: "ln_f.weight", Shape: []arch.Dim{arch.DimWidth}},
			layer(arch.AttentionNorm, "norm1", arch.DimWidth),
			query,
			layer(arch.Key, "key.weight", arch.DimKey, arch.DimWidth),
			layer(arch.Value, "value.weight", arch.DimKey, arch.DimWidth),
			layer(arch.AttentionOutput, "out.weight", arch.DimWidth, arch.DimQuery),
			layer(arch.FFNNorm, "norm2", arch.DimWidth),
			layer(arch.Up, "up.weight", arch.DimFFN, arch.DimWidth),
			layer(arch.Gate, "gate.weight", arch.DimFFN, arch.DimWidth),
			layer(arch.Down, "down.weight", arch.DimWidth, arch.DimFFN),
		},
		Ignored: []string{".useless"},
	})
}

// toyFile is a model of 2 layers, 8 wide, with a vocabulary of 10.
func toyFile() *tinyFile {
	f := &tinyFile{meta: map[string]any{}}
	f.set("general.architecture", "toy")
	f.set("toy.depth", uint32(2))
	f.set("toy.width", uint32(8))
	f.tensor("words", 8, 10)
	f.tensor("last_norm", 8)
	f.tensor("toy.0.useless", 1)
	for i, sizes := range [][3]int64{{8, 4, 12}, {16, 16, 20}} {
		query, key, ffn := sizes[0], sizes[1], sizes[2]
		shapes := map[string][]int64{
			"norm1": {8}, "norm2": {8}, "query.weight": {8, query}, "key.weight": {8, key}, "key.bias": {key},
			"value.weight": {8, key}, "out.weight": {query, 8},
			"gate.weight": {8, ffn}, "up.weight": {8, ffn}, "down.weight": {ffn, 8},
		}
		for _, name := range slices.Sorted(maps.Keys(shapes)) { // the values of a tensor depend on those before it
			f.tensor(fmt.Sprintf("toy.%d.%s", i, name), shapes[name]...)
		}
	}
	return f
}

// TestToy loads, runs and trains a model of an architecture that a test adds.
func TestToy(t *testing.T) {
	m, err := FromGGUF(toyFile().open(t))
	if err != nil {
		t.Fatal(err)
	}
	last := m.Layers[1]
	q, k := last.Linear(arch.Query), last.Linear(arch.Key)
	if q.Module != "h.1.query" || q.Tensor != "toy.1.query.weight" || len(q.Rows) != 16 || len(k.Bias) != 16 {
		t.Errorf("query %+v, key %+v", q, k)
	}
	if !m.Spec.Tied || m.HeadMatrix().Role != arch.TokenEmbedding {
		t.Errorf("the head is %+v", m.HeadMatrix())
	}
	if last.Linears()[4].Role != arch.Gate || last.Norms()[1].Role != arch.FFNNorm {
		t.Error("linear maps and norms are not in the order of the roles")
	}
	if name, o := m.InGGUF(q); name != q.Tensor || !slices.Equal(o.Rows, q.Rows) || o.Cols != nil {
		t.Errorf("the query is %q in GGUF, in order %v", name, o)
	}
	if want := []int32{0, 2, 1, 3, 4, 6, 5, 7}; !slices.Equal(q.Rows[:8], want) {
		t.Errorf("rows of the query are at %v, expected %v", q.Rows[:8], want)
	}
	ids := []int32{1, 5, 2, 8, 3, 3, 1}
	var b batch.Batch
	b.Append(ids, nil)
	tape := autograd.NewTape()
	want := m.Logits(tape, &b, NoHooks{}, []int{len(ids) - 1})
	s := m.NewSession(len(ids))
	if _, err := s.Append(ids[:3], NoHooks{}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Append(ids[3:], NoHooks{})
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range got {
		if d := v - want.Data[i]; d > 1e-4 || d < -1e-4 {
			t.Errorf("logit %d is %g in a session, %g in a batch", i, v, want.Data[i])
		}
	}
	if keys, _ := s.Cache(1); len(keys) != 16*len(ids) {
		t.Errorf("%d values in the keys of layer 1", len(keys))
	}
	trainToy(t, m, &b)
}

// trainToy moves all linear maps against their gradients and wants the loss to fall.
func trainToy(t *testing.T, m *Model, b *batch.Batch) {
	t.Helper()
	h := tap{params: map[string]*autograd.Tensor{}}
	for _, l := range m.Linears() {
		x := make([]float32, l.W.Rows*l.W.Cols)
		for r := range l.W.Rows {
			l.W.Row(x[r*l.W.Cols:][:l.W.Cols], r)
		}
		h.params[l.Module] = autograd.NewParam(l.W.Rows, l.W.Cols, x, make([]float32, len(x)))
	}
	tape := autograd.NewTape()
	var losses []float64
	for range 5 {
		for _, l := range m.Linears() {
			p := h.params[l.Module]
			for i, g := range p.Grad {
				p.Data[i] -= 0.01 * g
			}
			clear(p.Grad)
			l.W.Type, l.W.Data = gguf.F32, float32Bytes(p.Data)
		}
		tape.Reset(0)
		tape.Record(true)
		sum, _ := m.Loss(tape, b, h, 1)
		tape.Backward()
		losses = append(losses, sum)
	}
	for i := 1; i < len(losses); i++ {
		if losses[i] >= losses[i-1] {
			t.Errorf("the loss goes %.4f", losses)
			break
		}
	}
}

// TestToyRefused: a table without what the decoder needs is an error.
func TestToyRefused(t *testing.T) {
	if toy := arch.ByName("toy"); arch.ByName("bare") == nil {
		arch.Register(&arch.Arch{Name: "bare", Spec: toy.Spec,
			Tensors: slices.DeleteFunc(slices.Clone(toy.Tensors), func(t arch.Tensor) bool { return t.Role == arch.Down })})
	}
	f := toyFile()
	f.set("general.architecture", "bare")
	f.set("bare.depth", uint32(2))
	f.set("bare.width", uint32(8))
	want := `"bare" without a down-projection of the FFN is not supported`
	if _, err := FromGGUF(f.open(t)); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v", err)
	}
	f = toyFile()
	f.drop("toy.1.norm2")
	if _, err := FromGGUF(f.open(t)); err == nil || !strings.Contains(err.Error(), `"toy.1.norm2" is missing`) {
		t.Errorf("error %v", err)
	}
}
