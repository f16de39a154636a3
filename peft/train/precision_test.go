package train

import (
	"bytes"
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/method"
)

// autoOptions are three steps in the precision that is chosen.
func autoOptions(out string) Options {
	return Options{Steps: 3, BatchTokens: 160, LR: 1e-3, Precision: PrecisionAuto, Seed: 7, Out: out}
}

// TestAutoPrecision wants int8 over quantized weights at rates that are not high, where the processor has it, and gives
// the reason.
func TestAutoPrecision(t *testing.T) {
	elsewhere := kernels.AutoPrecision().String()
	quantized := elsewhere
	if kernels.HasInt8() {
		quantized = PrecisionInt8
	}
	for _, c := range []struct {
		name   string
		base   func(t *testing.T) *attach.Base
		change func(o *Options)
		want   string
		reason string // with instructions for int8
	}{
		{"quantized", quantizedBase, nil, quantized, "the base is quantized, and over"},
		{"asked for", quantizedBase, func(o *Options) { o.Precision = PrecisionF32 }, PrecisionF32, "as asked for"},
		{"high rate", quantizedBase, func(o *Options) { o.LR = 3e-3 }, elsewhere,
			"like one of 0.003 for a LoRA, and above 0.002"},
		{"float32", floatBase, nil, elsewhere, "the base is not quantized"},
		{"outlier", outlierBase, nil, elsewhere, "above 1 and 2 %"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := c.base(t)
			a, err := methods.NewLoRA(b, method.LoRA{Rank: 4})
			if err != nil {
				t.Fatal(err)
			}
			opt := autoOptions("")
			if c.change != nil {
				c.change(&opt)
			}
			var start Start
			opt.Observer = onBegin{begin: func(s Start) { start = s }}
			r, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), nil, opt)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", start.Chosen)
			if start.Chosen.Precision != c.want || r.Precision != c.want || a.Origin.Training.Precision != c.want {
				t.Errorf("%+v, the result has %s, want %s", start.Chosen, r.Precision, c.want)
			}
			if kernels.HasInt8() && !strings.Contains(start.Chosen.Reason, c.reason) {
				t.Errorf("the reason is %q, want %q", start.Chosen.Reason, c.reason)
			}
		})
	}
}

// onBegin is an Observer of the start.
type onBegin struct {
	Ignore
	begin func(Start)
}

func (o onBegin) Begin(s Start) { o.begin(s) }

func quantizedBase(t *testing.T) *attach.Base { return pefttest.OpenBase(t, pefttest.WriteTinyK(t)) }

func floatBase(t *testing.T) *attach.Base { return pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t)) }

// outlierBase has channels that are thousands of times as large as the others, in whose scale those vanish, and weights
// that make up for it.
func outlierBase(t *testing.T) *attach.Base {
	m := pefttest.TinyK
	m.Edit = func(name string, values []float32) {
		if strings.HasSuffix(name, "_norm.weight") && strings.HasPrefix(name, "blk.") {
			values[5] *= 3000
		}
		if strings.HasPrefix(name, "blk.") && len(values) > m.Width {
			for i := 5; i < len(values); i += m.Width {
				values[i] /= 3000
			}
		}
	}
	return pefttest.OpenBase(t, m.WriteGGUF(t))
}

// TestAutoPrecisionBytes wants the check before the first step to leave no trace: a run for which int8 is chosen writes
// the bytes of one that is told to take it.
func TestAutoPrecisionBytes(t *testing.T) {
	if !kernels.HasInt8() {
		t.Skip("the processor has no instructions for int8")
	}
	b := quantizedBase(t)
	for _, c := range pefttest.MethodCases {
		t.Run(c.Name, func(t *testing.T) {
			var files [2][]byte
			for i, precision := range []string{PrecisionAuto, PrecisionInt8} {
				a, err := c.New(b)
				if err != nil {
					t.Skip(err) // blocks of Q6_K have no offsets
				}
				opt := autoOptions(filepath.Join(t.TempDir(), "out.safetensors"))
				opt.Precision, opt.LR = precision, 1e-3*a.SuggestLR(b)/attach.SuggestLR(b)
				r, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), nil, opt)
				if err != nil {
					t.Fatal(err)
				}
				if r.Precision != PrecisionInt8 {
					t.Fatalf("the precision is %s", r.Precision)
				}
				if files[i], err = os.ReadFile(opt.Out); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(files[0], files[1]) {
				t.Error("the choice changes the bytes")
			}
		})
	}
}

// TestAutoPrecisionResumed wants a run whose precision was chosen to go on with it, whatever would be chosen now.
func TestAutoPrecisionResumed(t *testing.T) {
	b := outlierBase(t)
	run := func(out string, stopAfter int, resume string) ([]byte, error) {
		a, err := methods.NewLoRA(b, method.LoRA{Rank: 4})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		opt := autoOptions(out)
		opt.Resume = resume
		opt.Observer = OnStep(func(p Progress) {
			if p.Step == stopAfter {
				cancel()
			}
		})
		if _, err = trainAdapter(ctx, b, a, pefttest.TinyData(24, 1), nil, opt); err != nil {
			return nil, err
		}
		return os.ReadFile(out)
	}
	whole, err := run(filepath.Join(t.TempDir(), "out.safetensors"), 0, "")
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out.safetensors")
	if _, err := run(out, 1, ""); err == nil {
		t.Fatal("the run was not interrupted")
	}
	resumed, err := run(out, 0, CheckpointPath(out))
	if err != nil || !bytes.Equal(whole, resumed) {
		t.Errorf("the resumed run wrote other bytes, or %v", err)
	}
}

func TestTurned(t *testing.T) {
	for _, c := range []struct {
		x, y []float32
		want float64
	}{
		{[]float32{1, 0}, []float32{2, 0}, 0},
		{[]float32{1, 0}, []float32{0, 3}, 1},
		{[]float32{1, 0}, []float32{-1, 0}, 2},
		{[]float32{0, 0}, []float32{0, 0}, 0},
		{[]float32{0, 0}, []float32{1, 0}, math.NaN()},
	} {
		if got := turned(c.x, c.y); got != c.want && !(math.IsNaN(got) && math.IsNaN(c.want)) {
			t.Errorf("%v and %v: %v, want %v", c.x, c.y, got, c.want)
		}
	}
}
