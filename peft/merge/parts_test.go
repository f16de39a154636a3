package merge

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/imatrix"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// TestMethodsMergeIntoParts merges every method into tensors that hold rows of several linear maps, and into biases
// that do: logits are those of base and adapter.
func TestMethodsMergeIntoParts(t *testing.T) {
	seq := pefttest.Packed(pefttest.TinyData(4, 1))
	for _, m := range archtest.Parts(gguf.F32) {
		b := pefttest.OpenModel(t, &m)
		for _, c := range pefttest.MethodCases {
			if strings.HasPrefix(c.Name, "p-") || strings.HasPrefix(c.Name, "pr") {
				continue // they change no weight
			}
			t.Run(m.Name+" "+c.Name, func(t *testing.T) {
				a, err := c.New(b)
				if err != nil && (strings.Contains(err.Error(), "matches no linear map") ||
					strings.Contains(err.Error(), "no linear map has a bias")) { // the model has nothing that the method changes
					t.Skip(err)
				}
				if err != nil {
					t.Fatal(err)
				}
				if !mergeable(t, a, b) {
					t.Skip("it is no change of weights")
				}
				pefttest.Stir(a, 5)
				scaled := attach.Scaled{Adapter: a, Scale: 1}
				hooks, err := attach.BindAll(b, []attach.Scaled{scaled})
				if err != nil {
					t.Fatal(err)
				}
				want := pefttest.AllLogits(b, hooks, seq)
				if pefttest.Relative(want, pefttest.AllLogits(b, model.NoHooks{}, seq)) < 1e-3 {
					t.Fatal("the adapter changes next to nothing")
				}
				out, report := mergeTo(t, b, Options{}, scaled)
				merged := pefttest.OpenBase(t, out)
				if err := pefttest.Relative(pefttest.AllLogits(merged, model.NoHooks{}, seq), want); err > 5e-5 {
					t.Errorf("merged the logits differ by %.2g", err)
				}
				if report.Recovery < 0.999 || report.Recovery > 1.001 {
					t.Errorf("the recovery is %v", report.Recovery)
				}
			})
		}
	}
}

// TestBiasesOfParts trains the bias of keys alone where the file has one tensor with the biases of queries, keys and
// values, where it has one for each, and where it has none; and the bias of one expert.
func TestBiasesOfParts(t *testing.T) {
	models := archtest.Parts(gguf.F32)
	for _, c := range []struct {
		name, target string
		model        archtest.Model
		tensor       string
		first, n     int
	}{
		{"one bias for all", "k_proj", models[4], "blk.1.attn_qkv.bias", 64, 32},
		{"a bias for each", "k_proj", archtest.OwnBiases(t, models[1]), "blk.1.attn_k.bias", 0, 32},
		{"no bias", "k_proj", models[1], "blk.1.attn_qkv.bias", 64, 32},
		{"an expert's bias", "experts.2.w1", models[6], "blk.1.ffn_gate_exps.bias", 192, 96},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := pefttest.OpenModel(t, &c.model)
			a, err := methods.NewBitFit(b, method.BitFit{Placement: method.Placement{Targets: []string{c.target}, Layers: "1"}})
			if err != nil {
				t.Fatal(err)
			}
			pefttest.Stir(a, 5)
			out, report := mergeTo(t, b, Options{}, attach.Scaled{Adapter: a, Scale: 1})
			if len(report.Tensors) != 1 || report.Tensors[0].Name != c.tensor {
				t.Errorf("the merge reports %+v", report.Tensors)
			}
			is := pefttest.OpenBase(t, out).GGUF.Tensor(c.tensor)
			was := make([]float32, is.Elements())
			if old := b.GGUF.Tensor(c.tensor); old != nil {
				if was, err = old.Float32s(); err != nil || !slices.Equal(old.Shape, is.Shape) {
					t.Fatalf("%v became %v, %v", old.Shape, is.Shape, err)
				}
			}
			now, err := is.Float32s()
			if err != nil {
				t.Fatal(err)
			}
			for i := range now {
				if changes := c.first <= i && i < c.first+c.n; (now[i] != was[i]) != changes {
					t.Fatalf("value %d was %v and is %v", i, was[i], now[i])
				}
			}
		})
	}
}

