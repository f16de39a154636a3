package export

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/quant"
)

// TestExportGGUF reads the file as llama.cpp does: the names and shapes it looks for, and W + scale·B·A with its rule
// for the scale equal to the weights that a bound adapter gives.
func TestExportGGUF(t *testing.T) {
	inGGUF, inHF := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t)),
		pefttest.OpenBase(t, pefttest.Tiny.WriteHF(t, gguf.F32, 1))
	for name, opt := range map[string]method.LoRA{
		"plain":         {Rank: 4, Alpha: 12},
		"rank pattern":  {Rank: 4, Alpha: 12, RankPattern: map[string]int{"q_proj": 2}},
		"rsLoRA":        {Rank: 4, Alpha: 12, RSLoRA: true},
		"rsLoRA, ranks": {Rank: 4, Alpha: 12, RSLoRA: true, RankPattern: map[string]int{"q_proj": 2}},
		"alpha pattern": {Rank: 4, Alpha: 12, AlphaPattern: map[string]float64{"k_proj": 3}, Layers: "1"},
	} {
		for world, b := range map[string]*attach.Base{"GGUF": inGGUF, "Hugging Face": inHF} {
			t.Run(name+" over "+world, func(t *testing.T) {
				a := pefttest.Trained(t, b, opt)
				path := filepath.Join(t.TempDir(), "lora.gguf")
				if err := GGUF(pefttest.Adapter(a), pefttest.Base(b), path); err != nil {
					t.Fatal(err)
				}
				f, err := gguf.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				alpha := opt.Alpha
				switch {
				case opt.AlphaPattern != nil || opt.RSLoRA && opt.RankPattern != nil:
					alpha = 0
				case opt.RSLoRA:
					alpha *= 2
				}
				checkExportHeader(t, f, alpha)
				checkExportWeights(t, f, a, inGGUF)
			})
		}
	}
}

func checkExportHeader(t *testing.T, f *gguf.File, alpha float64) {
	t.Helper()
	for key, want := range map[string]string{"general.type": "adapter", "general.architecture": "llama",
		"adapter.type": "lora"} {
		if got, _ := f.Meta.String(key); got != want {
			t.Errorf("%s is %q, expected %q", key, got, want)
		}
	}
	if got, ok := f.Meta.Float("adapter.lora.alpha"); !ok || got != alpha {
		t.Errorf("alpha is %v, %v, expected %v", got, ok, alpha)
	}
}

// checkExportWeights compares every pair with what the adapter does to a GGUF base.
func checkExportWeights(t *testing.T, f *gguf.File, a *attach.Adapter, b *attach.Base) {
	t.Helper()
	bound, err := a.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	deltas := bound.Changes()
	if len(f.Tensors) != 2*len(deltas) {
		t.Errorf("the file has %d tensors, expected %d", len(f.Tensors), 2*len(deltas))
	}
	alpha, _ := f.Meta.Float("adapter.lora.alpha")
	for l, d := range deltas {
		ta, tb := f.Tensor(l.Tensor+".lora_a"), f.Tensor(l.Tensor+".lora_b")
		if ta == nil || tb == nil {
			t.Fatalf("the file has no pair for %s", l.Tensor)
		}
		rank := tb.Shape[0]
		if !slices.Equal(ta.Shape, []int64{int64(l.W.Cols), rank}) ||
			!slices.Equal(tb.Shape, []int64{rank, int64(l.W.Rows)}) {
			t.Errorf("%s: shapes %v and %v", l.Tensor, ta.Shape, tb.Shape)
		}
		scale := 1.0
		if alpha != 0 {
			scale = alpha / float64(rank)
		}
		want := make([]float32, l.W.Rows*l.W.Cols)
		d.AddRows(want, 0, l.W.Rows)
		if err := pefttest.Relative(productOf(ta, tb, scale), want); err > 1e-6 {
			t.Errorf("%s: the change differs by %.2g", l.Tensor, err)
		}
	}
}

// productOf is scale·B·A of two float32 tensors.
func productOf(ta, tb *gguf.Tensor, scale float64) []float32 {
	return product(floatsOf(ta), floatsOf(tb), int(tb.Shape[0]), int(ta.Shape[0]), int(tb.Shape[1]), scale)
}

func floatsOf(t *gguf.Tensor) []float32 {
	x := make([]float32, t.Elements())
	quant.Dequantize(t.Type, x, t.Bytes())
	return x
}

// product is scale·B·A of A (rank, in) and B (out, rank).
func product(a, b []float32, rank, in, out int, scale float64) []float32 {
	w := make([]float32, out*in)
	for o := range out {
		for i := range in {
			var sum float64
			for r := range rank {
				sum += float64(b[o*rank+r]) * float64(a[r*in+i])
			}
			w[o*in+i] = float32(scale * sum)
		}
	}
	return w
}

// TestExportPermutes spells the rows out: B of q has row r filled with r, heads of 8.
func TestExportPermutes(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a := pefttest.Trained(t, b, method.LoRA{Rank: 1, Targets: []string{"q_proj", "v_proj"}, Layers: "0"})
	for _, p := range a.Tensors {
		if strings.Contains(p.Name, "lora_B") {
			for r := range p.Data {
				p.Data[r] = float32(r)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "lora.gguf")
	if _, err := LoRA(pefttest.Adapter(a), pefttest.Base(b), path, LoRAOptions{Type: gguf.F16}); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, want := range map[string]string{
		"blk.0.attn_q.weight.lora_b": "[0 4 1 5 2 6 3 7 8 12 9 13 10 14 11 15]",
		"blk.0.attn_v.weight.lora_b": "[0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15]",
	} {
		tensor := f.Tensor(name)
		x := make([]float32, tensor.Elements())
		quant.Dequantize(tensor.Type, x, tensor.Bytes())
		if got := fmt.Sprint(x[:16]); got != want || tensor.Type != gguf.F16 {
			t.Errorf("%s is %s in %v, expected %s in F16", name, got, tensor.Type, want)
		}
	}
}

// TestExportRefused names the path and the reason, and leaves nothing.
func TestExportRefused(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a := pefttest.Trained(t, b, method.LoRA{})
	dir := t.TempDir()
	path := filepath.Join(dir, "lora.gguf")
	if _, err := LoRA(pefttest.Adapter(a), pefttest.Base(b), path, LoRAOptions{Type: gguf.Q4_0}); err == nil ||
		!strings.Contains(err.Error(), "expected F32, F16, BF16 or Q8_0") {
		t.Errorf("error %v", err)
	}
	wide := pefttest.Tiny
	wide.Width = 64
	if err := GGUF(pefttest.Adapter(a), pefttest.Base(pefttest.OpenBase(t, wide.WriteGGUF(t))), path); err == nil ||
		!strings.Contains(err.Error(), "another base") {
		t.Errorf("error %v", err)
	}
	pefttest.CheckEmpty(t, dir)
}

// TestExportedScale: the scale in B is alpha over the root of the rank for rsLoRA.
func TestExportedScale(t *testing.T) {
	c := attach.Config{Rank: 16, Alpha: 8, RSLoRA: true}
	if got := c.ScaleOf("x"); got != 2 {
		t.Errorf("scale is %v", got)
	}
	c.RSLoRA = false
	if got := c.ScaleOf("x"); math.Abs(got-0.5) > 0 {
		t.Errorf("scale is %v", got)
	}
}
