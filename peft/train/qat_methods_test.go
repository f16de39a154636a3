package train

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/pefttest/merging"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/internal/virtual"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/eval"
	"github.com/peftconv/peftconv/peft/export"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/method"
)

// newQuantizedAdapter is a quantization-aware adapter of a case.
func newQuantizedAdapter(t *testing.T, b *attach.Base,
	fresh func(b *attach.Base) (*attach.Adapter, error)) *attach.Adapter {
	t.Helper()
	a, err := fresh(b)
	if err == nil {
		err = a.TrainQuantized(b, method.Quantized{Seed: 3})
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// quantizedTypes are types of several kinds: even and uneven codes, with and without minima, few and many.
var quantizedTypes = []gguf.Type{gguf.Q4_0, gguf.Q4_K, gguf.IQ4_NL, gguf.Q8_0, gguf.Q2_K, gguf.BF16}

// TestQuantizedMethodMergesWhatItTrained: for every method the merged file has, byte for byte, the tensors that the
// last forward pass multiplied with, and its loss is that of the training run, with batches accumulated too.
func TestQuantizedMethodMergesWhatItTrained(t *testing.T) {
	for i, c := range pefttest.QuantizedCases {
		for j, typ := range quantizedTypes {
			if testing.Short() && j != i%len(quantizedTypes) {
				continue
			}
			t.Run(c.Name+" "+typ.String(), func(t *testing.T) {
				b := pefttest.OpenBase(t, pefttest.BlocksIn(typ).WriteGGUF(t))
				a := newQuantizedAdapter(t, b, c.New)
				eval, path := pefttest.TinyData(6, 2), filepath.Join(t.TempDir(), "out.safetensors")
				r, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), eval,
					plain(Options{Steps: 5, LR: 3 * a.SuggestLR(b), BatchTokens: 40, Accumulate: 2, Out: path}))
				if err != nil {
					t.Fatal(err)
				}
				loaded, err := attach.Load(path)
				if err != nil {
					t.Fatal(err)
				}
				checkExact(t, b, loaded, eval, r, 40)
			})
		}
	}
}

// checkExact merges a trained adapter and wants bit by bit what was trained.
func checkExact(t *testing.T, b *attach.Base, a *attach.Adapter, heldOut *attach.Data, r *Result, batchTokens int) {
	t.Helper()
	out, report := merging.Into(t, b, merge.Options{}, attach.Scaled{Adapter: a, Scale: 1})
	if !report.BitExact || report.KeptShare == nil || *report.KeptShare != 1 {
		t.Errorf("the merge reports %+v", report)
	}
	m := pefttest.OpenBase(t, out)
	checkRequantized(t, b, m, a)
	loss, err := eval.Loss(context.Background(), pefttest.Base(m), nil, pefttest.Data(heldOut), batchTokens)
	if err != nil || loss.Loss != *r.EvalLoss {
		t.Errorf("the merged file has loss %v, %v, training ended with %v", loss, err, *r.EvalLoss)
	}
	if *r.EvalLoss == *r.BaseLoss {
		t.Error("training has changed nothing")
	}
	v, err := merge.Verify(context.Background(), pefttest.Base(b),
		pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), out, nil)
	if err != nil || !v.Matches || len(v.Tensors) != 7 || v.MergedLoss != v.AdapterLoss || v.MergedLoss == v.BaseLoss {
		t.Errorf("verified: %+v, %v", v, err)
	}
}

// TestQuantizedMethodStartsAsTheBase: an untrained adapter is the base, to the byte, whatever its method.
func TestQuantizedMethodStartsAsTheBase(t *testing.T) {
	for i, c := range pefttest.QuantizedCases {
		for j, typ := range quantizedTypes {
			if !testing.Short() || j == i%len(quantizedTypes) {
				b := pefttest.OpenBase(t, pefttest.BlocksIn(typ).WriteGGUF(t))
				t.Run(c.Name, func(t *testing.T) { checkRequantized(t, b, b, newQuantizedAdapter(t, b, c.New)) })
			}
		}
	}
}

// TestQuantizedMethodIsTheSameEverywhere: every method requantizes to the same bytes on every tier and with any number
// of threads.
func TestQuantizedMethodIsTheSameEverywhere(t *testing.T) {
	defer kernels.SetThreads(0)
	defer kernels.UseTier(kernels.Tier())
	b := pefttest.OpenBase(t, pefttest.BlocksIn(gguf.Q8_0).WriteGGUF(t))
	for _, c := range pefttest.QuantizedCases {
		a := newQuantizedAdapter(t, b, c.New)
		pefttest.Stir(a, 5)
		checkSameEverywhere(t, c.Name, b, a)
	}
}

