package export

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/pefttest/merging"
	"github.com/peftconv/peftconv/peft/merge"
)

// TestExportChanges exports methods that are no LoRA: exactly where their changes are of low rank or the rank is that
// of the weights, and otherwise as near as the rank allows. The file fits the base in both formats.
func TestExportChanges(t *testing.T) {
	file, dir := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t)),
		pefttest.OpenBase(t, pefttest.Tiny.WriteHF(t, gguf.F32, 1))
	for _, c := range []struct {
		name        string
		rank        int
		least, most float64 // error
	}{
		{"vera", 0, 0, 1e-6}, {"loha", 0, 0, 1e-6}, {"adalora", 0, 0, 1e-6}, {"lokr", 0, 0, 0.01},
		{"oft", 0, 1e-4, 0.01}, {"ia3", 0, 0, 0.01}, {"vera", 4, 0.05, 0.99}, {"lokr", 4, 0.05, 0.99},
		{"oft", 4, 0.05, 0.99}, {"ia3", 4, 0.05, 0.99}, {"adalora", 2, 0.05, 0.99},
	} {
		for _, b := range []*attach.Base{file, dir} {
			a := pefttest.MethodNamed(t, b, c.name)
			pefttest.Stir(a, 5)
			path := filepath.Join(t.TempDir(), "lora.gguf")
			report, err := LoRA(pefttest.Adapter(a), pefttest.Base(b), path, LoRAOptions{Rank: c.rank})
			if err != nil {
				t.Fatal(err)
			}
			if report.Error < c.least || report.Error > c.most {
				t.Errorf("%s at rank %d: the error is %.2g, expected %.2g to %.2g", c.name, c.rank, report.Error, c.least, c.most)
			}
			checkExported(t, path, a, file, report)
		}
	}
}

// checkExported compares the error of each pair in a file with what the report says.
func checkExported(t *testing.T, path string, a *attach.Adapter, b *attach.Base, report *LoRAReport) {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	alpha, _ := f.Meta.Float("adapter.lora.alpha")
	checkExportHeader(t, f, alpha)
	bound, err := a.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	deltas := bound.Changes()
	if len(report.Tensors) != len(deltas) || len(f.Tensors) != 2*len(deltas) {
		t.Fatalf("%d changes give %d pairs in the report, %d tensors in the file", len(deltas), len(report.Tensors),
			len(f.Tensors))
	}
	for l, d := range deltas {
		want := make([]float32, l.W.Rows*l.W.Cols)
		d.AddRows(want, 0, l.W.Rows)
		scale, half := 1.0, f.Tensor(l.Tensor+".lora_b")
		if alpha != 0 {
			scale = alpha / float64(half.Cols())
		}
		got := pefttest.Relative(productOf(f.Tensor(l.Tensor+".lora_a"), half, scale), want)
		for _, r := range report.Tensors {
			if r.Name == l.Tensor && (got > 1.01*r.Error+1e-5 || got < 0.99*r.Error-1e-5) {
				t.Errorf("%s, method %s: the change is off by %.4g, the report says %.4g", l.Tensor, a.Config.Method, got, r.Error)
			}
		}
	}
}

// TestExportChangesRefused has adapters that no GGUF LoRA holds.
func TestExportChangesRefused(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	biased := pefttest.OpenBase(t, biasedGGUF(t, b))
	for _, c := range []struct {
		b            *attach.Base
		name, reason string
		rank         int
	}{
		{b, "bitfit", "no change of weight matrices", 0}, {b, "ln-tuning", "no change of weight matrices", 0},
		{biased, "ia3, all outputs and one input", "biases or norms too", 0}, {b, "loha", "rank -1", -1},
	} {
		a := pefttest.MethodNamed(t, c.b, c.name)
		pefttest.Stir(a, 5)
		_, err := LoRA(pefttest.Adapter(a), pefttest.Base(c.b), filepath.Join(t.TempDir(), "lora.gguf"),
			LoRAOptions{Rank: c.rank})
		if err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: error %v, expected one with %q", c.name, err, c.reason)
		}
	}
}

// biasedGGUF is a model with biases: b with some merged in.
func biasedGGUF(t *testing.T, b *attach.Base) string {
	t.Helper()
	a := pefttest.MethodNamed(t, b, "bitfit")
	pefttest.Stir(a, 9)
	out, _ := merging.Into(t, b, merge.Options{}, attach.Scaled{Adapter: a, Scale: 1})
	return out
}
