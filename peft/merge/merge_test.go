package merge

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/quant"
)

// mergeTo merges into a new file or directory of the test.
func mergeTo(t *testing.T, b *attach.Base, opt Options, adapters ...attach.Scaled) (string, *Report) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "merged")
	report, err := run(context.Background(), b, adapters, out, opt)
	if err != nil {
		t.Fatal(err)
	}
	return out, report
}

// TestMergedEqualsAdapter merges into float32 and compares logits with base and adapters: one, and two at once.
func TestMergedEqualsAdapter(t *testing.T) {
	for name, path := range map[string]string{"float32": pefttest.Tiny.WriteGGUF(t), "K types": pefttest.WriteTinyK(t)} {
		b := pefttest.OpenBase(t, path)
		one := attach.Scaled{Adapter: pefttest.Trained(t, b, method.LoRA{Rank: 4, Seed: 1}), Scale: 1}
		two := attach.Scaled{Adapter: pefttest.Trained(t, b,
			method.LoRA{Rank: 2, Seed: 2, Targets: []string{"q_proj", "ffn"}, Layers: "1"}), Scale: -0.5}
		seq := pefttest.Packed(pefttest.TinyData(4, 1))
		for _, adapters := range [][]attach.Scaled{{one}, {one, two}} {
			out, report := mergeTo(t, b, Options{Type: "F32"}, adapters...)
			hooks, err := attach.BindAll(b, adapters)
			if err != nil {
				t.Fatal(err)
			}
			got := pefttest.AllLogits(pefttest.OpenBase(t, out), model.NoHooks{}, seq)
			if err := pefttest.Relative(got, pefttest.AllLogits(b, hooks, seq)); err > 1e-5 {
				t.Errorf("%s, %d adapters: logits differ by %.2g", name, len(adapters), err)
			}
			if math.Abs(report.Recovery-1) > 1e-4 {
				t.Errorf("%s: recovery %v", name, report.Recovery)
			}
		}
	}
}

// TestMergeKeepsTheRest: untouched tensors byte for byte, the types of the others, metadata in order.
func TestMergeKeepsTheRest(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	a := pefttest.Trained(t, b, method.LoRA{Targets: []string{"v_proj", "up_proj"}, Layers: "0"})
	out, report := mergeTo(t, b, Options{}, attach.Scaled{Adapter: a, Scale: 1})
	merged, err := gguf.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer merged.Close()
	touched := []string{"blk.0.attn_v.weight", "blk.0.ffn_up.weight"}
	for i, was := range b.GGUF.Tensors {
		is := merged.Tensors[i]
		if is.Name != was.Name || is.Type != was.Type || !slices.Equal(is.Shape, was.Shape) {
			t.Errorf("tensor %d is %s %v %v, expected %s %v %v", i, is.Name, is.Type, is.Shape, was.Name, was.Type, was.Shape)
		}
		if same := bytes.Equal(is.Bytes(), was.Bytes()); same == slices.Contains(touched, was.Name) {
			t.Errorf("%s: same bytes is %v", was.Name, same)
		}
	}
	checkMergeRecord(t, b, a, merged)
	if report.Copied != len(merged.Tensors)-2 || len(report.Tensors) != 2 {
		t.Fatalf("report has %d copied tensors and %+v", report.Copied, report.Tensors)
	}
	for i, want := range []Tensor{{Name: touched[0], Type: "Q6_K"}, {Name: touched[1], Type: "Q4_K"}} {
		got := report.Tensors[i]
		if got.Name != want.Name || got.Type != want.Type || got.Little != (got.Recovery < 0.5) {
			t.Errorf("report has %+v, expected %+v", got, want)
		}
	}
}

