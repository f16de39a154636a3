package merge

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/calibrate"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/method"
)

// TestMergeMeasures: on the calibration data the logits of a compensated merge are nearer to those of the adapter than
// those of a stochastically rounded one, in every kind of block, if only a little where changes are much smaller than
// steps; those of a descent are nearer still in fine steps, and auto takes what is nearest.
func TestMergeMeasures(t *testing.T) {
	set := pefttest.TinyData(40, 5)
	for _, typ := range []gguf.Type{gguf.Q4_0, gguf.Q2_K, gguf.Q6_K, gguf.IQ4_XS, gguf.Q8_0} {
		b := pefttest.OpenBase(t, pefttest.BlocksIn(typ).WriteGGUF(t))
		adapters := []attach.Scaled{{Adapter: pefttest.Trained(t, b, method.LoRA{Rank: 2}), Scale: 0.3}}
		hooks, err := attach.BindAll(b, adapters)
		if err != nil {
			t.Fatal(err)
		}
		want := pefttest.AllLogits(b, hooks, pefttest.Packed(set))
		miss := map[string]float64{}
		for _, rounding := range []string{RoundDither, RoundCompensate, RoundDescent, RoundAuto} {
			opt := Options{Rounding: rounding}
			if rounding != RoundDither {
				opt.Calibration = pefttest.Data(set)
			}
			out, report := mergeTo(t, b, opt, adapters...)
			miss[rounding] = pefttest.Relative(pefttest.AllLogits(pefttest.OpenBase(t, out), model.NoHooks{},
				pefttest.Packed(set)), want)
			if got := report.Tensors[0].Rounding; got == RoundAuto || rounding == RoundCompensate && got != rounding {
				t.Errorf("%v, %s: rounded by %s", typ, rounding, got)
			}
		}
		least := min(miss[RoundCompensate], miss[RoundDescent])
		if miss[RoundCompensate] > 0.99*miss[RoundDither] || miss[RoundAuto] > 1.05*least {
			t.Errorf("%v: logits are off by %v", typ, miss)
		}
		if typ == gguf.Q6_K && miss[RoundDescent] > 0.9*miss[RoundCompensate] {
			t.Errorf("%v: a descent is no better: logits are off by %v", typ, miss)
		}
	}
}

// TestMergePoints: an adapter is merged into blocks of lattice points without an importance matrix, where there are
// calibration data; a large part of what it does is kept.
func TestMergePoints(t *testing.T) {
	set := pefttest.TinyData(40, 5)
	b := pefttest.OpenBase(t, pefttest.BlocksIn(gguf.IQ2_XS).WriteGGUF(t))
	a := attach.Scaled{Adapter: pefttest.Trained(t, b, method.LoRA{Rank: 2}), Scale: 4}
	hooks, err := attach.BindAll(b, []attach.Scaled{a})
	if err != nil {
		t.Fatal(err)
	}
	want := pefttest.AllLogits(b, hooks, pefttest.Packed(set))
	base := pefttest.Relative(pefttest.AllLogits(b, model.NoHooks{}, pefttest.Packed(set)), want)
	out, report := mergeTo(t, b, Options{Calibration: pefttest.Data(set)}, a)
	got := pefttest.Relative(pefttest.AllLogits(pefttest.OpenBase(t, out), model.NoHooks{}, pefttest.Packed(set)), want)
	t.Logf("logits of the base are off by %.3f, of the merged file by %.3f: %s", base, got, report.Tensors[0].Rounding)
	if got > 0.5*base {
		t.Errorf("logits are off by %.3f, those of the base by %.3f", got, base)
	}
	for _, rounding := range []string{RoundAuto, RoundCompensate} {
		opt := Options{Rounding: rounding, Force: true}
		if rounding == RoundCompensate {
			opt.Calibration = pefttest.Data(set)
		}
		if _, err := run(context.Background(), b, []attach.Scaled{a}, filepath.Join(t.TempDir(), "x.gguf"),
			opt); err == nil {
			t.Errorf("%s: points are chosen without anything to choose them by", rounding)
		}
	}
}

// TestMergeCompensatesAlike: the bytes do not depend on the number of threads, nor on the order of the tensors in the
// file.
func TestMergeCompensatesAlike(t *testing.T) {
	m := pefttest.BlocksIn(gguf.Q4_K)
	m.Layers = 2
	b := pefttest.OpenBase(t, m.WriteGGUF(t))
	a := pefttest.Trained(t, b, method.LoRA{Rank: 2})
	opt := Options{Calibration: pefttest.Data(pefttest.TinyData(40, 5))}
	defer kernels.SetThreads(0)
	var first []byte
	for _, threads := range []int{1, 3} {
		kernels.SetThreads(threads)
		out, _ := mergeTo(t, b, opt, attach.Scaled{Adapter: a, Scale: 1})
		if data := pefttest.FileBytes(t, out); first == nil {
			first = data
		} else if !bytes.Equal(data, first) {
			t.Error("one thread and three write different files")
		}
	}
	slices.Reverse(b.GGUF.Tensors)
	defer slices.Reverse(b.GGUF.Tensors)
	out, _ := mergeTo(t, b, opt, attach.Scaled{Adapter: a, Scale: 1})
	reversed, straight := pefttest.OpenBase(t, out), pefttest.OpenBase(t, writeBytes(t, first))
	for i, l := range straight.Model.Linears() {
		if !bytes.Equal(l.W.Data, reversed.Model.Linears()[i].W.Data) {
			t.Errorf("%s depends on the order of the tensors", l.Tensor)
		}
	}
}

// writeBytes writes a file and gives its path.
func writeBytes(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMergeCalibrationRefused: data that are missing, or that the base cannot read, are errors; tensors whose weights
// have no codes of their own are rounded in another way.
func TestMergeCalibrationRefused(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.BlocksIn(gguf.F16).WriteGGUF(t))
	a := attach.Scaled{Adapter: pefttest.Trained(t, b, method.LoRA{Rank: 2}), Scale: 1}
	for name, set := range map[string]*attach.Data{
		"none": nil, "unknown ids": {Examples: []attach.Example{{IDs: []int32{1, 1 << 20}}}}, "no example": {},
	} {
		b := pefttest.OpenBase(t, pefttest.BlocksIn(gguf.Q4_0).WriteGGUF(t))
		out := filepath.Join(t.TempDir(), "out.gguf")
		if _, err := run(context.Background(), b, []attach.Scaled{a}, out,
			Options{Rounding: RoundCompensate, Calibration: pefttest.Data(set), Force: true}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	_, report := mergeTo(t, b, Options{Rounding: RoundCompensate, Calibration: pefttest.Data(pefttest.TinyData(4, 1))}, a)
	if got := report.Tensors[0].Rounding; got != RoundRequantize {
		t.Errorf("F16 is rounded by %s", got)
	}
}

// TestSpread: examples are taken from all over a set, no more than are needed.
func TestSpread(t *testing.T) {
	set := pefttest.TinyData(100, 1)
	all, some := calibrate.Spread(set, 1<<20), calibrate.Spread(set, set.Tokens()/4)
	if len(all) != 100 || len(some) < 20 || len(some) > 25 || some[0] != 0 || some[len(some)-1] < 90 {
		t.Errorf("of 100 examples %d and %d are taken: %v", len(all), len(some), some)
	}
}
