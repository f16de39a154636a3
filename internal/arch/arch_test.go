package arch

import (
	"slices"
	"strings"
	"testing"
)

// TestTables: every tensor of every architecture is found again by its name in a GGUF file, and names and shapes are
// whole.
func TestTables(t *testing.T) {
	spec := &Spec{Layers: 12, Width: 8, Vocab: 10}
	spec.Layer = Layer{
		FFN: 12, QueryHeads: 4, KeyHeads: 2, HeadDim: 2, Rope: Rope{Dim: 2}, Taps: 3,
		Experts: MoE{Count: 4, Used: 2, FFN: 6, Shared: 5}, Latent: Latent{QueryRank: 3, Rank: 4, Nope: 1, Value: 2, Rope: 1},
		Delta: Delta{KeyHeads: 2, ValueHeads: 4, KeyDim: 3, ValueDim: 5, Taps: 4},
		Mamba: Mamba{Heads: 4, HeadDim: 3, Groups: 2, State: 7, Taps: 2},
	}
	spec.Context, spec.LayerEmbedding = 32, 4
	for _, name := range Names() {
		a := ByName(name)
		for i := range a.Tensors {
			tensor := &a.Tensors[i]
			layer := -1
			if tensor.PerLayer() {
				layer = 11
			}
			found, at, ok := a.InGGUF(tensor.InGGUF(layer))
			if !ok || found.GGUF != tensor.GGUF || at != layer {
				t.Errorf("%s: %q is found as %v of layer %d", name, tensor.InGGUF(layer), found, at)
			}
			if strings.Contains(tensor.Module(layer)+tensor.ExpertModule(layer, 1)+tensor.InGGUF(layer), "%d") {
				t.Errorf("%s: names %q and %q", name, tensor.InGGUF(layer), tensor.InHF(layer))
			}
			dims := map[Kind]int{End: 2, Linear: 2, Experts: 3, Heads: 3}[tensor.Role.Kind()]
			if shape := tensor.Sizes(spec, layer); slices.Contains(shape, 0) || dims > 0 && len(shape) != dims {
				t.Errorf("%s: %s has shape %v", name, tensor.Role, shape)
			}
			if a.Tensor(tensor.Role) != tensor {
				t.Errorf("%s: the tensor of role %s is another", name, tensor.Role)
			}
		}
		for _, foreign := range []string{
			"", "blk.attn_q.weight", "blk.x.attn_q.weight", "blk.-1.attn_q.weight", "blk.01.attn_q.weight",
			"blk.0.attn_q.bias", "0.attn_q.weight", "blk.0.attn_q.weight.weight",
		} {
			if found, layer, ok := a.InGGUF(foreign); ok {
				t.Errorf("%s: %q is found as %s of layer %d", name, foreign, found.Role, layer)
			}
		}
	}
}

// TestLlama looks at what only the llama family has.
func TestLlama(t *testing.T) {
	spec := &Spec{Layers: 2, Width: 8, Layer: Layer{QueryHeads: 4, KeyHeads: 2, HeadDim: 2}}
	for name, want := range map[string][3]int{Llama: {8, 4, 0}, Qwen2: {0, 0, 0}} {
		for i, role := range []Role{Query, Key, Value} {
			if rows := ByName(name).Tensor(role).Rows(spec, 1); len(rows) != want[i] {
				t.Errorf("%s: %s has %d rows in another order, expected %d", name, role, len(rows), want[i])
			}
		}
	}
	key := ByName(Llama).Tensor(Key)
	got := []string{key.InGGUF(7), BiasName(key.InGGUF(7)), key.InHF(7), key.Module(7)}
	want := []string{
		"blk.7.attn_k.weight", "blk.7.attn_k.bias",
		"model.layers.7.self_attn.k_proj.weight", "model.layers.7.self_attn.k_proj",
	}
	if !slices.Equal(got, want) {
		t.Errorf("names %s", got)
	}
	if a, hf := ByModelType("mistral"); a != ByName(Llama) || hf.BiasFlags[Attention] != "" {
		t.Errorf("mistral is %v, %v", a, hf)
	}
	a := ByName(Llama)
	if ByName(a.FFNOnly) == nil {
		t.Errorf("layers of FFN alone are of architecture %q, which is not known", a.FFNOnly)
	}
	if !a.IsIgnored("blk.0.attn_rot_embd.weight") || a.IsIgnored("blk.0.attn_q.weight") {
		t.Error("the ignored tensors are not as expected")
	}
}

// TestParts: each role of a layer is in one of its parts.
func TestParts(t *testing.T) {
	for r := range roles {
		in := 0
		for _, p := range []Part{Attention, FFN} {
			if r.In(p) {
				in++
			}
		}
		want := 0
		if r >= AttentionNorm && r < LayerEmbeddingGate {
			want = 1
		}
		if in != want || r.String() == "" {
			t.Errorf("role %d, %q, is in %d parts, expected %d", r, r, in, want)
		}
	}
}

// TestLarge: which models count as of 70B is llama.cpp's list.
func TestLarge(t *testing.T) {
	for _, c := range []struct {
		name         string
		layers       int
		shared, want bool
	}{
		{"llama", 80, true, true}, {"llama", 80, false, false}, {"llama", 32, true, false}, {"llama-embed", 80, true, true},
		{"qwen2", 80, false, true}, {"deci", 80, false, true}, {"olmo", 80, false, true}, {"jais2", 68, false, true},
		{"jais2", 80, true, false}, {"falcon", 80, true, false}, {"falcon", 0, true, false},
	} {
		if got := ByName(c.name).Quantize.Large(c.layers, c.shared); got != c.want {
			t.Errorf("%s of %d layers, shared %v: %v", c.name, c.layers, c.shared, got)
		}
	}
}

// TestRegisterRefuses: what is no architecture of its own is a bug of the caller.
func TestRegisterRefuses(t *testing.T) {
	spec := func(*Fields) Spec { return Spec{} }
	embed := Tensor{Role: TokenEmbedding, GGUF: "e"}
	for _, c := range []struct {
		a    *Arch
		want string
	}{
		{&Arch{}, "name of its own"},
		{&Arch{Name: Llama}, "name of its own"},
		{&Arch{Name: "toy", HF: []HFModel{{Type: "mistral"}}}, "model_type mistral"},
		{&Arch{Name: "toy", Spec: spec, Tensors: []Tensor{embed, embed}}, "two tensors"},
		{&Arch{Name: "toy", Spec: spec, Tensors: []Tensor{{Role: OutputNorm, GGUF: "n"}}}, "no embedding"},
	} {
		func() {
			defer func() {
				if r, _ := recover().(string); !strings.Contains(r, c.want) {
					t.Errorf("%q, expected %q", r, c.want)
				}
			}()
			Register(c.a)
		}()
	}
	if ByName("toy") != nil {
		t.Error("a refused architecture is in the table")
	}
}

// TestConfigs wants the config.json of every architecture that Hugging Face has a class of.
func TestConfigs(t *testing.T) {
	for _, a := range table {
		if (a.Config == nil) != (len(a.HF) == 0) {
			t.Errorf("%s: %d classes, Config is nil: %t", a.Name, len(a.HF), a.Config == nil)
		}
	}
}