// checkMergeRecord compares metadata: the base's in order, then the record.
func checkMergeRecord(t *testing.T, b *attach.Base, a *attach.Adapter, merged *gguf.File) {
	t.Helper()
	var keys []string
	for key, value := range b.GGUF.Meta.All() {
		keys = append(keys, key)
		if got, ok := merged.Meta.Get(key); !ok || !got.Equal(value) {
			t.Errorf("metadata %s is %v, expected %v", key, got, value)
		}
	}
	keys = append(keys, attach.MergeVersion, attach.MergeBaseSHA256, attach.MergeMethods, attach.MergeAdapters,
		attach.MergeScales)
	var got []string
	for key := range merged.Meta.All() {
		got = append(got, key)
	}
	if !slices.Equal(got, keys) {
		t.Errorf("metadata has %q, expected %q", got, keys)
	}
	if sum, _ := merged.Meta.String(attach.MergeBaseSHA256); sum != a.Origin.BaseSHA256 {
		t.Errorf("the record names base %q, expected %q", sum, a.Origin.BaseSHA256)
	}
}

// TestMergeRounds does one tensor by hand: dequantize, add, quantize.
func TestMergeRounds(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	a := pefttest.Trained(t, b, method.LoRA{Targets: []string{"k_proj"}, Layers: "1"})
	out, report := mergeTo(t, b, Options{Rounding: RoundRequantize}, attach.Scaled{Adapter: a, Scale: 2})
	bound, err := a.Attach(b, 2, false)
	if err != nil {
		t.Fatal(err)
	}
	l := b.Model.Layers[1].Linear(arch.Key)
	x, want := make([]float32, l.W.Rows*l.W.Cols), make([]byte, len(l.W.Data))
	quant.Dequantize(l.W.Type, x, l.W.Data)
	old := slices.Clone(x)
	change := make([]float32, len(x))
	bound.Changes()[l].AddRows(change, 0, l.W.Rows)
	kernels.Add(x, change)
	quant.Quantize(l.W.Type, want, x, l.W.Cols, nil)
	merged := pefttest.OpenBase(t, out)
	if !bytes.Equal(merged.Model.Layers[1].Linear(arch.Key).W.Data, want) {
		t.Error("the merged tensor has other bytes")
	}
	quant.Dequantize(l.W.Type, x, want)
	s := compareRows(requant.Rows{Old: old, Change: change, New: x})
	if got := report.Tensors[0]; math.Abs(got.Recovery-s.recovery()) > 1e-9 || math.Abs(got.Noise-s.noise()) > 1e-9 {
		t.Errorf("report has %+v, expected %v and %v", got, s.recovery(), s.noise())
	}
}

// TestCompareRows has sums that can be seen: of a change of (2, 0, -1) there is (2, 1, 0).
func TestCompareRows(t *testing.T) {
	s := compareRows(requant.Rows{Old: []float32{1, 1, 1}, Change: []float32{2, 0, -1}, New: []float32{3, 2, 1}})
	if s != (mergeStats{want: 5, got: 4, miss: 2}) {
		t.Errorf("sums are %+v", s)
	}
	if got := s.recovery(); got != 0.8 {
		t.Errorf("recovery is %v", got)
	}
	nothing := compareRows(requant.Rows{Old: []float32{1}, Change: []float32{0}, New: []float32{1}})
	if nothing.recovery() != 1 || nothing.noise() != 0 {
		t.Errorf("of nothing %v is there, noise %v", nothing.recovery(), nothing.noise())
	}
}

// TestMergeWarns: quantizing from scratch to Q4_K loses nearly all of a small change, and the report says so.
func TestMergeWarns(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	a := pefttest.Trained(t, b, method.LoRA{Targets: []string{"up_proj"}})
	_, report := mergeTo(t, b, Options{Rounding: RoundRequantize}, attach.Scaled{Adapter: a, Scale: 0.01})
	for _, tensor := range report.Tensors {
		if !tensor.Little || tensor.Recovery > 0.5 {
			t.Errorf("%+v is not called little", tensor)
		}
	}
	_, report = mergeTo(t, b, Options{Type: "Q8_0"}, attach.Scaled{Adapter: a, Scale: 1})
	for _, tensor := range report.Tensors {
		if tensor.Little || tensor.Type != "Q8_0" || math.Abs(tensor.Recovery-1) > 0.05 {
			t.Errorf("%+v: expected most of it in Q8_0", tensor)
		}
	}
}

