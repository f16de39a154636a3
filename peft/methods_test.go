package peft

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/internal/virtual"
	"github.com/peftconv/peftconv/kernels"
)

// methodCase makes an adapter.
type methodCase struct {
	name string
	new  func(b *attach.Base) (*attach.Adapter, error)
}

// methodCases make adapters of every method for the tests that hold for all. New ones change nothing; stir moves them.
var methodCases = []methodCase{
	{"lora", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, methods.LoRAOptions{Rank: 4, Dropout: 0.1, Seed: 3})
	}},
	{"qat scale", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewQAT(b, methods.QATOptions{Channels: "scale", Rank: 2, Seed: 3})
	}},
	{"qat scale, offset and row", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewQAT(b, methods.QATOptions{Channels: "scale+offset+row", Rank: 2, Seed: 3})
	}},
	{"qat offset", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewQAT(b, methods.QATOptions{Channels: "offset", Rank: 2, Seed: 3})
	}},
	{"qat code", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewQAT(b, methods.QATOptions{Channels: "code", Rank: 4, Seed: 3})
	}},
	{"ia3", func(b *attach.Base) (*attach.Adapter, error) { return methods.NewIA3(b, methods.IA3Options{}) }},
	{"ia3, all outputs and one input", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewIA3(b, methods.IA3Options{Placement: attach.Placement{Targets: []string{"all-linear"}}, FeedForward: []string{"o_proj"}})
	}},
	{"ln-tuning", func(b *attach.Base) (*attach.Adapter, error) { return methods.NewLNTuning(b, methods.NormOptions{}) }},
	{"bitfit", func(b *attach.Base) (*attach.Adapter, error) { return methods.NewBitFit(b, methods.BitFitOptions{}) }},
	{"loha", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoHa(b, methods.LoHaOptions{Placement: attach.Placement{Seed: 3}, Rank: 3})
	}},
	{"lokr", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoKr(b, methods.LoKrOptions{Placement: attach.Placement{Seed: 3}, Rank: 3, Alpha: 24})
	}},
	{"lokr of two products", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoKr(b, methods.LoKrOptions{Placement: attach.Placement{Seed: 3}, Rank: 1, DecomposeBoth: true, Factor: 4})
	}},
	{"prompt-tuning, sampled", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPromptTuning(b, virtual.PromptOptions{VirtualTokens: 4, Seed: 3})
	}},
	{"prompt-tuning, random", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPromptTuning(b, virtual.PromptOptions{VirtualTokens: 3, Init: virtual.PromptInitRandom, Seed: 3})
	}},
	{"vera", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewVeRA(b, methods.VeRAOptions{Rank: 16, Dropout: 0.1})
	}},
	{"oft", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewOFT(b, methods.OFTOptions{BlockSize: 8})
	}},
	{"oft, exact, one block for all", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewOFT(b, methods.OFTOptions{BlockSize: 16, Exact: true, Share: true})
	}},
	{"prefix-tuning, sampled", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPrefixTuning(b, virtual.PrefixOptions{PromptOptions: virtual.PromptOptions{VirtualTokens: 4, Seed: 3}})
	}},
	{"prefix-tuning, through a network", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPrefixTuning(b, virtual.PrefixOptions{PromptOptions: virtual.PromptOptions{VirtualTokens: 4, Seed: 3}, Projection: true, EncoderHidden: 8})
	}},
	{"adalora", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewAdaLoRA(b, methods.AdaLoRAOptions{Placement: attach.Placement{Seed: 3}, Rank: 2, StartRank: 4, Alpha: 200, Dropout: 0.1})
	}},
	{"p-tuning, LSTM", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPTuning(b, virtual.PTuningOptions{VirtualTokens: 4, Hidden: 8, Dropout: 0.1, Seed: 3})
	}},
	{"p-tuning, MLP", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPTuning(b, virtual.PTuningOptions{VirtualTokens: 4, Hidden: 16, Encoder: virtual.EncoderMLP, Seed: 3})
	}},
	{"p-tuning-v2, hidden", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPTuningV2(b, virtual.PTuningV2Options{PromptOptions: virtual.PromptOptions{VirtualTokens: 4, Seed: 3}})
	}},
	{"p-tuning-v2, keys and values", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPTuningV2(b, virtual.PTuningV2Options{PromptOptions: virtual.PromptOptions{VirtualTokens: 4, Seed: 3}, Form: virtual.FormKV})
	}},
	{"dora", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, methods.LoRAOptions{Rank: 4, DoRA: true, Seed: 3})
	}},
	{"dora with dropout", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, methods.LoRAOptions{Rank: 4, DoRA: true, Dropout: 0.1, Seed: 3})
	}},
	{"pissa", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, methods.LoRAOptions{Rank: 4, Init: attach.InitPiSSA, Targets: []string{"all-linear", "lm_head"}, Seed: 3})
	}},
	{"olora", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, methods.LoRAOptions{Rank: 4, Init: attach.InitOLoRA, RSLoRA: true, Seed: 3})
	}},
	{"lora at both ends", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, methods.LoRAOptions{Rank: 4, Targets: []string{"q_proj", "embed_tokens", "lm_head"}, Seed: 3})
	}},
	{"lora and whole tensors", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, methods.LoRAOptions{Rank: 4, Norms: true, Save: []string{"lm_head", "embed_tokens"}, Seed: 3})
	}},
	{"lora and tokens", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, methods.LoRAOptions{Rank: 4, TokenIDs: []int32{9, 4, 20}, Seed: 3})
	}},
	{"adapter, parallel", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewBottleneck(b, methods.BottleneckOptions{Seed: 3, Bottleneck: 8})
	}},
	{"adapter, parallel to both, gated", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewBottleneck(b, methods.BottleneckOptions{Seed: 3, Bottleneck: 8, Activation: "swiglu", Parts: []string{"attention", "ffn"}})
	}},
	{"adapter, parallel to the stream", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewBottleneck(b, methods.BottleneckOptions{Seed: 3, Bottleneck: 8, Activation: "relu", Scale: 0.5, Input: methods.InputStream, Layers: "1"})
	}},
	{"adapter, serial-houlsby", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewBottleneck(b, methods.BottleneckOptions{Seed: 3, Bottleneck: 8, Placement: methods.SerialHoulsby, Activation: "gelu"})
	}},
	{"adapter, serial-pfeiffer", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewBottleneck(b, methods.BottleneckOptions{Seed: 3, Bottleneck: 8, Placement: methods.SerialPfeiffer, Parts: []string{"attention", "ffn"}})
	}},
}

