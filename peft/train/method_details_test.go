package train

import (
	"context"
	"encoding/json"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/lycoris"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/pefttest/merging"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/method"
)

// TestSplit has PEFT's own examples of how LoKr splits a size, and others.
func TestSplit(t *testing.T) {
	for _, c := range []struct{ size, factor, m, n int }{
		{256, -1, 16, 16}, {128, -1, 8, 16}, {127, -1, 1, 127},
		{128, 4, 4, 32}, {172, -1, 4, 43}, {24, 7, 4, 6}, {24, 5, 4, 6},
		{12, 4, 4, 3}, {1, -1, 1, 1},
	} {
		if m, n := lycoris.Split(c.size, c.factor); m != c.m || n != c.n {
			t.Errorf("split(%d, %d) is %d, %d, expected %d, %d", c.size, c.factor, m, n, c.m, c.n)
		}
	}
}

// TestOFTShapes checks how many blocks of which size weights get, and the coefficients of PEFT's series.
func TestOFTShapes(t *testing.T) {
	for _, c := range []struct{ blocks, size, in, wantBlocks, wantSize int }{
		{0, 32, 64, 2, 32}, {0, 32, 172, 4, 43}, {0, 32, 16, 1, 16}, {0, 30, 64, 2, 32}, {4, 0, 64, 4, 16}, {3, 0, 64, 2, 32},
	} {
		s := &methods.OFTSettings{Blocks: c.blocks, BlockSize: c.size}
		if blocks, size := s.Split(c.in); blocks != c.wantBlocks || size != c.wantSize {
			t.Errorf("r %d, size %d over %d inputs: %d blocks of %d, expected %d of %d", c.blocks, c.size, c.in, blocks, size,
				c.wantBlocks, c.wantSize)
		}
	}
	for terms, want := range map[int][]float32{1: {1}, 2: {1, 2}, 3: {1, 2, 2, 1}, 4: {1, 2, 2, 1}, 5: {1, 2, 2, 2, 1},
		6: {1, 2, 2, 2, 2, 1}} {
		if got := (&methods.OFTSettings{Series: true, Terms: terms}).Coefficients(); !slices.Equal(got, want) {
			t.Errorf("%d terms have the coefficients %v, expected %v", terms, got, want)
		}
	}
}

// TestConstrainedOFT trains with a small constraint and looks at the norms of the blocks.
func TestConstrainedOFT(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a, err := methods.NewOFT(b, method.OFT{BlockSize: 8, Constrained: true, Eps: 1e-2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), nil,
		plain(trainOptions(""))); err != nil {
		t.Fatal(err)
	}
	for _, p := range a.Params() {
		for i := range p.Rows() {
			norm, limit := math.Sqrt(2*kernels.SumSquares(p.Row(i, p.Cols()))), 1e-2/math.Sqrt(float64(p.Rows()))
			if norm > 1.0001*limit || norm < 0.5*limit {
				t.Errorf("block %d of %s has norm %g, expected up to %g and near it", i, p.Name, norm, limit)
			}
		}
	}
}

// TestVeRAMatrices: they are PEFT's of the key, do not change in training, and are in the file but not counted.
func TestVeRAMatrices(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a, err := methods.NewVeRA(b, method.VeRA{Rank: 4,
		Placement: method.Placement{Targets: []string{"q_proj", "down_proj"}}})
	if err != nil {
		t.Fatal(err)
	}
	if want := 2 * 2 * (4 + 32); a.Parameters() != want {
		t.Errorf("%d parameters are trained, expected %d", a.Parameters(), want)
	}
	out := filepath.Join(t.TempDir(), "out.safetensors")
	if _, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), nil,
		plain(trainOptions(out))); err != nil {
		t.Fatal(err)
	}
	a, err = attach.Load(out)
	if err != nil {
		t.Fatal(err)
	}
	random := prng.NewMersenneTwister(0)
	for _, want := range []struct {
		name  string
		shape []int
		bound float64
	}{{"base_model.vera_A", []int{4, 48}, math.Sqrt(6.0 / 48)}, {"base_model.vera_B", []int{32, 4}, math.Sqrt(6.0 / 4)}} {
		i := slices.IndexFunc(a.Tensors, func(p attach.Param) bool { return p.Name == want.name })
		if i < 0 || !slices.Equal(a.Tensors[i].Shape, want.shape) {
			t.Fatalf("%s is missing or not of shape %v", want.name, want.shape)
		}
		for j, v := range a.Tensors[i].Data {
			if x := random.Uniform(float32(-want.bound), float32(want.bound)); math.Abs(float64(v-x)) > 1e-6 {
				t.Fatalf("%s has %g in place %d, expected %g", want.name, v, j, x)
			}
		}
	}
}

// adaloraRun trains an AdaLoRA over tiny and gives it with its file.
func adaloraRun(t *testing.T, b *attach.Base, opt method.AdaLoRA) (*attach.Adapter, string) {
	t.Helper()
	a, err := methods.NewAdaLoRA(b, opt)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out.safetensors")
	run := trainOptions(out)
	run.Epochs, run.Steps = 0, 20
	if _, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), nil, plain(run)); err != nil {
		t.Fatal(err)
	}
	return a, out
}