// TestMergeType sets general.file_type with the type.
func TestMergeType(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	out, _ := mergeTo(t, b, Options{Type: "q8_0"},
		attach.Scaled{Adapter: pefttest.Trained(t, b, method.LoRA{Targets: []string{"up_proj"}}), Scale: 1})
	if got, _ := pefttest.OpenBase(t, out).GGUF.Meta.Uint("general.file_type"); got != 7 {
		t.Errorf("general.file_type is %d, expected 7", got)
	}
}

// TestMergeThreads: the number of threads changes neither bytes nor report.
func TestMergeThreads(t *testing.T) {
	defer kernels.SetThreads(0)
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	a := pefttest.Trained(t, b, method.LoRA{})
	var files [2][]byte
	var reports [2]*Report
	for i := range files {
		kernels.SetThreads(1 + 2*i)
		var out string
		out, reports[i] = mergeTo(t, b, Options{}, attach.Scaled{Adapter: a, Scale: 1})
		files[i] = pefttest.FileBytes(t, out)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("three threads write other bytes than one")
	}
	if !slices.Equal(reports[0].Tensors, reports[1].Tensors) {
		t.Error("three threads report other figures than one")
	}
}

// TestMergeHF merges into directories of one and of three shards.
func TestMergeHF(t *testing.T) {
	for _, shards := range []int{1, 3} {
		dir := pefttest.Tiny.WriteHF(t, gguf.BF16, shards)
		if err := os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("words"), 0o644); err != nil {
			t.Fatal(err)
		}
		b := pefttest.OpenBase(t, dir)
		a := pefttest.Trained(t, b, method.LoRA{Targets: []string{"attention"}})
		out, report := mergeTo(t, b, Options{}, attach.Scaled{Adapter: a, Scale: 1})
		was, is := pefttest.OpenTensors(t, dir), pefttest.OpenTensors(t, out)
		for _, old := range was.Tensors {
			now := is.Tensor(old.Name)
			if now == nil || now.DType != old.DType {
				t.Fatalf("tensor %s became %+v", old.Name, now)
			}
			if same := bytes.Equal(now.Bytes(), old.Bytes()); same == strings.Contains(old.Name, "self_attn") {
				t.Errorf("%s: same bytes is %v", old.Name, same)
			}
		}
		if report.Recovery < 0.9 || report.Copied+len(report.Tensors) != len(was.Tensors) {
			t.Errorf("report has %d copied tensors, %d others, recovery %v", report.Copied, len(report.Tensors), report.Recovery)
		}
		if string(pefttest.FileBytes(t, filepath.Join(out, "notes.txt"))) != "words" {
			t.Error("notes.txt was not copied")
		}
		checkHFLogits(t, b, out, a)
	}
}

// checkHFLogits compares a merge into float32 with base and adapter.
func checkHFLogits(t *testing.T, b *attach.Base, bf16 string, a *attach.Adapter) {
	t.Helper()
	seq := pefttest.Packed(pefttest.TinyData(4, 1))
	bound, err := a.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	want := pefttest.AllLogits(b, bound, seq)
	out, _ := mergeTo(t, b, Options{Type: "F32"}, attach.Scaled{Adapter: a, Scale: 1})
	if err := pefttest.Relative(pefttest.AllLogits(pefttest.OpenBase(t, out), model.NoHooks{}, seq), want); err > 1e-5 {
		t.Errorf("merged to float32 the logits differ by %.2g", err)
	}
	if err := pefttest.Relative(pefttest.AllLogits(pefttest.OpenBase(t, bf16), model.NoHooks{}, seq), want); err > 0.05 {
		t.Errorf("merged to bfloat16 the logits differ by %.2g", err)
	}
}

