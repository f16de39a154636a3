package methods_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/safetensors"
)

// parameterModels are those of which Hugging Face's classes have experts as parameters, with the rows of gate_up_proj
// that are the gate's: each row, or every other one.
var parameterModels = []struct {
	name, experts string
	every         int
}{
	{"gemma4-experts", "model.layers.%d.experts.", 1},
	{"qwen35moe", "model.layers.%d.mlp.experts.", 1},
	{"gpt-oss", "model.layers.%d.mlp.experts.", 2},
}

var parameterTargets = []string{"experts.gate_up_proj", "experts.down_proj"}

// parameterPair is a LoRA on the parameters of experts, and another of the same numbers on the linear maps of each
// expert.
func parameterPair(t *testing.T, b *attach.Base, every int) (a, apart *attach.Adapter) {
	t.Helper()
	const rank = 3
	a, err := methods.NewLoRA(b, method.LoRA{Rank: rank, Alpha: 5, Targets: parameterTargets})
	if err != nil {
		t.Fatal(err)
	}
	pefttest.Stir(a, 4)
	apart, err = methods.NewLoRA(b, method.LoRA{
		Rank: rank, Alpha: 5, Targets: []string{"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"},
	})
	if err != nil {
		t.Fatal(err)
	}
	eachValue(t, b, a.Tensors, apart.Tensors, every, func(joint, one *float32) { *one = *joint })
	return a, apart
}

// eachValue calls a function with the values of tensors on the linear maps of each expert and those on the parameters
// that stand for them.
func eachValue(t *testing.T, b *attach.Base, joint, apart []attach.Param, every int, call func(joint, one *float32)) {
	t.Helper()
	of := func(params []attach.Param, module, which string) *attach.Param {
		name := attach.LoRAName(module, which)
		at := slices.IndexFunc(params, func(p attach.Param) bool { return p.Name == name })
		if at < 0 {
			t.Fatalf("no tensor %s", name)
		}
		return &params[at]
	}
	for _, l := range b.Model.Linears() {
		if l.Joint == nil {
			continue
		}
		allA, allB := of(joint, l.Joint.Module, "A"), of(joint, l.Joint.Module, "B")
		oneA, oneB := of(apart, l.Module, "A"), of(apart, l.Module, "B")
		for i := range oneA.Data {
			call(&allA.Data[l.Expert*len(oneA.Data)+i], &oneA.Data[i])
		}
		for r := range l.W.Rows {
			at := r
			switch half := allB.Rows() / 2; {
			case strings.HasSuffix(l.Module, "_gate"):
				at = r * every
			case strings.HasSuffix(l.Module, "_up") && every == 1:
				at = half + r
			case strings.HasSuffix(l.Module, "_up"):
				at = 2*r + 1
			}
			for j, n := 0, oneB.Cols(); j < n; j++ {
				call(&allB.Row(at, allB.Cols())[j*l.Joint.Experts+l.Expert], &oneB.Row(r, n)[j])
			}
		}
	}
}

// TestParameterGradients: the gradients of a LoRA on parameters are those of the same pairs on each expert; gate and
// up-projection have one A, which has the sum of both.
func TestParameterGradients(t *testing.T) {
	for _, c := range parameterModels {
		b := openArch(t, c.name)
		a, apart := parameterPair(t, b, c.every)
		packed := pefttest.Packed(orderData())
		gradients := func(a *attach.Adapter) []attach.Param {
			bound, err := a.Attach(b, 1, true)
			if err != nil {
				t.Fatal(err)
			}
			lossOf(b, packed, bound)
			grads := attach.Views(a.Tensors, make([]float32, len(bound.Grads)))
			attach.ToHF(grads, attach.Views(a.Tensors, bound.Grads), bound.Perms)
			return grads
		}
		got := gradients(a)
		want := attach.Views(got, make([]float32, len(a.Flat)))
		eachValue(t, b, want, gradients(apart), c.every, func(joint, one *float32) { *joint += *one })
		for i := range want {
			if far := pefttest.Relative(got[i].Data, want[i].Data); !(far < 1e-5) {
				t.Errorf("%s: the gradient of %s is %.2g apart", c.name, want[i].Name, far)
			}
		}
	}
}

