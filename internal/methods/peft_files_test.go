package methods_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/safetensors"
)

// The files of HF PEFT 0.20, where it has names and fields of its own.

// namesIn are the names of the tensors that a directory of an adapter has, which is loaded again.
func namesIn(t *testing.T, a *attach.Adapter) (names []string, again *attach.Adapter) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "adapter")
	if err := a.SaveDir(dir); err != nil {
		t.Fatal(err)
	}
	for _, x := range pefttest.OpenTensors(t, filepath.Join(dir, attach.WeightsFile)).Tensors {
		names = append(names, x.Name)
	}
	again, err := attach.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return names, again
}

// withBiases is a base whose queries, keys and values have biases.
func withBiases(t *testing.T) *attach.Base {
	t.Helper()
	all := archtest.All()
	i := slices.IndexFunc(all, func(m archtest.Model) bool { return m.Name == "qwen2" })
	return pefttest.OpenModel(t, &all[i])
}

// TestBiasNames: biases of modules with a pair are inside of PEFT's wrapper, others are not.
func TestBiasNames(t *testing.T) {
	b := withBiases(t)
	for bias, want := range map[string]map[string]bool{
		method.BiasLoRA: {"q_proj.base_layer.bias": true},
		method.BiasAll:  {"q_proj.base_layer.bias": true, "k_proj.bias": true, "v_proj.bias": true},
	} {
		a, err := methods.NewLoRA(b, method.LoRA{Rank: 2, Bias: bias, Targets: []string{"q_proj"}})
		if err != nil {
			t.Fatal(err)
		}
		pefttest.Stir(a, 3)
		names, again := namesIn(t, a)
		found := map[string]bool{}
		for _, name := range names {
			if strings.HasSuffix(name, ".bias") {
				found[name[strings.Index(name, "self_attn.")+len("self_attn."):]] = true
			}
		}
		if len(found) != len(want) {
			t.Errorf("%s: the biases are %v, expected %v", bias, found, want)
		}
		for name := range want {
			if !found[name] {
				t.Errorf("%s: no %s among %v", bias, name, found)
			}
		}
		if !slices.Equal(again.Flat, a.Flat) {
			t.Errorf("%s: other values are read", bias)
		}
	}
}

// item is a tensor of a file.
func item(name string, x []float32, shape ...int64) safetensors.Item {
	return safetensors.Item{Name: attach.ParamPrefix + name, DType: "F32", Shape: shape, Data: floats.LittleEndian(x)}
}

// adapterFile writes an adapter by hand.
func adapterFile(t *testing.T, config string, items ...safetensors.Item) string {
	t.Helper()
	var out bytes.Buffer
	if err := safetensors.Write(&out, map[string]string{attach.MetaConfig: config}, items); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "adapter.safetensors")
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestBaseCopies: copies of the base's weights that PEFT saves beside pairs on the embedding table and the output head
// are compared with the base and left out; others are an error.
func TestBaseCopies(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 2, Targets: []string{"embed_tokens", "lm_head", "q_proj"}})
	if err != nil {
		t.Fatal(err)
	}
	pefttest.Stir(a, 3)
	config, err := json.Marshal(a.Config)
	if err != nil {
		t.Fatal(err)
	}
	rows, cols := int64(b.Model.Spec.Vocab), int64(b.Model.Spec.Width)
	load := func(change float32) *attach.Adapter {
		embed, head := model.Dequantized(&b.Model.Embed), model.Dequantized(&b.Model.Head)
		for i := range head {
			head[i] += change
		}
		path := adapterFile(t, string(config), append(attach.Items(a.FileParams(), ""),
			item("model.embed_tokens.base_layer.weight", embed, rows, cols),
			item("lm_head.base_layer.weight", head, rows, cols))...)
		read, err := attach.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		return read
	}
	read := load(0)
	if _, err := read.Bind(b); err != nil {
		t.Error(err)
	}
	if names, _ := namesIn(t, read); len(names) != len(a.Tensors) {
		t.Errorf("%d tensors are written, expected %d", len(names), len(a.Tensors))
	}
	if _, err := load(1).Bind(b); !errors.Is(err, attach.ErrWrongBase) || !strings.Contains(err.Error(), "lm_head") {
		t.Errorf("error %v", err)
	}
}