// stir moves every trained value of an adapter a little.
func stir(a *attach.Adapter, seed uint64) {
	for i := range a.Tensors {
		p := &a.Tensors[i]
		if p.Frozen {
			continue
		}
		noise := make([]float32, len(p.Data))
		prng.NewRandom(seed, p.Name).Normal(noise, 0.1)
		kernels.Add(p.Data, noise)
	}
}

// TestMethodGradients compares the gradient of the loss with central differences, tensor by tensor along its own
// direction, over a base with permuted rows and several sequences.
func TestMethodGradients(t *testing.T) {
	b := openBase(t, tiny.writeGGUF(t))
	for _, c := range methodCases {
		t.Run(c.name, func(t *testing.T) {
			a, err := c.new(b)
			if err != nil {
				t.Fatal(err)
			}
			stir(a, 5)
			bound, err := a.Attach(b, 1, true)
			if err != nil {
				t.Fatal(err)
			}
			tape := autograd.NewTape()
			loss := func(record bool) float64 {
				if !a.Config.DoRA { // whose norms count as constants
					bound.Stepped(0, 0)
				}
				tape.Record(record)
				tape.Reset(0)
				batch := packed(tinyData(4, 8))
				bound.Expand(batch)
				sum, n := b.Model.Loss(tape, batch, bound, 1/float32(batch.TargetCount()))
				if record {
					tape.Backward()
				}
				return sum / float64(n)
			}
			loss(true)
			checkDirections(t, a, bound, func() float64 { return loss(false) })
		})
	}
}

// checkDirections moves each tensor along its gradient and wants the loss to change as the gradient says.
func checkDirections(t *testing.T, a *attach.Adapter, bound *attach.Bound, loss func() float64) {
	t.Helper()
	values, grads := attach.Views(a.Tensors, bound.Values), attach.Views(a.Tensors, bound.Grads)
	for i := range values {
		norm := math.Sqrt(kernels.SumSquares(grads[i].Data))
		if a.Tensors[i].Frozen {
			if norm != 0 {
				t.Errorf("%s is frozen and has a gradient", a.Tensors[i].Name)
			}
			continue
		}
		if norm < 1e-4 {
			t.Errorf("%s has a gradient of norm %g", a.Tensors[i].Name, norm)
			continue
		}
		step := min(0.02, 0.005/norm) // where the loss bends
		move := func(by float64) float64 {
			kernels.Axpy(float32(by/norm), grads[i].Data, values[i].Data)
			return loss()
		}
		up, farUp := move(step), move(step)
		move(-2 * step)
		down, farDown := move(-step), move(-step)
		move(2 * step)
		got := (8*(up-down) - (farUp - farDown)) / (12 * step)
		if math.Abs(got-norm) > 0.02*norm+2e-5 {
			t.Errorf("%s: the loss changes by %.6f along a gradient of norm %.6f", a.Tensors[i].Name, got, norm)
		}
	}
}