// TestQuantizedMethodGradients: of the same inputs and the same gradient of a product, the tensors of a method get the
// same gradients with and without quantization-aware training, and the inputs that of the requantized blocks.
func TestQuantizedMethodGradients(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.BlocksIn(gguf.Q4_K).WriteGGUF(t))
	const tokens = 5
	for _, c := range pefttest.QuantizedCases {
		a := newQuantizedAdapter(t, b, c.New)
		pefttest.Stir(a, 5)
		rounded, err := a.Attach(b, 1, true)
		if err != nil {
			t.Fatal(err)
		}
		free := *a
		free.Config.Quantized = nil
		plain, err := free.Attach(b, 1, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range b.Model.Linears() {
			x, dy := make([]float32, tokens*l.W.Cols), make([]float32, tokens*l.W.Rows)
			prng.NewRandom(1, l.Module).Normal(x, 1)
			prng.NewRandom(2, l.Module).Normal(dy, 1)
			back := func(bound *attach.Bound) []float32 {
				clear(bound.Grads)
				tape := autograd.NewTape()
				in := autograd.NewParam(tokens, l.W.Cols, x, make([]float32, len(x)))
				model.Project(tape, l, in, bound).Grad = dy
				tape.Backward()
				return in.Grad
			}
			dx := back(rounded)
			back(plain)
			for i, p := range a.Tensors {
				got, want := attach.Views(a.Tensors, rounded.Grads)[i].Data, attach.Views(a.Tensors, plain.Grads)[i].Data
				if e := pefttest.Relative(got, want); e > 1e-5 {
					t.Errorf("%s: the gradient of %s is %.2g off", c.Name, p.Name, e)
				}
			}
			want := make([]float32, len(dx))
			kernels.GemmW(want, dy, tokens, rounded.Weights(l, &l.W), 0)
			if e := pefttest.Relative(dx, want); e > 1e-6 {
				t.Errorf("%s: the gradient of the inputs of %s is %.2g off", c.Name, l.Module, e)
			}
		}
	}
}

// TestQuantizedMethodRuns: over quantized blocks too the same bytes come out with other threads, recomputed layers and
// after an interruption.
func TestQuantizedMethodRuns(t *testing.T) {
	defer kernels.SetThreads(0)
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	for i, c := range pefttest.QuantizedCases {
		if testing.Short() && i%4 != 1 {
			continue
		}
		fresh := func(b *attach.Base) (*attach.Adapter, error) {
			a, err := c.New(b)
			if err == nil {
				err = a.TrainQuantized(b, method.Quantized{Seed: 3})
			}
			return a, err
		}
		checkRuns(t, c.Name, b, fresh)
	}
}

// checkRuns wants the same bytes of a run with other threads, recomputed layers and after an interruption.
func checkRuns(t *testing.T, name string, b *attach.Base, fresh func(*attach.Base) (*attach.Adapter, error)) {
	t.Helper()
	run := func(opt Options) []byte {
		a, err := fresh(b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), pefttest.TinyData(6, 2),
			plain(opt)); err != nil {
			t.Fatal(err)
		}
		return pefttest.FileBytes(t, opt.Out)
	}
	options := func() Options { return trainOptions(filepath.Join(t.TempDir(), "out.safetensors")) }
	whole := run(options())
	opt := options()
	opt.Recompute = RecomputeAlways
	kernels.SetThreads(1)
	if !bytes.Equal(run(opt), whole) {
		t.Errorf("%s: one thread and recomputed layers give other bytes", name)
	}
	kernels.SetThreads(0)
	if !bytes.Equal(resumed(t, b, fresh, options(), pefttest.TinyData(6, 2)), whole) {
		t.Errorf("%s: an interrupted and resumed run gives other bytes", name)
	}
}

// TestQuantizedMethodBiases: (IA)³ scales the biases of a base with it, and merging writes them.
func TestQuantizedMethodBiases(t *testing.T) {
	plain := pefttest.OpenBase(t, pefttest.BlocksIn(gguf.Q4_0).WriteGGUF(t))
	biases, err := methods.NewBitFit(plain, method.BitFit{})
	if err != nil {
		t.Fatal(err)
	}
	pefttest.Stir(biases, 7)
	path, _ := merging.Into(t, plain, merge.Options{}, attach.Scaled{Adapter: biases, Scale: 1})
	b := pefttest.OpenBase(t, path)
	a := newQuantizedAdapter(t, b, func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewIA3(b, method.IA3{})
	})
	pefttest.Stir(a, 5)
	bound, err := a.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	seq := pefttest.Packed(pefttest.TinyData(4, 1))
	out, _ := merging.Into(t, b, merge.Options{}, attach.Scaled{Adapter: a, Scale: 1})
	if e := pefttest.Relative(pefttest.AllLogits(pefttest.OpenBase(t, out), model.NoHooks{}, seq),
		pefttest.AllLogits(b, bound, seq)); e > 1e-5 {
		t.Errorf("merged the logits differ by %.2g", e)
	}
}