// TestNoBiasInMixtures: experts and routers of models that have no biases there get none.
func TestNoBiasInMixtures(t *testing.T) {
	m := archtest.Parts(gguf.F32)[2]
	b := pefttest.OpenModel(t, &m)
	for _, target := range []string{"experts.2.w1", "gate"} {
		if _, err := methods.NewBitFit(b, method.BitFit{Placement: method.Placement{Targets: []string{target}}}); err == nil {
			t.Errorf("%s gets a bias", target)
		}
	}
}

// TestTypeOfParts merges a change of some rows into a tensor that gets another type: the rows beside get it, too.
func TestTypeOfParts(t *testing.T) {
	for _, i := range []int{1, 2, 5} {
		m := archtest.Parts(gguf.F32)[i]
		b := pefttest.OpenModel(t, &m)
		targets := []string{"k_proj"}
		if i != 1 {
			targets = append(targets, "experts.1.w1", "experts.3.w2")
		}
		a := pefttest.Trained(t, b, method.LoRA{Rank: 2, Targets: targets, Layers: "0"})
		out, report := mergeTo(t, b, Options{Type: "Q8_0"}, attach.Scaled{Adapter: a, Scale: 1})
		merged, touched := pefttest.OpenBase(t, out), map[string]bool{}
		for _, tensor := range report.Tensors {
			touched[tensor.Name] = true
			if tensor.Type != "Q8_0" || tensor.Rounding != RoundRequantize || tensor.Noise > 0.2 || tensor.Noise == 0 {
				t.Errorf("%s: the merge reports %+v", m.Name, tensor)
			}
		}
		if len(touched) != len(targets) {
			t.Errorf("%s: the merge reports %+v", m.Name, report.Tensors)
		}
		changes := pefttest.BindOne(t, a, b).(*attach.Bound).Changes()
		now := merged.Model.Linears()
		for j, l := range b.Model.Linears() {
			if want := map[bool]gguf.Type{true: gguf.Q8_0, false: gguf.F32}[touched[l.Tensor]]; now[j].W.Type != want {
				t.Errorf("%s: %s is %v, expected %v", m.Name, l.Place(), now[j].W.Type, want)
			}
			want := model.Dequantized(&l.W)
			if c, ok := changes[l]; ok {
				c.AddRows(want, 0, l.W.Rows)
			}
			if miss := pefttest.Relative(model.Dequantized(&now[j].W), want); miss > 0.01 {
				t.Errorf("%s: %s is off by %.2g", m.Name, l.Place(), miss)
			}
		}
	}
}

// TestMergeExpertsInHuggingFace merges into a directory with a tensor for each expert. Logits are those of the adapter
// over a GGUF file with stacked ones.
func TestMergeExpertsInHuggingFace(t *testing.T) {
	m := archtest.Parts(gguf.F32)[5]
	file := pefttest.OpenModel(t, &m)
	dir := pefttest.OpenBase(t, pefttest.WriteHFOf(t, file, "mixtral", nil))
	a := pefttest.Trained(t, file, method.LoRA{Rank: 2, Targets: []string{"q_proj", "w2", "experts.1.w1"}})
	seq := pefttest.Packed(pefttest.TinyData(4, 1))
	want := pefttest.AllLogits(file, pefttest.BindOne(t, a, file), seq)
	for _, b := range []*attach.Base{file, dir} {
		out, report := mergeTo(t, b, Options{Force: true}, attach.Scaled{Adapter: a, Scale: 1})
		if miss := pefttest.Relative(pefttest.AllLogits(pefttest.OpenBase(t, out), model.NoHooks{}, seq), want); miss > 1e-5 {
			t.Errorf("merged into %s the logits differ by %.2g", b.Path, miss)
		}
		if n := map[bool]int{true: 2 * 3, false: 2 * (1 + 4 + 1)}[b == file]; len(report.Tensors) != n {
			t.Errorf("%d tensors of %s changed, expected %d", len(report.Tensors), b.Path, n)
		}
	}
}

