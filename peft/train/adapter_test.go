package train

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/safetensors"
)

// TestNewLoRA looks at what is chosen, the shapes and the start.
func TestNewLoRA(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 4, Targets: []string{"attention", "up_proj"}, Layers: "last:1",
		RankPattern: map[string]int{"v_proj": 2}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range a.Params() {
		names = append(names, p.Name)
		zero := slices.IndexFunc(p.Data, func(v float32) bool { return v != 0 }) < 0
		if isB := strings.Contains(p.Name, "lora_B"); zero != isB {
			t.Errorf("%s: all zero is %v", p.Name, zero)
		}
		rank := 4
		if strings.Contains(p.Name, "v_proj") {
			rank = 2
		}
		if strings.Contains(p.Name, "lora_A") && !slices.Equal(p.Shape, []int{rank, 32}) {
			t.Errorf("%s has shape %v", p.Name, p.Shape)
		}
	}
	const prefix = "base_model.model.model.layers.1."
	want := []string{
		prefix + "mlp.up_proj.lora_A.weight", prefix + "mlp.up_proj.lora_B.weight",
		prefix + "self_attn.k_proj.lora_A.weight", prefix + "self_attn.k_proj.lora_B.weight",
		prefix + "self_attn.o_proj.lora_A.weight", prefix + "self_attn.o_proj.lora_B.weight",
		prefix + "self_attn.q_proj.lora_A.weight", prefix + "self_attn.q_proj.lora_B.weight",
		prefix + "self_attn.v_proj.lora_A.weight", prefix + "self_attn.v_proj.lora_B.weight",
	}
	if !slices.Equal(names, want) {
		t.Errorf("tensors are %q", names)
	}
	if c := a.Config; !slices.Equal(c.Targets.Names, []string{"k_proj", "o_proj", "q_proj", "up_proj", "v_proj"}) ||
		!slices.Equal(c.Layers, []int{1}) {
		t.Errorf("configuration says targets %v, layers %v", c.Targets, c.Layers)
	}
}

// TestSelectTargets chooses in every way there is.
func TestSelectTargets(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	for _, test := range []struct {
		targets []string
		layers  []int
		want    string // last parts, layer by layer
	}{
		{[]string{"all-linear"}, []int{0}, "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj"},
		{[]string{"attention"}, []int{0}, "q_proj k_proj v_proj o_proj"},
		{[]string{"ffn"}, []int{1}, "gate_proj up_proj down_proj"},
		{[]string{"q_proj", "v_proj"}, nil, "q_proj v_proj q_proj v_proj"},
		{[]string{"attn_q", "blk.1.ffn_up"}, nil, "q_proj q_proj up_proj"},
		{[]string{"*.self_attn.?_proj"}, []int{0}, "q_proj k_proj v_proj o_proj"},
		{[]string{"*layers.1*[qk]_proj"}, nil, "q_proj k_proj"},
		{[]string{`re:.*\.0\..*(?<!gate|up)_proj`}, nil, "q_proj k_proj v_proj o_proj down_proj"},
		{[]string{"model.layers.1.mlp.down_proj"}, nil, "down_proj"},
	} {
		chosen, err := attach.SelectTargets(b, test.targets, test.layers)
		if err != nil {
			t.Errorf("%q: %v", test.targets, err)
		}
		for i := range chosen {
			chosen[i] = attach.LastPart(chosen[i])
		}
		if got := strings.Join(chosen, " "); got != test.want {
			t.Errorf("%q in %v choose %s, expected %s", test.targets, test.layers, got, test.want)
		}
	}
	for target, reason := range map[string]string{"w_proj": "matches no linear map", "[": "syntax",
		"re:(": "regular expression"} {
		if _, err := attach.SelectTargets(b, []string{target}, nil); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%q: error %v, expected one with %q", target, err, reason)
		}
	}
}