// TestQuantizedMethodExport: a quantization-aware LoRA becomes a GGUF LoRA of its own pairs, which says how far the
// rounded change is from them.
func TestQuantizedMethodExport(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.BlocksIn(gguf.Q4_0).WriteGGUF(t))
	a := newQuantizedAdapter(t, b, pefttest.QuantizedCases[0].New)
	pefttest.Stir(a, 5)
	report, err := export.LoRA(pefttest.Adapter(a), pefttest.Base(b), filepath.Join(t.TempDir(), "out.gguf"),
		export.LoRAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range report.Tensors {
		if e.Rank != 4 || !(e.Error > 0.01 && e.Error < 1) {
			t.Errorf("%+v", e)
		}
	}
}

func TestQuantizedMethodRefused(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.BlocksIn(gguf.Q4_0).WriteGGUF(t))
	lora := func(opt method.LoRA) func(*attach.Base) (*attach.Adapter, error) {
		return func(b *attach.Base) (*attach.Adapter, error) { return methods.NewLoRA(b, opt) }
	}
	for _, c := range []struct {
		base *attach.Base
		new  func(*attach.Base) (*attach.Adapter, error)
		opt  method.Quantized
		want string
	}{
		{b, lora(method.LoRA{}), method.Quantized{Channels: method.ChannelScale},
			"the channel scale is one of plain LoRA pairs only"},
		{b, lora(method.LoRA{}), method.Quantized{Channels: "code+row"}, "are for plain LoRA pairs only"},
		{b, lora(method.LoRA{}), method.Quantized{Channels: "levels"}, `channel "levels" is not known`},
		{b, lora(method.LoRA{}), method.Quantized{Channels: method.ChannelRow}, "more than factors of rows"},
		{b, lora(method.LoRA{}), method.Quantized{Dither: "some"}, `qat_dither "some"`},
		{b, lora(method.LoRA{Dropout: 0.1}), method.Quantized{}, "dropout is not possible"},
		{b, lora(method.LoRA{Norms: true}), method.Quantized{}, "norms and biases"},
		{b, lora(method.LoRA{Targets: []string{"q_proj", "lm_head"}}), method.Quantized{}, "leave lm_head out"},
		{b, func(b *attach.Base) (*attach.Adapter, error) { return methods.NewLNTuning(b, method.LNTuning{}) },
			method.Quantized{}, "changes vectors alone"},
		{b, func(b *attach.Base) (*attach.Adapter, error) {
			return virtual.NewPromptTuning(b, method.PromptTuning{})
		}, method.Quantized{}, "changes no weight"},
	} {
		a, err := c.new(c.base)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.TrainQuantized(c.base, c.opt); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, expected %q", c.opt, err, c.want)
		}
		if a.Config.Quantized != nil {
			t.Error("an adapter that is refused is quantization-aware")
		}
	}
	var config attach.Config
	for _, text := range []string{"{", `{"channels":"scale","dither":"none"}`} {
		if config.ReadQuantized(text) == nil {
			t.Errorf("%s is taken", text)
		}
	}
	for _, c := range []struct{ then, now string }{{"", `{"channels":"code","dither":"none"}`},
		{`{"channels":"code","dither":"none"}`, `{"channels":"code","dither":"uniform"}`}} {
		config = attach.Config{}
		if err := config.ReadQuantized(c.now); err != nil {
			t.Fatal(err)
		}
		if config.SameQuantized(c.now) != nil || config.SameQuantized(c.then) == nil {
			t.Errorf("%s is the same as %s", c.now, c.then)
		}
	}
}

// TestDoubledRanksKeepTheirScale: the scale of a LoRA that is collapsed stays the same number.
func TestDoubledRanksKeepTheirScale(t *testing.T) {
	for _, rslora := range []bool{false, true} {
		for rank := 1; rank <= 1024; rank++ {
			c := attach.Config{Rank: rank, Alpha: 2 * float64(rank), RSLoRA: rslora}
			before := c.ScaleOf("")
			if c.DoubleRank(); float32(before) != float32(c.ScaleOf("")) {
				t.Errorf("rank %d, rslora %v: the scale %v becomes %v", rank, rslora, before, c.ScaleOf(""))
			}
		}
	}
}