// TestMethodRuns: for every method the same bytes come out of a run with other threads, with recomputed layers, and of one
// that was interrupted and resumed; the file loads, and has the loss that the run reported.
func TestMethodRuns(t *testing.T) {
	defer kernels.SetThreads(0)
	b := openBase(t, tiny.writeGGUF(t))
	for _, c := range methodCases {
		t.Run(c.name, func(t *testing.T) {
			run := func(opt TrainOptions) ([]byte, *TrainResult) {
				a, err := c.new(b)
				if err != nil {
					t.Fatal(err)
				}
				r, err := Train(context.Background(), b, a, tinyData(24, 1), tinyData(6, 2), opt)
				if err != nil {
					t.Fatal(err)
				}
				return fileBytes(t, opt.Out), r
			}
			options := func() TrainOptions { return trainOptions(filepath.Join(t.TempDir(), "out.safetensors")) }
			whole, result := run(options())
			if *result.EvalLoss > *result.BaseLoss-0.005 {
				t.Errorf("the loss went from %.4f to %.4f", *result.BaseLoss, *result.EvalLoss)
			}
			kernels.SetThreads(1)
			opt := options()
			opt.Recompute = RecomputeAlways
			if file, _ := run(opt); !bytes.Equal(file, whole) {
				t.Error("one thread and recomputed layers give other bytes")
			}
			kernels.SetThreads(0)
			if file := resumed(t, b, c.new, options()); !bytes.Equal(file, whole) {
				t.Error("an interrupted and resumed run gives other bytes")
			}
			checkLoaded(t, b, options(), whole, *result.EvalLoss)
		})
	}
}

// resumed is the file of a run that was interrupted after three steps and resumed.
func resumed(t *testing.T, b *attach.Base, fresh func(b *attach.Base) (*attach.Adapter, error), opt TrainOptions) []byte {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	opt.Progress = func(p Progress) {
		if p.Step == 3 {
			cancel()
		}
	}
	for _, ctx := range []context.Context{ctx, context.Background()} {
		a, err := fresh(b)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Train(ctx, b, a, tinyData(24, 1), tinyData(6, 2), opt)
		var stop *Interrupted
		if errors.As(err, &stop) {
			opt.Resume, opt.Progress = stop.Checkpoint, nil
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if opt.Resume == "" {
		t.Fatal("the run was not interrupted")
	}
	return fileBytes(t, opt.Out)
}

// checkLoaded reads an adapter's file and compares its loss with the one its run reported, through a PEFT directory too.
func checkLoaded(t *testing.T, b *attach.Base, opt TrainOptions, file []byte, want float64) {
	t.Helper()
	if err := os.WriteFile(opt.Out, file, 0o644); err != nil {
		t.Fatal(err)
	}
	a, err := attach.Load(opt.Out)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "adapter")
	if err := a.SaveDir(dir); err != nil {
		t.Fatal(err)
	}
	again, err := attach.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []*attach.Adapter{a, again} {
		got, err := EvalLoss(context.Background(), b, []attach.Scaled{{Adapter: a, Scale: 1}}, tinyData(6, 2), 0)
		if err != nil || math.Abs(got.Loss-want) > 1e-6 {
			t.Errorf("loaded again the adapter has loss %+v, %v, expected %v", got, err, want)
		}
	}
	if a.VirtualTokens() > 0 {
		if _, err := EvalLoss(context.Background(), b, []attach.Scaled{{Adapter: a, Scale: 0.5}}, tinyData(6, 2), 0); err == nil {
			t.Error("virtual tokens take a strength of one half")
		}
		return
	}
	half, err := EvalLoss(context.Background(), b, []attach.Scaled{{Adapter: a, Scale: 0.5}}, tinyData(6, 2), 0)
	if err != nil || half.Loss == want {
		t.Errorf("at half strength the loss is %+v, %v", half, err)
	}
}

// TestMethodGeneration: with a cache the tokens are those of whole forward passes.
func TestMethodGeneration(t *testing.T) {
	b := openBase(t, tiny.writeGGUF(t))
	for _, c := range methodCases {
		t.Run(c.name, func(t *testing.T) {
			a, err := c.new(b)
			if err != nil {
				t.Fatal(err)
			}
			stir(a, 5)
			r, err := Generate(context.Background(), b, []attach.Scaled{{Adapter: a, Scale: 1}}, "the cat", GenerateOptions{N: 8, IgnoreEOG: true}, nil)
			if err != nil {
				t.Fatal(err)
			}
			bound, err := a.Bind(b)
			if err != nil {
				t.Fatal(err)
			}
			ids := attach.PromptIDs(b.Tokenizer, "the cat")
			for i, got := range r.IDs {
				packed := &batch.Batch{}
				packed.Append(ids, nil)
				bound.Expand(packed)
				logits := b.Model.Logits(autograd.NewTape(), packed, bound, []int{packed.Tokens() - 1}).Data
				s := newSampler(GenerateOptions{})
				if want, err := s.next(logits); err != nil || got != want {
					t.Fatalf("token %d is %d, expected %d, %v", i, got, want, err)
				}
				ids = append(ids, got)
			}
		})
	}
}