// TestParameters: a LoRA on parameters of experts does what the same pairs do on each expert, and its file is PEFT's:
// the keys have the wrappers, in the order of the parameters in the class, and A and B have the experts as rows and as
// columns.
func TestParameters(t *testing.T) {
	for _, c := range parameterModels {
		b := openArch(t, c.name)
		a, apart := parameterPair(t, b, c.every)
		packed := pefttest.Packed(orderData())
		want := pefttest.AllLogits(b, pefttest.BindOne(t, apart, b), packed)
		if far := pefttest.Relative(pefttest.AllLogits(b, model.NoHooks{}, packed), want); far < 1e-3 {
			t.Errorf("%s: the adapter changes %.2g", c.name, far)
		}
		if far := pefttest.Relative(pefttest.AllLogits(b, pefttest.BindOne(t, a, b), packed), want); far > 1e-6 {
			t.Errorf("%s: %.2g apart from pairs of each expert", c.name, far)
		}
		if apart.Config.Parameters != nil {
			t.Errorf("%s: pairs of each expert are said to be on %v", c.name, apart.Config.Parameters)
		}
		dir := filepath.Join(t.TempDir(), "adapter")
		if err := a.SaveDir(dir); err != nil {
			t.Fatal(err)
		}
		checkParameterFile(t, b, dir, c.experts)
		for _, path := range []string{dir, turnedFile(t, dir)} {
			again, err := attach.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(again.Flat, a.Flat) || !slices.Equal(again.Config.Parameters, a.Config.Parameters) {
				t.Errorf("%s: %s is another adapter: %+v", c.name, path, again.Config)
			}
			saveAgain(t, again)
		}
	}
}

// checkParameterFile compares names, shapes and targets of a directory with what PEFT writes.
func checkParameterFile(t *testing.T, b *attach.Base, dir, experts string) {
	t.Helper()
	var config map[string]any
	if err := json.Unmarshal(pefttest.FileBytes(t, filepath.Join(dir, attach.ConfigFile)), &config); err != nil {
		t.Fatal(err)
	}
	if text, _ := json.Marshal(config["target_parameters"]); string(text) !=
		`["experts.down_proj","experts.gate_up_proj"]` {
		t.Errorf("%s: target_parameters is %s", b.Path, text)
	}
	f := pefttest.OpenTensors(t, filepath.Join(dir, attach.WeightsFile))
	spec := b.Model.Spec.At(0)
	n, width, inner := int64(3*spec.Experts.Count), int64(b.Model.Spec.Width), int64(spec.Experts.FFN)
	if len(f.Tensors) != 4*len(b.Model.Layers) {
		t.Errorf("%s: %d tensors", b.Path, len(f.Tensors))
	}
	module := "base_model.model." + strings.TrimSuffix(strings.Replace(experts, "%d", "1", 1), ".")
	for name, shape := range map[string][]int64{
		".base_layer.lora_A.weight": {n, width}, ".base_layer.lora_B.weight": {2 * inner, n},
		".lora_A.weight": {n, inner}, ".lora_B.weight": {width, n},
	} {
		if x := f.Tensor(module + name); x == nil || !slices.Equal(x.Shape, shape) {
			t.Errorf("%s: tensor %s%s is %v, expected the shape %v", b.Path, module, name, x, shape)
		}
	}
}

// turnedFile is a directory with the adapter of another as PEFT before 0.19.1 writes it: for each expert A is what Bᵀ
// was and B what Aᵀ was.
func turnedFile(t *testing.T, dir string) string {
	t.Helper()
	const rank = 3
	f := pefttest.OpenTensors(t, filepath.Join(dir, attach.WeightsFile))
	var params []attach.Param
	for _, x := range f.Tensors {
		values, err := x.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		rows, cols := int(x.Shape[0]), int(x.Shape[1])
		turned := attach.Param{Shape: []int{cols, rows}, Data: make([]float32, len(values))}
		if before, ok := strings.CutSuffix(x.Name, "lora_A.weight"); ok {
			turned.Name = before + "lora_B.weight"
			experts := rows / rank
			for e := range experts {
				for j := range rank {
					for c := range cols {
						turned.Data[c*rows+j*experts+e] = values[(e*rank+j)*cols+c]
					}
				}
			}
		} else {
			turned.Name = strings.TrimSuffix(x.Name, "lora_B.weight") + "lora_A.weight"
			experts := cols / rank
			for e := range experts {
				for j := range rank {
					for r := range rows {
						turned.Data[(e*rank+j)*rows+r] = values[r*cols+j*experts+e]
					}
				}
			}
		}
		params = append(params, turned)
	}
	return fileOf(t, dir, params)
}

