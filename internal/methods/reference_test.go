package methods_test

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/safetensors"
)

// TestPEFTOfClasses holds PEFT's adapters over models of many classes of Hugging Face, experts in modules and in
// parameters among them, against what PEFT computed in float64: logits, and the gradients of all tensors. A class that
// is not read, or that is another reading of the same weights, is skipped.
func TestPEFTOfClasses(t *testing.T) {
	dir := testdata.Shared(t, "hf")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	ran := map[string]bool{}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if _, err := os.Stat(filepath.Join(path, "adapter")); err != nil {
			continue
		}
		t.Run(entry.Name(), func(t *testing.T) { ran[entry.Name()] = comparePEFT(t, path) })
	}
	for _, name := range []string{"bloom", "falcon_new", "gpt2", "gpt_neox", "llama_llama3", "mixtral", "granitemoe",
		"granitemoe_experts"} {
		if !ran[name] {
			t.Errorf("case %s did not run", name)
		}
	}
}

func comparePEFT(t *testing.T, path string) bool {
	b, err := attach.OpenBase(path)
	if err != nil {
		t.Skip(err)
	}
	defer b.Close()
	data := pefttest.OpenTensors(t, filepath.Join(path, "data.safetensors"))
	ids := data.Tensor("input_ids")
	packed, all, n := &batch.Batch{}, ids.Bytes(), int(ids.Shape[1])
	for s := range int(ids.Shape[0]) {
		one := make([]int32, n)
		for i := range one {
			one[i] = int32(binary.LittleEndian.Uint64(all[8*(s*n+i):]))
		}
		packed.Append(one, nil)
	}
	reading, base := "", pefttest.AllLogits(b, model.NoHooks{}, packed)
	for _, other := range []string{"tanh.", "nowindow.", "eps1e5."} {
		if far := apart(base, float64s(data, other+"logits64.base")); far < 1e-5 {
			reading = other
		}
	}
	if far := apart(base, float64s(data, reading+"logits64.base")); far > 1e-5 {
		t.Skipf("the base's logits are %.2g apart: another reading of the weights", far)
	}
	a, err := attach.Load(filepath.Join(path, "adapter"))
	if err != nil {
		t.Skip(err)
	}
	bound, err := a.Attach(b, 1, true)
	if err != nil {
		t.Fatal(err)
	}
	bound.Train(true)
	if far := apart(pefttest.AllLogits(b, bound, packed), float64s(data, reading+"logits64.adapter")); far > 1e-5 {
		t.Errorf("the logits are %.2g apart", far)
	}
	tape := autograd.NewTape()
	tape.Record(true)
	targets := len(packed.IDs) - len(packed.Bounds) + 1
	b.Model.Loss(tape, packed, bound, 1/float32(targets))
	tape.Backward()
	grads := make([]float32, len(bound.Grads))
	attach.ToHF(attach.Views(a.Tensors, grads), attach.Views(a.Tensors, bound.Grads), bound.Perms)
	for _, p := range attach.Views(a.Tensors, grads) {
		if far := apart(p.Data, float64s(data, reading+"grad64."+p.Name)); far > 1e-4 {
			t.Errorf("the gradient of %s is %.2g apart", p.Name, far)
		}
	}
	saveAgain(t, a)
	return true
}

// saveAgain wants a directory that is written to have the tensors and targets of the one that was read.
func saveAgain(t *testing.T, a *attach.Adapter) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "again")
	if err := a.SaveDir(dir); err != nil {
		t.Fatal(err)
	}
	again, err := attach.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(again.Flat, a.Flat) || !slices.Equal(again.Config.Parameters, a.Config.Parameters) {
		t.Errorf("what was saved is another adapter: %+v", again.Config)
	}
}

// apart is the largest difference as a share of the largest value.
func apart(got []float32, want []float64) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	worst, largest := 0.0, 0.0
	for i, w := range want {
		worst, largest = max(worst, math.Abs(float64(got[i])-w)), max(largest, math.Abs(w))
	}
	return worst / largest
}

// float64s are the values of a tensor, nil where there is none.
func float64s(f *safetensors.File, name string) []float64 {
	t := f.Tensor(name)
	if t == nil {
		return nil
	}
	data := t.Bytes()
	x := make([]float64, len(data)/8)
	for i := range x {
		x[i] = math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:]))
	}
	return x
}