// TestCompensateExperts: on the calibration data the logits of a compensated merge are nearer to those of the adapter
// than those of a stochastically rounded one. An expert that no token
// of the data went through is rounded in another way.
func TestCompensateExperts(t *testing.T) {
	m := archtest.Parts(gguf.Q4_0)[5]
	m.Fields["expert_count"] = 24
	b := pefttest.OpenModel(t, &m)
	adapters := []attach.Scaled{{Adapter: pefttest.Trained(t, b, method.LoRA{Rank: 2}), Scale: 0.3}}
	set := pefttest.TinyData(3, 5)
	hooks, err := attach.BindAll(b, adapters)
	if err != nil {
		t.Fatal(err)
	}
	want := pefttest.AllLogits(b, hooks, pefttest.Packed(set))
	miss := map[string]float64{}
	for _, opt := range []Options{{Rounding: RoundDither}, {Calibration: pefttest.Data(set)}} {
		out, report := mergeTo(t, b, opt, adapters...)
		miss[opt.Rounding] = pefttest.Relative(pefttest.AllLogits(pefttest.OpenBase(t, out), model.NoHooks{},
			pefttest.Packed(set)), want)
		for _, tensor := range report.Tensors {
			compensated, others := strings.Contains(tensor.Rounding, RoundCompensate), strings.Contains(tensor.Rounding, ", ")
			if opt.Rounding == "" && strings.Contains(tensor.Name, "_exps") && !(compensated && others) {
				t.Errorf("%s is rounded by %s", tensor.Name, tensor.Rounding)
			}
		}
	}
	if !(miss[""] < 0.95*miss[RoundDither]) {
		t.Errorf("logits are off by %v", miss)
	}
}

// TestMeasuredTogether: groups of experts cover all that are compensated, once.
func TestMeasuredTogether(t *testing.T) {
	models := archtest.Parts(gguf.Q4_0)
	b := pefttest.OpenModel(t, &models[2])
	a := pefttest.Trained(t, b, method.LoRA{Rank: 2})
	opt := Options{Calibration: pefttest.Data(pefttest.TinyData(20, 5))}
	m, err := newMerger(t.Context(), b, []attach.Scaled{{Adapter: a, Scale: 0.3}}, opt)
	if err != nil {
		t.Fatal(err)
	}
	of := 4 * (64*64*2 + 96*96)
	for _, c := range []struct{ most, groups int }{{1 << 30, 2}, {2 * of, 3}, {3 * of, 3}, {1, 5}} {
		groups := m.measuredTogether(b.Model.Layers[0].Linears(), c.most)
		if len(groups) != c.groups || len(groups[0]) != 5 {
			t.Errorf("of %d bytes there are %d groups, the first of %d", c.most, len(groups), len(groups[0]))
		}
		seen := map[*model.Linear]int{}
		for i, group := range groups {
			for _, l := range group {
				if at, ok := seen[l]; ok {
					t.Errorf("%s is in groups %d and %d", l.Place(), at, i)
				}
				seen[l] = i
			}
		}
		if len(seen) != 5+12 {
			t.Errorf("%d linear maps are in groups", len(seen))
		}
	}
}

// TestImportanceOfExperts: each expert's columns have the weights that its tokens give them, and those of the fused
// projection have those of its entry.
func TestImportanceOfExperts(t *testing.T) {
	models := archtest.Parts(gguf.Q4_0)
	b := pefttest.OpenModel(t, &models[5])
	a := pefttest.Trained(t, b, method.LoRA{Rank: 2})
	entries, path := &imatrix.Matrix{ChunkSize: 8}, filepath.Join(t.TempDir(), "imatrix.gguf")
	seen := map[string]bool{}
	for _, l := range b.Model.Linears() {
		if seen[l.Tensor] {
			continue
		}
		seen[l.Tensor] = true
		e := &imatrix.Entry{Name: l.Tensor, Counts: []int64{2}}
		if l.Part && l.Role.Kind() == arch.Experts {
			e.Counts = []int64{2, 4, 0, 8}
		}
		for i := range len(e.Counts) * l.W.Cols {
			e.Sums = append(e.Sums, float32(8*(1+i/l.W.Cols)*(1+i%l.W.Cols)))
		}
		if err := entries.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := entries.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	m, err := newMerger(t.Context(), b, []attach.Scaled{{Adapter: a, Scale: 1}}, Options{Imatrix: path})
	if err != nil {
		t.Fatal(err)
	}
	for l, c := range m.maps {
		for i, got := range c.importance {
			want := float32(4 * (1 + i))
			if l.Role.Kind() == arch.Experts {
				want *= []float32{1, 1, 0, 1}[l.Expert]
				if l.Expert == 2 {
					want = 1
				}
			}
			if got != want || len(c.importance) != l.W.Cols {
				t.Fatalf("%s: column %d has the weight %v, expected %v", l.Place(), i, got, want)
			}
		}
	}
}