// fileOf is a directory as PEFT writes it, without metadata, that has a configuration and tensors.
func fileOf(t *testing.T, like string, params []attach.Param) string {
	t.Helper()
	dir := t.TempDir()
	config := pefttest.FileBytes(t, filepath.Join(like, attach.ConfigFile))
	if err := os.WriteFile(filepath.Join(dir, attach.ConfigFile), config, 0o644); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := safetensors.Write(&text, map[string]string{"format": "pt"}, attach.Items(params, "")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, attach.WeightsFile), text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestParameterPairs: what is exported of an adapter on parameters is what is of the same pairs on each expert.
func TestParameterPairs(t *testing.T) {
	for _, c := range parameterModels {
		b := openArch(t, c.name)
		a, apart := parameterPair(t, b, c.every)
		want := map[*model.Linear]methods.LinearPair{}
		for _, pair := range pairsOf(t, apart, b) {
			want[pair.Linear] = pair
		}
		pairs := pairsOf(t, a, b)
		if len(pairs) != len(want) {
			t.Errorf("%s: %d pairs, expected %d", c.name, len(pairs), len(want))
		}
		for _, pair := range pairs {
			one := want[pair.Linear]
			if !slices.Equal(pair.A, one.A) || !slices.Equal(pair.B, one.B) || pair.Scale != one.Scale {
				t.Errorf("%s: the pair of %s is another", c.name, pair.Linear.Module)
			}
		}
	}
}

func pairsOf(t *testing.T, a *attach.Adapter, b *attach.Base) []methods.LinearPair {
	t.Helper()
	m, ok := a.Method.(*methods.LoRA)
	if !ok {
		t.Fatalf("the method is %T", a.Method)
	}
	pairs, err := m.Pairs(b, a.Tensors)
	if err != nil {
		t.Fatal(err)
	}
	return pairs
}

// TestParametersRefused: files of which the order of inputs and outputs is wrong or not known, and options that PEFT
// does not have for parameters.
func TestParametersRefused(t *testing.T) {
	square := archtest.Named(t, "gpt-oss")
	square.Fields = maps.Clone(square.Fields)
	square.Fields["expert_feed_forward_length"] = square.Fields["embedding_length"]
	b := pefttest.OpenModel(t, square)
	load := func(dir string) error {
		a, err := attach.Load(dir)
		if err != nil {
			return err
		}
		_, err = a.Bind(b)
		return err
	}
	for _, c := range []struct {
		target, own, peft, turned string
	}{
		{"experts.down_proj", "", "as many inputs as outputs", "as many inputs as outputs"},
		{"experts.gate_up_proj", "", "", "save the adapter with a newer one"},
	} {
		a, err := methods.NewLoRA(b, method.LoRA{Rank: 3, Targets: []string{c.target}})
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "adapter")
		if err := a.SaveDir(dir); err != nil {
			t.Fatal(err)
		}
		expectError(t, c.target+", saved here", load(dir), c.own)
		expectError(t, c.target+", saved by PEFT", load(fileOf(t, dir, a.FileParams())), c.peft)
		expectError(t, c.target+", saved by old PEFT", load(turnedFile(t, dir)), c.turned)
		more := slices.Clone(a.FileParams())
		for i := range more {
			more[i].Name = strings.Replace(more[i].Name, ".experts.", ".experts.base_layer.", 1)
		}
		expectError(t, c.target+", wrapped twice", load(fileOf(t, dir, more)), "of which target_parameters has 1")
	}
	for want, opt := range map[string]method.LoRA{
		"there is no DoRA":    {DoRA: true},
		"PEFT has no dropout": {Dropout: 0.1},
		"init pissa is not":   {Init: method.InitPiSSA},
	} {
		opt.Targets = parameterTargets
		_, err := methods.NewLoRA(b, opt)
		expectError(t, "options", err, want)
	}
}

// expectError wants an error with a text, none where it is empty.
func expectError(t *testing.T, what string, err error, text string) {
	t.Helper()
	if (err == nil) != (text == "") || err != nil && !strings.Contains(err.Error(), text) {
		t.Errorf("%s: error %v, expected one with %q", what, err, text)
	}
}
