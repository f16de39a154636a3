package peft_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/quantize"
	"github.com/peftconv/peftconv/gguf/verify"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/eval"
	"github.com/peftconv/peftconv/peft/export"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/peft/train"
)

// lossOf is the loss of a base with adapters on data.
func lossOf(t *testing.T, b *peft.Base, adapters []peft.Scaled, data *peft.Data) float64 {
	t.Helper()
	r, err := eval.Loss(t.Context(), b, adapters, data, 0)
	if err != nil {
		t.Fatal(err)
	}
	return r.Loss
}

// TestToys trains a method over an architecture, merges it and exports it, where the method, the architecture and the
// form of export are known to this test only: see toy_method_test.go, toy_architecture_test.go and toy_form_test.go.
func TestToys(t *testing.T) {
	at := func(name string) string { return filepath.Join(t.TempDir(), name) }
	path := at("pebble.gguf")
	writePebble(t, path)
	b, err := peft.OpenBase(path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	checkModel(t, b, path)
	data := pefttest.Data(pefttest.TinyData(12, 1))
	for _, c := range []struct {
		opt  method.Options
		form string // of export, beside that of this test
	}{
		{meanShiftOptions{}, "gguf"},
		{method.LoRA{Targets: []string{"query", "thin"}}, "peft"},
	} {
		t.Run(c.opt.Method(), func(t *testing.T) {
			a, err := peft.New(b, c.opt)
			if err != nil {
				t.Fatal(err)
			}
			file := at("out.safetensors")
			r, err := train.Run(t.Context(), b, a, data, data, train.Options{
				Steps: 20, BatchTokens: 256, LR: 1e-2, Precision: train.PrecisionF32, Out: file,
			})
			if err != nil {
				t.Fatal(err)
			}
			if *r.EvalLoss > *r.BaseLoss-0.01 {
				t.Errorf("the loss goes from %.4f to %.4f", *r.BaseLoss, *r.EvalLoss)
			}
			if a, err = peft.Load(file); err != nil {
				t.Fatal(err)
			}
			checkMerged(t, b, a, data)
			checkExported(t, b, a, c.form)
		})
	}
}

// checkModel verifies the model, measures its importance matrix and quantizes it.
func checkModel(t *testing.T, b *peft.Base, path string) {
	t.Helper()
	if r, err := verify.File(t.Context(), path, verify.Options{}); err != nil || !r.OK() || r.Architecture != "pebble" {
		t.Fatalf("verified: %+v, %v", r, err)
	}
	m, err := eval.Importance(t.Context(), b, make([]int32, 64), eval.ImportanceOptions{Ctx: 16})
	if err != nil || m.Entry("stone.0.thin.weight") == nil {
		t.Fatalf("the importance matrix is %v, %v", m, err)
	}
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	kind, err := quantize.ParseFileType("Q4_K_M")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := quantize.NewPlan(f, quantize.Options{Type: kind, Imatrix: m, AllowRequantize: true})
	if err != nil {
		t.Fatal(err)
	}
	// the rules of Q4_K_M: more bits for the head, the values and half of the down-projections
	want := map[string]gguf.Type{
		"words": gguf.Q6_K, "stone.0.value.weight": gguf.Q6_K, "stone.0.thin.weight": gguf.Q6_K,
		"stone.0.query.weight": gguf.Q4_K, "last": gguf.F32,
	}
	for _, tensor := range plan.Tensors {
		if to, ok := want[tensor.Name]; ok && tensor.To != to {
			t.Errorf("%s becomes %v, expected %v", tensor.Name, tensor.To, to)
		}
	}
}

// checkMerged wants a merge in float32 to have the adapter's loss.
func checkMerged(t *testing.T, b *peft.Base, a *peft.Adapter, data *peft.Data) {
	t.Helper()
	adapters := []peft.Scaled{{Adapter: a, Scale: 1}}
	path := filepath.Join(t.TempDir(), "merged.gguf")
	if _, err := merge.Run(t.Context(), b, adapters, path, merge.Options{Type: "F32"}); err != nil {
		t.Fatal(err)
	}
	m, err := peft.OpenBase(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	want, got := lossOf(t, b, adapters, data), lossOf(t, m, nil, data)
	if m.Architecture() != "pebble" || math.Abs(got-want) > 1e-4 {
		t.Errorf("merged: architecture %s, loss %.6f, expected %.6f", m.Architecture(), got, want)
	}
}

// checkExported writes the adapter in the form of this test and in another.
func checkExported(t *testing.T, b *peft.Base, a *peft.Adapter, other string) {
	t.Helper()
	in := export.Input{Base: b, Adapters: []peft.Scaled{{Adapter: a, Scale: 1}}}
	path := filepath.Join(t.TempDir(), "sizes.json")
	r, err := export.To("sizes", in, path, export.Options{})
	if err != nil || r.Note == "" {
		t.Fatalf("report %+v, %v", r, err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var sizes map[string]int
	if err := json.Unmarshal(text, &sizes); err != nil || len(sizes) != len(a.Params()) {
		t.Errorf("%d sizes (%v), expected %d", len(sizes), err, len(a.Params()))
	}
	if _, err := export.To(other, in, filepath.Join(t.TempDir(), "other"), export.Options{}); err != nil {
		t.Error(err)
	}
	if _, err := export.To("stone", in, path, export.Options{}); err == nil {
		t.Error("a form that is not known is written")
	}
}
