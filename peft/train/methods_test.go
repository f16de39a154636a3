package train

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
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/eval"
)

// TestMethodGradients compares the gradient of the loss with central differences, tensor by tensor along its own
// direction, over a base with permuted rows and several sequences.
func TestMethodGradients(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	for _, c := range pefttest.MethodCases {
		t.Run(c.Name, func(t *testing.T) {
			a, err := c.New(b)
			if err != nil {
				t.Fatal(err)
			}
			pefttest.Stir(a, 5)
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
				batch := pefttest.Packed(pefttest.TinyData(4, 8))
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
	checkSteps(t, a, bound, 1, loss)
}

// checkSteps is checkDirections with steps that are so many times as long.
func checkSteps(t *testing.T, a *attach.Adapter, bound *attach.Bound, length float64, loss func() float64) {
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
		step := length * min(0.02, 0.005/norm) // where the loss is not linear
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

// TestMethodRuns: for every method the same bytes come out of a run with other threads, with recomputed layers, and of
// one that was interrupted and resumed; the file loads, and has the loss that the run reported. It is measured on what
// was learned: one random text says nothing about another.
func TestMethodRuns(t *testing.T) {
	defer kernels.SetThreads(0)
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	for _, c := range pefttest.MethodCases {
		t.Run(c.Name, func(t *testing.T) {
			run := func(opt Options) ([]byte, *Result) {
				a, err := c.New(b)
				if err != nil {
					t.Fatal(err)
				}
				r, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), pefttest.TinyData(24, 1), plain(opt))
				if err != nil {
					t.Fatal(err)
				}
				return pefttest.FileBytes(t, opt.Out), r
			}
			options := func() Options { return trainOptions(filepath.Join(t.TempDir(), "out.safetensors")) }
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
			if file := resumed(t, b, c.New, options(), pefttest.TinyData(24, 1)); !bytes.Equal(file, whole) {
				t.Error("an interrupted and resumed run gives other bytes")
			}
			checkLoaded(t, b, options(), whole, *result.EvalLoss)
		})
	}
}

// resumed is the file of a run that was interrupted after three steps and resumed.
func resumed(t *testing.T, b *attach.Base, fresh func(b *attach.Base) (*attach.Adapter, error), opt Options,
	eval *attach.Data) []byte {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	opt.Observer = OnStep(func(p Progress) {
		if p.Step == 3 {
			cancel()
		}
	})
	for _, ctx := range []context.Context{ctx, context.Background()} {
		a, err := fresh(b)
		if err != nil {
			t.Fatal(err)
		}
		_, err = trainAdapter(ctx, b, a, pefttest.TinyData(24, 1), eval, plain(opt))
		var stop *Interrupted
		if errors.As(err, &stop) {
			opt.Resume, opt.Observer = stop.Checkpoint, nil
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if opt.Resume == "" {
		t.Fatal("the run was not interrupted")
	}
	return pefttest.FileBytes(t, opt.Out)
}

// checkLoaded reads an adapter's file and compares its loss with the one its run reported, through a PEFT directory
// too.
func checkLoaded(t *testing.T, b *attach.Base, opt Options, file []byte, want float64) {
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
		got, err := eval.Loss(context.Background(), pefttest.Base(b),
			pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), pefttest.Data(pefttest.TinyData(24, 1)), 0)
		if err != nil || math.Abs(got.Loss-want) > 1e-6 {
			t.Errorf("loaded again the adapter has loss %+v, %v, expected %v", got, err, want)
		}
	}
	if a.VirtualTokens() > 0 {
		if _, err := eval.Loss(context.Background(), pefttest.Base(b),
			pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 0.5}}), pefttest.Data(pefttest.TinyData(24, 1)), 0); err == nil {
			t.Error("virtual tokens take a strength of one half")
		}
		return
	}
	half, err := eval.Loss(context.Background(), pefttest.Base(b),
		pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 0.5}}), pefttest.Data(pefttest.TinyData(24, 1)), 0)
	if err != nil || half.Loss == want {
		t.Errorf("at half strength the loss is %+v, %v", half, err)
	}
}