// TestTrainableTokens: what PEFT's method of trained rows has is read, has the effect of the same rows beside a LoRA,
// and is written.
func TestTrainableTokens(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	width := b.Model.Spec.Width
	rows := make([]float32, 2*width)
	for i := range rows {
		rows[i] = float32(i%7) / 7
	}
	path := adapterFile(t, `{"peft_type": "TRAINABLE_TOKENS", "token_indices": [9, 4], "target_modules": "embed_tokens",
		"init_weights": true, "peft_version": "0.20.0", "task_type": "CAUSAL_LM"}`,
		item("model.embed_tokens.trainable_tokens_delta", rows, 2, int64(width)))
	a, err := attach.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	lora, err := methods.NewLoRA(b, method.LoRA{Rank: 1, Targets: []string{"q_proj"}, TokenIDs: []int32{9, 4}})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range lora.Tensors { // whose pairs start at zero
		if strings.HasSuffix(p.Name, methods.TokensPart) {
			copy(p.Data, rows)
		}
	}
	packed := &batch.Batch{}
	packed.Append([]int32{1, 9, 5, 4, 9}, nil)
	got := pefttest.AllLogits(b, pefttest.BindOne(t, a, b), packed)
	if want := pefttest.AllLogits(b, pefttest.BindOne(t, lora, b), packed); !slices.Equal(got, want) {
		t.Error("the logits are others than with the rows beside a LoRA")
	}
	names, again := namesIn(t, a)
	const what = "rows of 2 tokens in the embedding table"
	if len(names) != 1 || !slices.Equal(again.Flat, a.Flat) || again.Describe() != what {
		t.Errorf("written are %v, described as %s", names, again.Describe())
	}
	for _, config := range []string{
		`{"peft_type": "TRAINABLE_TOKENS", "token_indices": [9]}`,
		`{"peft_type": "TRAINABLE_TOKENS", "token_indices": [9, 9]}`,
		`{"peft_type": "TRAINABLE_TOKENS", "token_indices": [9, 4], "target_modules": ["lm_head", "embed_tokens"]}`,
	} {
		path := adapterFile(t, config, item("model.embed_tokens.trainable_tokens_delta", rows, 2, int64(width)))
		if _, err := attach.Load(path); err == nil {
			t.Errorf("%s is taken", config)
		}
	}
}

// TestFieldsOfPEFT: fields that PEFT's configurations do not have are not written, peft_version is.
func TestFieldsOfPEFT(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	some := method.Placement{Layers: "1"}
	for _, c := range []struct {
		opt     method.Options
		without string
	}{
		{method.IA3{Placement: some}, "layers_to_transform"}, {method.IA3{}, "layers_to_transform"},
		{method.VeRA{Placement: some}, "exclude_modules"}, {method.LoRA{}, "layers_to_transform_"},
	} {
		a, err := attach.New(b, c.opt)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(a.Config)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(text, &fields); err != nil {
			t.Fatal(err)
		}
		if _, ok := fields[c.without]; ok || fields["peft_version"] == nil {
			t.Errorf("%s: %s", c.opt.Method(), text)
		}
		if c.opt.Method() == "ia3" && c.opt.(method.IA3).Layers != "" {
			for _, field := range []string{"target_modules", "feedforward_modules"} {
				for _, name := range fields[field].([]any) {
					if !strings.HasPrefix(name.(string), "model.layers.1.") {
						t.Errorf("%s has %v", field, name)
					}
				}
			}
		}
	}
}

// TestLoftQIsRead: an adapter that started from the base's rounding is a plain LoRA in its file.
func TestLoftQIsRead(t *testing.T) {
	original, rounded := pefttest.BlocksIn(gguf.F32).WriteGGUF(t), pefttest.BlocksIn(gguf.Q8_0)
	b := pefttest.OpenBase(t, rounded.WriteGGUF(t))
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 2, Init: method.InitLoftQ, Original: original})
	if err != nil {
		t.Fatal(err)
	}
	if _, again := namesIn(t, a); !slices.Equal(again.Flat, a.Flat) {
		t.Error("other values are read")
	}
}

// TestTrainWholeBoth: both ends of the model, whatever their names.
func TestTrainWholeBoth(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 2, Save: []string{method.SaveBoth}})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(a.Config.ToSave, []string{"embed_tokens", "lm_head"}) {
		t.Errorf("modules_to_save is %v", a.Config.ToSave)
	}
}