// TestIrregularTargets has choices that differ between layers: PEFT then gets whole names.
func TestIrregularTargets(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a, err := methods.NewLoRA(b, method.LoRA{Targets: []string{"blk.0.attn_q", "blk.1.attn_v"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj"}
	if !slices.Equal(a.Config.Targets.Names, want) || a.Config.Layers != nil {
		t.Errorf("targets %v, layers %v", a.Config.Targets, a.Config.Layers)
	}
}

// TestStartIsByName: a module's start does not depend on its neighbours, and does on the seed.
func TestStartIsByName(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	start := func(seed uint64, targets ...string) []float32 {
		a, err := methods.NewLoRA(b, method.LoRA{Targets: targets, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(a.Tensors, func(p attach.Param) bool {
			return strings.Contains(p.Name, "layers.1.self_attn.v_proj.lora_A")
		})
		return a.Tensors[i].Data
	}
	one := start(5, "v_proj")
	if !slices.Equal(one, start(5, "all-linear")) {
		t.Error("the start depends on what else is chosen")
	}
	if slices.Equal(one, start(6, "v_proj")) {
		t.Error("the start does not depend on the seed")
	}
	bound := float32(1 / math.Sqrt(32))
	for _, v := range one {
		if v < -bound || v > bound {
			t.Errorf("value %v is outside ±%v", v, bound)
		}
	}
}

// TestFileRoundTrip saves, loads and saves again: same bytes, same adapter.
func TestFileRoundTrip(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a := pefttest.Trained(t, b, method.LoRA{Rank: 3, RSLoRA: true, AlphaPattern: map[string]float64{"q_proj": 2}})
	loss := 1.5
	a.Origin.Training = &attach.Training{Steps: 3, Seed: 1 << 63, BaseLoss: &loss}
	dir := t.TempDir()
	first, second := filepath.Join(dir, "a.safetensors"), filepath.Join(dir, "b.safetensors")
	if err := a.Save(first); err != nil {
		t.Fatal(err)
	}
	back, err := attach.Load(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := back.Save(second); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(pefttest.FileBytes(t, first), pefttest.FileBytes(t, second)) {
		t.Error("the second file has other bytes")
	}
	a.Origin.Base = filepath.Base(a.Origin.Base) // the file has no folders
	if !slices.Equal(a.Flat, back.Flat) || !reflect.DeepEqual(a.Config, back.Config) ||
		!reflect.DeepEqual(a.Origin, back.Origin) {
		t.Errorf("found %+v %+v\nexpected %+v %+v", back.Config, back.Origin, a.Config, a.Origin)
	}
}

// TestDirectoryRoundTrip writes PEFT's layout and reads it.
func TestDirectoryRoundTrip(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a := pefttest.Trained(t, b, method.LoRA{Rank: 3, BaseModel: "org/model"})
	dir := filepath.Join(t.TempDir(), "adapter")
	for range 2 { // the second time it exists
		if err := a.SaveDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{dir, filepath.Join(dir, attach.WeightsFile)} {
		back, err := attach.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		a.Origin.Base = filepath.Base(a.Origin.Base) // the file has no folders
		if !slices.Equal(a.Flat, back.Flat) || !reflect.DeepEqual(a.Config, back.Config) {
			t.Errorf("%s: found %+v\nexpected %+v", path, back.Config, a.Config)
		}
	}
	var config map[string]any
	if err := json.Unmarshal(pefttest.FileBytes(t, filepath.Join(dir, attach.ConfigFile)), &config); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"peft_type": "LORA", "r": 3.0, "lora_alpha": 6.0,
		"base_model_name_or_path": "org/model", "task_type": "CAUSAL_LM"} {
		if config[key] != want {
			t.Errorf("%s is %v, expected %v", key, config[key], want)
		}
	}
	card := string(pefttest.FileBytes(t, filepath.Join(dir, "README.md")))
	if !strings.Contains(card, `base_model: "org/model"`) || !strings.Contains(card, "library_name: peft") {
		t.Errorf("the card is\n%s", card)
	}
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the directory there is %v, %v", entries, err)
	}
}

// TestPEFTDirectories loads what PEFT wrote and writes it as a directory with the same tensors.
func TestPEFTDirectories(t *testing.T) {
	for _, name := range goldenCases {
		dir := testdata.Shared(t, "peft/"+name+"/final")
		a, err := attach.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "out")
		if err := a.SaveDir(out); err != nil {
			t.Fatal(err)
		}
		ours, theirs := pefttest.OpenTensors(t, filepath.Join(out, attach.WeightsFile)),
			pefttest.OpenTensors(t, filepath.Join(dir, attach.WeightsFile))
		if len(ours.Tensors) != len(theirs.Tensors) {
			t.Fatalf("%s: %d tensors, expected %d", name, len(ours.Tensors), len(theirs.Tensors))
		}
		for i, want := range theirs.Tensors {
			got := ours.Tensors[i]
			if got.Name != want.Name || !slices.Equal(got.Shape, want.Shape) || !bytes.Equal(got.Bytes(), want.Bytes()) {
				t.Errorf("%s: tensor %d is %s %v, expected %s %v", name, i, got.Name, got.Shape, want.Name, want.Shape)
			}
		}
	}
}

// writeAdapter writes an adapter file by hand, so that tests can put errors into it.
func writeAdapter(t *testing.T, config string, items ...safetensors.Item) string {
	t.Helper()
	var out bytes.Buffer
	if err := safetensors.Write(&out, map[string]string{attach.MetaConfig: config}, items); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "lie.safetensors")
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// filled is a float32 tensor of the given value.
func filled(name string, value float32, shape ...int64) safetensors.Item {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	x := make([]float32, n)
	for i := range x {
		x[i] = value
	}
	return safetensors.Item{Name: name, DType: "F32", Shape: shape, Data: floats.LittleEndian(x)}
}

// TestLoadRefused loads files with errors.
func TestLoadRefused(t *testing.T) {
	const config = `{"peft_type": "LORA", "r": 2}`
	const a, b = "base_model.model.m.q.lora_A.weight", "base_model.model.m.q.lora_B.weight"
	for _, test := range []struct {
		name, path, reason string
	}{
		{"a file that is not there", filepath.Join(t.TempDir(), "none"), "none"},
		{"an empty directory", t.TempDir(), "no adapter_model.safetensors"},
		{"no configuration", writeAdapter(t, ""), "adapter config"},
		{"no tensor", writeAdapter(t, config), "no tensor"},
		{"A alone", writeAdapter(t, config, filled(a, 1, 2, 3)), "m.q has lora_A but no lora_B"},
		{"B alone", writeAdapter(t, config, filled(b, 1, 3, 2)), "m.q has lora_B but no lora_A"},
		{"other rank", writeAdapter(t, config, filled(a, 1, 4, 3), filled(b, 1, 3, 4)), "configuration says rank 2"},
		{"two ranks", writeAdapter(t, config, filled(a, 1, 2, 3), filled(b, 1, 3, 4)), "configuration says rank 2"},
		{"a vector", writeAdapter(t, config, filled(a, 1, 2), filled(b, 1, 3, 2)), "expected a matrix"},
		{"a tensor of something else", writeAdapter(t, config, filled("base_model.model.m.q.weight", 1, 2, 3)),
			`"base_model.model.m.q.weight"`},
		{"no pairs", writeAdapter(t, config, filled("base_model.model.lm_head.weight", 1, 2, 3)), "no tensor of a LoRA"},
		{"magnitudes without DoRA", writeAdapter(t, config, filled(a, 1, 2, 3), filled(b, 1, 3, 2),
			filled("base_model.model.m.q.lora_magnitude_vector", 1, 3)), "use_dora is false"},
		{"a start taken from the base", writeAdapter(t, `{"peft_type": "LORA", "r": 2, "init_lora_weights": "pissa"}`,
			filled(a, 1, 2, 3), filled(b, 1, 3, 2)), "path_initial_model"},
		{"tokens that are not listed", writeAdapter(t, config, filled(a, 1, 2, 3), filled(b, 1, 3, 2),
			filled("base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta", 1, 1, 3)), "lists 0 tokens"},
		{"not a number", writeAdapter(t, config, filled(a, float32(math.NaN()), 2, 3), filled(b, 1, 3, 2)), "value 0 is NaN"},
		{"whole numbers", writeAdapter(t, config,
			safetensors.Item{Name: a, DType: "I32", Shape: []int64{2, 3}, Data: make([]byte, 24)}, filled(b, 1, 3, 2)), "I32"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := attach.Load(test.path)
			if err == nil || !strings.Contains(err.Error(), test.reason) || !strings.Contains(err.Error(), test.path) {
				t.Errorf("error %v, expected one with %q and the path", err, test.reason)
			}
		})
	}
}

// TestBindRefused binds adapters to bases that they are not for.
func TestBindRefused(t *testing.T) {
	a := pefttest.Trained(t, pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t)), method.LoRA{})
	wide, short := pefttest.Tiny, pefttest.Tiny
	wide.Width, short.Layers = 64, 1
	for name, test := range map[string]struct {
		model  pefttest.TinyModel
		change func(*attach.Adapter)
		reason string
	}{
		"a wider base":        {wide, func(*attach.Adapter) {}, "but in"},
		"a base of one layer": {short, func(*attach.Adapter) {}, `no linear map "model.layers.1`},
		"another architecture": {pefttest.Tiny, func(a *attach.Adapter) {
			a.Origin.Architecture = "qwen2"
		}, `architecture "qwen2"`},
	} {
		other := *a
		test.change(&other)
		if _, err := other.Bind(pefttest.OpenBase(t, test.model.WriteGGUF(t))); err == nil ||
			!strings.Contains(err.Error(), test.reason) {
			t.Errorf("%s: error %v, expected one with %q", name, err, test.reason)
		}
	}
}

// TestBothFormats has one model as a GGUF file and as a Hugging Face directory, and one adapter for both.
func TestBothFormats(t *testing.T) {
	m := pefttest.Tiny
	m.KeyHeads = 1
	inGGUF, inHF := pefttest.OpenBase(t, m.WriteGGUF(t)), pefttest.OpenBase(t, m.WriteHF(t, gguf.F32, 1))
	a := pefttest.Trained(t, inHF, method.LoRA{Rank: 4, Dropout: 0.5})
	seq := pefttest.Packed(pefttest.TinyData(4, 1))
	plain := pefttest.AllLogits(inGGUF, model.NoHooks{}, seq)
	if err := pefttest.Relative(plain, pefttest.AllLogits(inHF, model.NoHooks{}, seq)); err > 1e-5 {
		t.Fatalf("the models themselves differ by %.2g", err)
	}
	var logits [2][]float32
	for i, b := range []*attach.Base{inGGUF, inHF} {
		bound, err := a.Bind(b)
		if err != nil {
			t.Fatal(err)
		}
		logits[i] = pefttest.AllLogits(b, bound, seq)
	}
	if err := pefttest.Relative(logits[0], logits[1]); err > 1e-5 {
		t.Errorf("with the adapter the models differ by %.2g", err)
	}
	if err := pefttest.Relative(logits[0], plain); err < 0.01 {
		t.Errorf("the adapter changes the logits by %.2g only", err)
	}
}

// TestBothFormatsOfPEFT does the same with a base and an adapter that PEFT knows.
func TestBothFormatsOfPEFT(t *testing.T) {
	hf := pefttest.OpenBase(t, testdata.Shared(t, "peft/base"))
	b := pefttest.OpenBase(t, ggufOf(t, hf))
	for _, name := range []string{"lora_all", "lora_qv_r4", "lora_rslora"} {
		c := openCase(t, name)
		a, err := attach.Load(filepath.Join(c.dir, "final"))
		if err != nil {
			t.Fatal(err)
		}
		bound, err := a.Bind(b)
		if err != nil {
			t.Fatal(err)
		}
		c.checkLogits(t, "logits.final", b, bound)
	}
}

// ggufOf writes a Hugging Face base as a GGUF file.
func ggufOf(t *testing.T, hf *attach.Base) string {
	t.Helper()
	s := hf.Model.Spec
	m := pefttest.TinyModel{Width: s.Width, Heads: s.QueryHeads, KeyHeads: s.KeyHeads, Ffn: s.FFN, Layers: s.Layers,
		Vocab: s.Vocab}
	weights := pefttest.OpenTensors(t, hf.Path)
	byName := map[string][]float32{}
	for _, w := range m.Matrices() {
		x, err := weights.Tensor(w.HF).Float32s()
		if err != nil {
			t.Fatal(err)
		}
		byName[w.GGUF] = x
	}
	m.Edit = func(name string, values []float32) { copy(values, byName[name]) }
	return m.WriteGGUF(t)
}

// TestScaledAdapters: the effect of two adapters is that of one twice as strong.
func TestScaledAdapters(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a := pefttest.Trained(t, b, method.LoRA{})
	seq := pefttest.Packed(pefttest.TinyData(3, 1))
	logits := func(adapters ...attach.Scaled) []float32 {
		hooks, err := attach.BindAll(b, adapters)
		if err != nil {
			t.Fatal(err)
		}
		return pefttest.AllLogits(b, hooks, seq)
	}
	if err := pefttest.Relative(logits(attach.Scaled{Adapter: a, Scale: 1.5}, attach.Scaled{Adapter: a, Scale: 0.5}),
		logits(attach.Scaled{Adapter: a, Scale: 2})); err > 1e-5 {
		t.Errorf("1.5 and 0.5 differ from 2 by %.2g", err)
	}
	if err := pefttest.Relative(logits(attach.Scaled{Adapter: a, Scale: 0}), logits()); err != 0 {
		t.Errorf("a scale of 0 changes the logits by %.2g", err)
	}
	if err := pefttest.Relative(logits(attach.Scaled{Adapter: a, Scale: 1}), logits()); err < 0.01 {
		t.Errorf("the adapter changes the logits by %.2g only", err)
	}
}

// TestFindBase looks in the documented places.
func TestFindBase(t *testing.T) {
	path := pefttest.Tiny.WriteGGUF(t)
	a := pefttest.Trained(t, pefttest.OpenBase(t, path), method.LoRA{})
	if got, err := attach.FindBase(a, "x.safetensors"); err != nil || got != path {
		t.Errorf("found %q, %v, expected %q", got, err, path)
	}
	moved := filepath.Join(t.TempDir(), "tiny.gguf")
	if err := os.Rename(path, moved); err != nil {
		t.Fatal(err)
	}
	if got, err := attach.FindBase(a, filepath.Join(filepath.Dir(moved), "x.safetensors")); err != nil || got != moved {
		t.Errorf("found %q, %v, expected %q", got, err, moved)
	}
	if _, err := attach.FindBase(a, "x.safetensors"); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, expected one that names %s", err, path)
	}
	cache := t.TempDir()
	t.Setenv("HF_HUB_CACHE", cache)
	snapshot := filepath.Join(cache, "models--acme--tiny", "snapshots", "c1")
	refs := filepath.Join(cache, "models--acme--tiny", "refs")
	if err := errors.Join(os.MkdirAll(snapshot, 0o755), os.MkdirAll(refs, 0o755),
		os.WriteFile(filepath.Join(refs, "main"), []byte("c1"), 0o644),
		os.WriteFile(filepath.Join(snapshot, "model.safetensors"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	a.Origin.Base = "acme/tiny"
	if got, err := attach.FindBase(a, "x.safetensors"); err != nil || got != snapshot {
		t.Errorf("found %q, %v, expected %q", got, err, snapshot)
	}
	a.Origin.Base = "acme/other"
	if _, err := attach.FindBase(a, "x.safetensors"); err == nil || !strings.Contains(err.Error(), cache) {
		t.Errorf("error %v, expected one that names %s", err, cache)
	}
	if _, err := attach.FindBase(&attach.Adapter{}, "x.safetensors"); err == nil {
		t.Error("a base was found for an adapter that names none")
	}
}

// FuzzReadAdapter reads adapters from arbitrary files, and writes what it could read.
func FuzzReadAdapter(f *testing.F) {
	var out bytes.Buffer
	meta := map[string]string{attach.MetaConfig: `{"peft_type": "LORA", "r": 2, "target_modules": ["q"]}`,
		attach.MetaTraining: `{"steps": 3}`}
	items := []safetensors.Item{filled("base_model.model.q.lora_A.weight", 1, 2, 3),
		filled("base_model.model.q.lora_B.weight", 1, 4, 2)}
	if err := safetensors.Write(&out, meta, items); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := safetensors.Parse(data)
		if err != nil {
			return
		}
		a, err := attach.ReadAdapter(file, []byte(file.Metadata[attach.MetaConfig]))
		if err != nil {
			return
		}
		path := filepath.Join(t.TempDir(), "a.safetensors")
		if err := a.Save(path); err != nil {
			t.Fatal(err)
		}
		back, err := attach.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(a.Flat, back.Flat) {
			t.Fatal("the values changed")
		}
	})
}

// FuzzReadCheckpoint reads checkpoints from arbitrary files, and again the state that it could read.
func FuzzReadCheckpoint(f *testing.F) {
	meta := map[string]string{attach.MetaConfig: `{"peft_type": "LORA", "r": 2, "target_modules": ["q"]}`,
		attach.MetaTraining: `{"steps": 3}`, attach.MetaCheckpoint: `{"state":{"step":3,"epoch":1,"batch":2,"tokens":99,` +
			`"loss":0.5,"base_loss":1},"seed":7,"betas":[0.9,0.999],"precision":"f32","learning_rate":1e-4}`}
	var items []safetensors.Item
	for _, prefix := range []string{"", attach.FirstMoment, attach.SecondMoment} {
		items = append(items, filled(prefix+"base_model.model.q.lora_A.weight", 1, 2, 3),
			filled(prefix+"base_model.model.q.lora_B.weight", 1, 4, 2))
	}
	var out bytes.Buffer
	if err := safetensors.Write(&out, meta, items); err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(f.TempDir(), "seed.checkpoint.safetensors")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		f.Fatal(err)
	}
	if err := CheckCheckpoint(path); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := safetensors.Parse(data)
		if err != nil {
			return
		}
		saved, err := readCheckpoint(file)
		if err != nil {
			return
		}
		text, err := json.Marshal(saved)
		if err != nil {
			t.Fatal(err)
		}
		again, err := readCheckpoint(&safetensors.File{Metadata: map[string]string{attach.MetaCheckpoint: string(text)}})
		if err != nil || !reflect.DeepEqual(saved, again) {
			t.Fatalf("%+v, and again %+v: %v", saved, again, err)
		}
		a, err := attach.ReadAdapter(file, []byte(file.Metadata[attach.MetaConfig]))
		if err != nil {
			return
		}
		_ = checkMoments(file, a)
		_ = a.Config.SameQuantized(file.Metadata[attach.MetaQuantized])
		if err := (&trainer{adapter: a}).sameAdapter(file.Metadata[attach.MetaConfig]); err != nil {
			t.Fatalf("an adapter is not the same as itself: %v", err)
		}
	})
}
