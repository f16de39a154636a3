package train

import (
	"context"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/lycoris"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/pefttest/merging"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/algebra"
	"github.com/peftconv/peftconv/peft/export"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/method"
)

// TestStartsApart: PiSSA and OLoRA change nothing at the start, and what they train is a plain LoRA of twice the rank.
func TestStartsApart(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	seq := pefttest.Packed(pefttest.TinyData(3, 4))
	plain := pefttest.AllLogits(b, model.NoHooks{}, seq)
	for _, init := range []string{method.InitPiSSA, method.InitOLoRA} {
		a, err := methods.NewLoRA(b, method.LoRA{Rank: 4, Init: init, RankPattern: map[string]int{"q_proj": 2}, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := pefttest.Relative(pefttest.AllLogits(b, pefttest.BindOne(t, a, b), seq), plain); err > 1e-5 {
			t.Errorf("%s: at the start the logits differ by %.2g", init, err)
		}
		pefttest.Stir(a, 5)
		trained := pefttest.AllLogits(b, pefttest.BindOne(t, a, b), seq)
		if err := a.Collapse(b); err != nil {
			t.Fatal(err)
		}
		c := &a.Config
		if c.Rank != 8 || c.RankPattern["q_proj"] != 4 || c.Init != method.InitKaiming ||
			len(a.Tensors) != 2*len(b.Model.Linears()) {
			t.Errorf("%s: the finished adapter is %+v with %d tensors", init, c, len(a.Tensors))
		}
		if err := pefttest.Relative(pefttest.AllLogits(b, pefttest.BindOne(t, a, b), seq), trained); err > 1e-5 {
			t.Errorf("%s: the plain LoRA's logits differ by %.2g", init, err)
		}
	}
}

// TestPiSSAIsTheLargest: the pair holds the largest singular values, so that the rest of the weight is small.
func TestPiSSAIsTheLargest(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	l := b.Model.Layers[0].Linear(arch.Gate)
	for name, factor := range map[string]func(*model.Linear, int, float64, uint64) ([]float32, []float32){
		method.InitPiSSA: methods.Pissa, method.InitOLoRA: methods.Olora,
	} {
		pairA, pairB := factor(l, 32, 1, 1) // all of its singular values, all of its columns
		left := model.Dequantized(&l.W)
		whole := math.Sqrt(kernels.SumSquares(left))
		kernels.Gemm(false, false, l.W.Rows, l.W.Cols, 32, -1, pairB, 32, pairA, l.W.Cols, 1, left, l.W.Cols)
		if share := math.Sqrt(kernels.SumSquares(left)) / whole; share > 1e-5 {
			t.Errorf("%s of full rank leaves %.2g of the weight", name, share)
		}
	}
	pairA, pairB := methods.Pissa(l, 4, 1, 1)
	randomA, randomB := methods.Olora(l, 4, 1, 1)
	rest := func(a, b []float32) float64 {
		left := model.Dequantized(&l.W)
		kernels.Gemm(false, false, l.W.Rows, l.W.Cols, 4, -1, b, 4, a, l.W.Cols, 1, left, l.W.Cols)
		return kernels.SumSquares(left)
	}
	if rest(pairA, pairB) >= rest(randomA, randomB) {
		t.Error("PiSSA leaves more of the weight than OLoRA")
	}
}

// TestLoftQ starts from the rounding errors: the loss of the base comes nearer to that of the original.
func TestLoftQ(t *testing.T) {
	rounded := pefttest.Tiny
	rounded.Ffn, rounded.TypeOf = 64, func(name string) gguf.Type {
		if strings.HasPrefix(name, "blk.") {
			return gguf.Q4_0
		}
		return gguf.F32
	}
	whole := rounded
	whole.TypeOf = nil
	original, b := pefttest.OpenBase(t, whole.WriteGGUF(t)), pefttest.OpenBase(t, rounded.WriteGGUF(t))
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 16, Init: method.InitLoftQ, Original: original.Path, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	seq := pefttest.Packed(pefttest.TinyData(3, 4))
	want := pefttest.AllLogits(original, model.NoHooks{}, seq)
	before, after := pefttest.Relative(pefttest.AllLogits(b, model.NoHooks{}, seq), want),
		pefttest.Relative(pefttest.AllLogits(b, pefttest.BindOne(t, a, b), seq), want)
	if after > 0.6*before {
		t.Errorf("the logits are %.3f off the original's with the start, %.3f without", after, before)
	}
	if _, err := methods.NewLoRA(b, method.LoRA{Init: method.InitLoftQ}); err == nil ||
		!strings.Contains(err.Error(), "quantized from") {
		t.Errorf("without the original: %v", err)
	}
}

// TestTokensOfTiedHead: where embedding and output head are one, trained rows of tokens change both, and so does the
// merge.
func TestTokensOfTiedHead(t *testing.T) {
	tied := pefttest.Tiny
	tied.Tied = true
	b := pefttest.OpenBase(t, tied.WriteGGUF(t))
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 2, TokenIDs: []int32{7, 3}, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	pefttest.Stir(a, 2)
	out, report := merging.Into(t, b, merge.Options{}, attach.Scaled{Adapter: a, Scale: 1})
	seq := pefttest.Packed(pefttest.TinyData(3, 4))
	if err := pefttest.Relative(pefttest.AllLogits(pefttest.OpenBase(t, out), model.NoHooks{}, seq),
		pefttest.AllLogits(b, pefttest.BindOne(t, a, b), seq)); err > 2e-5 {
		t.Errorf("merged the logits differ by %.2g", err)
	}
	if report.Recovery < 0.999 {
		t.Errorf("the report is %+v", report)
	}
	for _, opt := range []method.LoRA{{Save: []string{"embed_tokens"}}, {Save: []string{"lm_head"}},
		{Targets: []string{"lm_head"}}} {
		if _, err := methods.NewLoRA(b, opt); err == nil || !strings.Contains(err.Error(), "embedding table") {
			t.Errorf("%+v: %v", opt, err)
		}
	}
	embedding, err := methods.NewLoRA(b, method.LoRA{Rank: 2, Targets: []string{"embed_tokens"}, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := merge.Run(context.Background(), pefttest.Base(b),
		pefttest.Scaled([]attach.Scaled{{Adapter: embedding, Scale: 1}}),
		filepath.Join(t.TempDir(), "m.gguf"), merge.Options{}); err == nil {
		t.Error("a change of the embedding alone was merged into both")
	}
}

// TestEndsAreLoRAsAlone: what is for the linear maps of the layers refuses the embedding table and the output head.
func TestEndsAreLoRAsAlone(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	targets := []string{"q_proj", "lm_head"}
	_, loha := lycoris.NewLoHa(b, method.LoHa{Placement: method.Placement{Targets: targets}})
	_, qat := methods.NewQAT(b, method.QAT{Targets: targets})
	_, _, extract := algebra.Extract(context.Background(), pefttest.Base(b), pefttest.Base(b),
		algebra.ExtractOptions{Targets: targets})
	for _, err := range []error{loha, qat, extract} {
		if err == nil || !strings.Contains(err.Error(), `"lm_head"`) {
			t.Errorf("error %v", err)
		}
	}
}

// TestLRRatio: the ratio of LoRA+ is that of the first updates of B and A, which AdamW makes as large as the rate.
func TestLRRatio(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 2, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	pefttest.Stir(a, 2)
	before := attach.Views(a.Tensors, append([]float32(nil), a.Flat...))
	opt := Options{Steps: 1, LR: 1e-3, LRRatio: 4}
	if _, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(8, 1), nil, plain(opt)); err != nil {
		t.Fatal(err)
	}
	for i, p := range a.Tensors {
		var most float64
		for j, v := range p.Data {
			most = max(most, math.Abs(float64(v)-float64(before[i].Data[j])))
		}
		want := 1e-3
		if strings.HasSuffix(p.Name, methods.PartB) {
			want = 4e-3
		}
		if math.Abs(most-want) > 0.02*want {
			t.Errorf("%s moved by %g, expected %g", p.Name, most, want)
		}
	}
}

// TestExportEmbedding looks at the pair of an embedding table in a GGUF LoRA, which is the other way round there.
func TestExportEmbedding(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 2, Targets: []string{"embed_tokens", "lm_head"}, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	pefttest.Stir(a, 2)
	path := filepath.Join(t.TempDir(), "lora.gguf")
	if err := export.GGUF(pefttest.Adapter(a), pefttest.Base(b), path); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	vocab := int64(pefttest.Tiny.Tokens())
	for name, shape := range map[string][2]int64{
		"token_embd.weight.lora_a": {2, vocab}, "token_embd.weight.lora_b": {2, 32},
		"output.weight.lora_a": {32, 2}, "output.weight.lora_b": {2, vocab},
	} {
		if x := f.Tensor(name); x == nil || x.Shape[0] != shape[0] || x.Shape[1] != shape[1] {
			t.Errorf("%s is %+v, expected the shape %v", name, x, shape)
		}
	}
	for want, opt := range map[string]method.LoRA{"no DoRA": {DoRA: true}, "5 norms": {Norms: true}} {
		a, err := methods.NewLoRA(b, opt)
		if err != nil {
			t.Fatal(err)
		}
		if err := export.GGUF(pefttest.Adapter(a), pefttest.Base(b), path+".no"); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected %q", err, want)
		}
	}
}