// TestAdaLoRARanks looks at an adapter after training: as many ranks as asked for, not the same everywhere, and the
// same effect as before those that are not there were taken out.
func TestAdaLoRARanks(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a, out := adaloraRun(t, b, method.AdaLoRA{Placement: method.Placement{Seed: 3}, Rank: 1, StartRank: 4})
	loaded, err := attach.Load(out)
	if err != nil {
		t.Fatal(err)
	}
	s := loaded.Config.Settings.(*methods.AdaLoRASettings)
	if s.Total == nil || *s.Total != 20 || s.Warmup != 2 || s.Final != 6 {
		t.Errorf("the run of 20 steps is recorded as %+v", s)
	}
	sum, ranks := 0, map[int]bool{}
	for _, mod := range loaded.Method.(*methods.AdaLoRA).Modules {
		r := s.RankOf(mod.Name)
		sum, ranks[r] = sum+r, true
	}
	if modules := 14; sum != modules || len(ranks) < 3 || !ranks[0] {
		t.Errorf("there are %d ranks on %d weights, of %v", sum, modules, ranks)
	}
	seq := pefttest.Packed(pefttest.TinyData(4, 1))
	want, err := a.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	got, err := loaded.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := pefttest.Relative(pefttest.AllLogits(b, got, seq), pefttest.AllLogits(b, want, seq)); err != 0 {
		t.Errorf("loaded it gives other logits, by %.2g", err)
	}
	merged, _ := merging.Into(t, b, merge.Options{Type: "F32"}, attach.Scaled{Adapter: loaded, Scale: 1})
	if err := pefttest.Relative(pefttest.AllLogits(pefttest.OpenBase(t, merged), model.NoHooks{}, seq),
		pefttest.AllLogits(b, want, seq)); err > 2e-5 {
		t.Errorf("merged the logits differ by %.2g", err)
	}
}

// TestMethodConfigs: what each method writes is read back the same, and fields that are not known are named.
func TestMethodConfigs(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	for _, c := range pefttest.MethodCases {
		a, err := c.New(b)
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(a.Config)
		if err != nil {
			t.Fatal(err)
		}
		var again attach.Config
		if err := json.Unmarshal(data, &again); err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		same, err := json.Marshal(again)
		if err != nil || string(same) != string(data) {
			t.Errorf("%s: %s\nis read as %s", c.Name, data, same)
		}
		unknown := strings.Replace(string(data), "{", `{"use_miracle": 1, `, 1)
		if err := json.Unmarshal([]byte(unknown), &again); err == nil || !strings.Contains(err.Error(), "use_miracle = 1") {
			t.Errorf("%s: error %v, expected one that names use_miracle", c.Name, err)
		}
	}
}

// TestMethodConfigsRefused has values that no adapter of the method can have.
func TestMethodConfigsRefused(t *testing.T) {
	for _, c := range []struct{ json, reason string }{
		{`{"peft_type": "IA3", "target_modules": "(q"}`, "(q"},
		{`{"peft_type": "IA3", "fan_in_fan_out": true}`, "fan_in_fan_out"},
		{`{"peft_type": "LN_TUNING", "target_modules": 3}`, "a string or a list"},
		{`{"peft_type": "LOHA", "r": 0}`, "rank 0"},
		{`{"peft_type": "LOKR", "decompose_factor": 0}`, "decompose_factor 0"},
		{`{"peft_type": "VERA", "vera_dropout": 1}`, "dropout 1"},
		{`{"peft_type": "VERA", "bias": "all"}`, `bias = "all"`},
		{`{"peft_type": "OFT", "r": 4}`, "oft_block_size 32"},
		{`{"peft_type": "OFT", "num_cayley_neumann_terms": 0}`, "num_cayley_neumann_terms 0"},
		{`{"peft_type": "ADALORA", "target_r": 13}`, "target_r 13"},
		{`{"peft_type": "ADALORA", "beta1": 1}`, "beta1 1"},
		{`{"peft_type": "ADALORA", "rank_pattern": {"q_proj.lora_E": [true]}}`, "rank_pattern has 1 values"},
	} {
		var config attach.Config
		if err := json.Unmarshal([]byte(c.json), &config); err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: error %v, expected one with %q", c.json, err, c.reason)
		}
	}
}

// TestMethodTensorsRefused changes the tensors of adapters so that they do not fit.
func TestMethodTensorsRefused(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	for _, c := range pefttest.MethodCases {
		a, err := c.New(b)
		if err != nil {
			t.Fatal(err)
		}
		if reflect.TypeOf(a.Method).Elem().NumField() == 0 ||
			!strings.HasPrefix(a.Tensors[len(a.Tensors)-1].Name, attach.ParamPrefix+"model.layers") {
			continue
		}
		for what, change := range map[string]func(p *attach.Param){
			"an unknown tensor": func(p *attach.Param) {
				p.Name = attach.ParamPrefix + "model.layers.0.self_attn.q_proj.unknown"
			},
			"another layer": func(p *attach.Param) { p.Name = strings.Replace(p.Name, "layers.1.", "layers.7.", 1) },
			"another shape": func(p *attach.Param) { p.Shape, p.Data = []int{7}, make([]float32, 7) },
		} {
			params := slices.Clone(a.Tensors)
			change(&params[len(params)-1])
			m, err := attach.NewMethod(&a.Config, params)
			if err == nil {
				_, err = m.Bind(b, params, nil, 1)
			}
			if err == nil {
				t.Errorf("%s: %s was accepted", c.Name, what)
			}
		}
	}
}