// TestMergeRefused asks for what cannot be done; nothing may be left of the output.
func TestMergeRefused(t *testing.T) {
	poisoned := pefttest.Tiny
	poisoned.Edit = func(name string, x []float32) {
		if name == "blk.1.ffn_up.weight" {
			x[70] = float32(math.NaN())
		}
	}
	other := pefttest.Tiny
	other.Edit = func(name string, x []float32) { x[0]++ }
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a := pefttest.Trained(t, b, method.LoRA{})
	for name, test := range map[string]struct {
		base   *attach.Base
		opt    Options
		scale  float64
		reason string
	}{
		"a NaN in a touched tensor": {pefttest.OpenBase(t, poisoned.WriteGGUF(t)), Options{Force: true}, 1,
			"blk.1.ffn_up.weight is NaN in row 2, column 6"},
		"another base":            {pefttest.OpenBase(t, other.WriteGGUF(t)), Options{}, 1, a.Origin.BaseSHA256},
		"no such type":            {b, Options{Type: "Q4_X"}, 1, `"Q4_X"`},
		"a type of whole numbers": {b, Options{Type: "I32"}, 1, "I32 cannot be written"},
		"an infinite scale":       {b, Options{}, math.Inf(1), "not finite"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := run(context.Background(), test.base, []attach.Scaled{{Adapter: a, Scale: test.scale}},
				filepath.Join(dir, "out.gguf"), test.opt)
			if err == nil || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("error %v, expected one with %q", err, test.reason)
			}
			pefttest.CheckEmpty(t, dir)
		})
	}
	if _, err := run(context.Background(), pefttest.OpenBase(t, other.WriteGGUF(t)),
		[]attach.Scaled{{Adapter: a, Scale: 1}}, filepath.Join(t.TempDir(), "out"), Options{Force: true}); err != nil {
		t.Errorf("forced into another base: %v", err)
	}
	if _, err := run(context.Background(), b, []attach.Scaled{{Adapter: a, Scale: 1}}, b.Path, Options{}); err == nil ||
		!strings.Contains(err.Error(), "replace its base") {
		t.Errorf("merged over the base: %v", err)
	}
	if _, err := run(context.Background(), b, nil, "out", Options{}); err == nil {
		t.Error("merged nothing")
	}
}

// TestMergeHFRefused does the same for a directory.
func TestMergeHFRefused(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteHF(t, gguf.F16, 2))
	a := pefttest.Trained(t, b, method.LoRA{})
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	for name, test := range map[string]struct {
		out, typ string
		ctx      context.Context
		reason   string
	}{
		"a type of GGUF":              {out, "Q8_0", context.Background(), "safetensors has no type Q8_0"},
		"over the base":               {b.Path, "", context.Background(), "replace its base"},
		"into a directory with files": {filepath.Dir(filepath.Dir(dir)), "", context.Background(), "not empty"},
		"cancelled":                   {out, "", pefttest.Cancelled(), context.Canceled.Error()},
	} {
		if _, err := run(test.ctx, b, []attach.Scaled{{Adapter: a, Scale: 1}}, test.out,
			Options{Type: test.typ}); err == nil || !strings.Contains(err.Error(), test.reason) {
			t.Errorf("%s: error %v, expected one with %q", name, err, test.reason)
		}
	}
	pefttest.CheckEmpty(t, dir)
}

// TestMergeCancelled stops in the middle.
func TestMergeCancelled(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	stop := func(p Progress) {
		if p.Bytes <= 0 || p.Bytes > p.Size {
			t.Errorf("%d of %d bytes are written", p.Bytes, p.Size)
		}
		if strings.Contains(p.Tensor, "blk.0.ffn_up") {
			cancel()
		}
	}
	_, err := run(ctx, b, []attach.Scaled{{Adapter: pefttest.Trained(t, b, method.LoRA{}), Scale: 1}},
		filepath.Join(dir, "out.gguf"), Options{Progress: stop})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	pefttest.CheckEmpty(t, dir)
}
