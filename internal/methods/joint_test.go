package methods_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// TestJointModules: the parts of a module, or of a parameter of all experts, that Hugging Face's classes have as one
// change by their rows of its B·A, and an adapter on them is written in PEFT's form.
func TestJointModules(t *testing.T) {
	for _, c := range []struct {
		model, target       string
		targets, parameters []string
	}{
		{"qwen3next", "in_proj_qkvz", []string{"linear_attn.in_proj_qkvz"}, nil},
		{"granitemoe", "input_linear", nil, []string{"block_sparse_moe.input_linear.weight"}},
		{"granitemoe", "block_sparse_moe.output_linear.weight", nil, []string{"block_sparse_moe.output_linear.weight"}},
		{"granitemoe-shared", "shared_mlp.input_linear", []string{"shared_mlp.input_linear"}, nil},
		{"gemma4-experts", "experts.gate_up_proj", nil, []string{"experts.gate_up_proj"}},
		{"qwen35moe", "mlp.experts.down_proj", nil, []string{"experts.down_proj"}},
		{"gpt-oss", "mlp.experts.gate_up_proj", nil, []string{"experts.gate_up_proj"}},
	} {
		b := openArch(t, c.model)
		a, err := methods.NewLoRA(b, method.LoRA{Rank: 3, Alpha: 3, Targets: []string{c.target}, Seed: 2})
		if err != nil {
			t.Errorf("%s: %v", c.model, err)
			continue
		}
		if !slices.Equal(a.Config.Targets.Names, c.targets) || !slices.Equal(a.Config.Parameters, c.parameters) {
			t.Errorf("%s: targets %v and %v", c.model, a.Config.Targets.Names, a.Config.Parameters)
		}
		pefttest.Stir(a, 6)
		dir := filepath.Join(t.TempDir(), "adapter")
		if err := a.SaveDir(dir); err != nil {
			t.Fatal(err)
		}
		if a, err = attach.Load(dir); err != nil {
			t.Fatal(err)
		}
		bound, err := a.Bind(b)
		if err != nil {
			t.Fatal(err)
		}
		parts := 0
		for l, change := range bound.Changes() {
			got := make([]float32, l.W.Rows*l.W.Cols)
			change.AddRows(got, 0, l.W.Rows)
			if far := pefttest.Relative(got, jointChange(a, b, l, 3)); far > 1e-5 {
				t.Errorf("%s: the change of %s is %.2g apart", c.model, l.Module, far)
			}
			parts++
		}
		if parts < len(a.Tensors) {
			t.Errorf("%s: %d maps changed by %d tensors", c.model, parts, len(a.Tensors))
		}
	}
}

// jointChange is the rows of B·A of a joint module that are a linear map's, its expert's columns of B and rows of A.
func jointChange(a *attach.Adapter, b *attach.Base, l *model.Linear, rank int) []float32 {
	tensor := func(which string) *attach.Param {
		name := attach.LoRAName(l.Joint.Module, which)
		return &a.Tensors[slices.IndexFunc(a.Tensors, func(p attach.Param) bool { return p.Name == name })]
	}
	left, right, experts := tensor("B"), tensor("A"), max(l.Joint.Experts, 1)
	var out []float32
	for _, r := range b.Model.Arch.Tensor(l.Role).JointRows(&b.Model.Spec, l.Layer) {
		for c := range l.W.Cols {
			sum := float32(0)
			for j := range rank {
				sum += left.Row(int(r), left.Cols())[j*experts+l.Expert] * right.Row(l.Expert*rank+j, right.Cols())[c]
			}
			out = append(out, sum)
		}
	}
	return out
}

// TestJointDoRA: magnitudes of a joint module, or of each expert of a parameter, start as the norms of the rows, which
// changes nothing.
func TestJointDoRA(t *testing.T) {
	for name, target := range map[string]string{"qwen3next": "in_proj_qkvz", "gemma4-experts": "ffn", "gpt-oss": "ffn"} {
		b := openArch(t, name)
		a, err := methods.NewLoRA(b, method.LoRA{Targets: []string{target}, DoRA: true})
		if err != nil {
			t.Fatal(err)
		}
		packed := pefttest.Packed(orderData())
		want := pefttest.AllLogits(b, model.NoHooks{}, packed)
		if far := pefttest.Relative(pefttest.AllLogits(b, pefttest.BindOne(t, a, b), packed), want); far > 1e-5 {
			t.Errorf("%s: at the start the logits are %.2g apart", name, far)
		}
	}
}

// TestJointRefused: what PEFT has no form for.
func TestJointRefused(t *testing.T) {
	b := openArch(t, "granitemoe")
	for want, opt := range map[string]method.LoRA{
		"choose that":         {Targets: []string{"input_linear_gate"}},
		"there is no DoRA":    {Targets: []string{"input_linear"}, DoRA: true},
		"PEFT has no dropout": {Targets: []string{"input_linear"}, Dropout: 0.1},
		"init pissa is not":   {Targets: []string{"output_linear"}, Init: method.InitPiSSA},
	} {
		if _, err := methods.NewLoRA(b, opt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected one with %q", err, want)
		}
	}
}
