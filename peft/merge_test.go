package peft

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
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// merge merges into a new file or directory of the test.
func merge(t *testing.T, b *Base, opt MergeOptions, adapters ...Scaled) (string, *MergeReport) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "merged")
	report, err := Merge(context.Background(), b, adapters, out, opt)
	if err != nil {
		t.Fatal(err)
	}
	return out, report
}

// TestMergedEqualsAdapter merges into float32 and compares logits with base and adapters: one, and two at once.
func TestMergedEqualsAdapter(t *testing.T) {
	for name, path := range map[string]string{"float32": tiny.writeGGUF(t), "K types": writeTinyK(t)} {
		b := openBase(t, path)
		one := Scaled{trained(t, b, LoRAOptions{Rank: 4, Seed: 1}), 1}
		two := Scaled{trained(t, b, LoRAOptions{Rank: 2, Seed: 2, Targets: []string{"q_proj", "ffn"}, Layers: "1"}), -0.5}
		seq := packed(tinyData(4, 1))
		for _, adapters := range [][]Scaled{{one}, {one, two}} {
			out, report := merge(t, b, MergeOptions{Type: "F32"}, adapters...)
			hooks, err := bindAll(b, adapters)
			if err != nil {
				t.Fatal(err)
			}
			got := allLogits(openBase(t, out), model.NoHooks{}, seq)
			if err := relative(got, allLogits(b, hooks, seq)); err > 1e-5 {
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
	b := openBase(t, writeTinyK(t))
	a := trained(t, b, LoRAOptions{Targets: []string{"v_proj", "up_proj"}, Layers: "0"})
	out, report := merge(t, b, MergeOptions{}, Scaled{a, 1})
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
	for i, want := range []MergedTensor{{Name: touched[0], Type: "Q6_K"}, {Name: touched[1], Type: "Q4_K"}} {
		got := report.Tensors[i]
		if got.Name != want.Name || got.Type != want.Type || got.Little != (got.Recovery < 0.5) {
			t.Errorf("report has %+v, expected %+v", got, want)
		}
	}
}

// checkMergeRecord compares metadata: the base's in order, then the record.
func checkMergeRecord(t *testing.T, b *Base, a *Adapter, merged *gguf.File) {
	t.Helper()
	var keys []string
	for key, value := range b.GGUF.Meta.All() {
		keys = append(keys, key)
		if got, ok := merged.Meta.Get(key); !ok || !got.Equal(value) {
			t.Errorf("metadata %s is %v, expected %v", key, got, value)
		}
	}
	keys = append(keys, mergeVersion, mergeBaseSHA256, mergeMethods, mergeAdapters, mergeScales)
	var got []string
	for key := range merged.Meta.All() {
		got = append(got, key)
	}
	if !slices.Equal(got, keys) {
		t.Errorf("metadata has %q, expected %q", got, keys)
	}
	if sum, _ := merged.Meta.String(mergeBaseSHA256); sum != a.Origin.BaseSHA256 {
		t.Errorf("the record names base %q, expected %q", sum, a.Origin.BaseSHA256)
	}
}

// TestMergeRounds does one tensor by hand: dequantize, add, quantize.
func TestMergeRounds(t *testing.T) {
	b := openBase(t, writeTinyK(t))
	a := trained(t, b, LoRAOptions{Targets: []string{"k_proj"}, Layers: "1"})
	out, report := merge(t, b, MergeOptions{Rounding: RoundRequantize}, Scaled{a, 2})
	bound, err := a.bind(b, 2, false)
	if err != nil {
		t.Fatal(err)
	}
	l := b.Model.Layers[1].Linear(arch.Key)
	x, want := make([]float32, l.W.Rows*l.W.Cols), make([]byte, len(l.W.Data))
	quant.Dequantize(l.W.Type, x, l.W.Data)
	old := slices.Clone(x)
	change := make([]float32, len(x))
	bound.deltas()[l].addRows(change, 0, l.W.Rows)
	kernels.Add(x, change)
	quant.Quantize(l.W.Type, want, x, l.W.Cols, nil)
	merged := openBase(t, out)
	if !bytes.Equal(merged.Model.Layers[1].Linear(arch.Key).W.Data, want) {
		t.Error("the merged tensor has other bytes")
	}
	quant.Dequantize(l.W.Type, x, want)
	s := compareRows(old, change, x)
	if got := report.Tensors[0]; math.Abs(got.Recovery-s.recovery()) > 1e-9 || math.Abs(got.Noise-s.noise()) > 1e-9 {
		t.Errorf("report has %+v, expected %v and %v", got, s.recovery(), s.noise())
	}
}

// TestCompareRows has sums that can be seen: of a change of (2, 0, -1) there is (2, 1, 0).
func TestCompareRows(t *testing.T) {
	s := compareRows([]float32{1, 1, 1}, []float32{2, 0, -1}, []float32{3, 2, 1})
	if s != (mergeStats{want: 5, got: 4, miss: 2}) {
		t.Errorf("sums are %+v", s)
	}
	if got := s.recovery(); got != 0.8 {
		t.Errorf("recovery is %v", got)
	}
	nothing := compareRows([]float32{1}, []float32{0}, []float32{1})
	if nothing.recovery() != 1 || nothing.noise() != 0 {
		t.Errorf("of nothing %v is there, noise %v", nothing.recovery(), nothing.noise())
	}
}

// TestMergeWarns: quantized anew to Q4_K nearly nothing of a small change is left, and the report says so.
func TestMergeWarns(t *testing.T) {
	b := openBase(t, writeTinyK(t))
	a := trained(t, b, LoRAOptions{Targets: []string{"up_proj"}})
	_, report := merge(t, b, MergeOptions{Rounding: RoundRequantize}, Scaled{a, 0.01})
	for _, tensor := range report.Tensors {
		if !tensor.Little || tensor.Recovery > 0.5 {
			t.Errorf("%+v is not called little", tensor)
		}
	}
	_, report = merge(t, b, MergeOptions{Type: "Q8_0"}, Scaled{a, 1})
	for _, tensor := range report.Tensors {
		if tensor.Little || tensor.Type != "Q8_0" || math.Abs(tensor.Recovery-1) > 0.05 {
			t.Errorf("%+v: expected nearly all of it in Q8_0", tensor)
		}
	}
}

// TestMergeType sets general.file_type with the type.
func TestMergeType(t *testing.T) {
	b := openBase(t, writeTinyK(t))
	out, _ := merge(t, b, MergeOptions{Type: "q8_0"}, Scaled{trained(t, b, LoRAOptions{Targets: []string{"up_proj"}}), 1})
	if got, _ := openBase(t, out).GGUF.Meta.Uint("general.file_type"); got != 7 {
		t.Errorf("general.file_type is %d, expected 7", got)
	}
}

// TestMergeThreads: the number of threads changes neither bytes nor report.
func TestMergeThreads(t *testing.T) {
	defer kernels.SetThreads(0)
	b := openBase(t, writeTinyK(t))
	a := trained(t, b, LoRAOptions{})
	var files [2][]byte
	var reports [2]*MergeReport
	for i := range files {
		kernels.SetThreads(1 + 2*i)
		var out string
		out, reports[i] = merge(t, b, MergeOptions{}, Scaled{a, 1})
		files[i] = fileBytes(t, out)
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
		dir := tiny.writeHF(t, gguf.BF16, shards)
		if err := os.WriteFile(filepath.Join(dir, "tokenizer.model"), []byte("words"), 0o644); err != nil {
			t.Fatal(err)
		}
		b := openBase(t, dir)
		a := trained(t, b, LoRAOptions{Targets: []string{"attention"}})
		out, report := merge(t, b, MergeOptions{}, Scaled{a, 1})
		was, is := openTensors(t, dir), openTensors(t, out)
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
		if string(fileBytes(t, filepath.Join(out, "tokenizer.model"))) != "words" {
			t.Error("tokenizer.model was not copied")
		}
		checkHFLogits(t, b, out, a)
	}
}

// checkHFLogits compares a merge into float32 with base and adapter.
func checkHFLogits(t *testing.T, b *Base, bf16 string, a *Adapter) {
	t.Helper()
	seq := packed(tinyData(4, 1))
	bound, err := a.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	want := allLogits(b, bound, seq)
	out, _ := merge(t, b, MergeOptions{Type: "F32"}, Scaled{a, 1})
	if err := relative(allLogits(openBase(t, out), model.NoHooks{}, seq), want); err > 1e-5 {
		t.Errorf("merged to float32 the logits differ by %.2g", err)
	}
	if err := relative(allLogits(openBase(t, bf16), model.NoHooks{}, seq), want); err > 0.05 {
		t.Errorf("merged to bfloat16 the logits differ by %.2g", err)
	}
}

// TestMergeRefused asks for what cannot be done; nothing may be left of the output.
func TestMergeRefused(t *testing.T) {
	poisoned := tiny
	poisoned.edit = func(name string, x []float32) {
		if name == "blk.1.ffn_up.weight" {
			x[70] = float32(math.NaN())
		}
	}
	other := tiny
	other.edit = func(name string, x []float32) { x[0]++ }
	b := openBase(t, tiny.writeGGUF(t))
	a := trained(t, b, LoRAOptions{})
	for name, test := range map[string]struct {
		base   *Base
		opt    MergeOptions
		scale  float64
		reason string
	}{
		"a NaN in a touched tensor": {openBase(t, poisoned.writeGGUF(t)), MergeOptions{Force: true}, 1, "blk.1.ffn_up.weight is NaN in row 2, column 6"},
		"another base":              {openBase(t, other.writeGGUF(t)), MergeOptions{}, 1, a.Origin.BaseSHA256},
		"no such type":              {b, MergeOptions{Type: "Q4_X"}, 1, `"Q4_X"`},
		"a type that does not fit":  {b, MergeOptions{Type: "Q4_K"}, 1, "blk.0.attn_q.weight has rows of 32 weights"},
		"a type of whole numbers":   {b, MergeOptions{Type: "I32"}, 1, "I32 cannot be written"},
		"an infinite scale":         {b, MergeOptions{}, math.Inf(1), "not finite"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := Merge(context.Background(), test.base, []Scaled{{a, test.scale}}, filepath.Join(dir, "out.gguf"), test.opt)
			if err == nil || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("error %v, expected one with %q", err, test.reason)
			}
			checkEmpty(t, dir)
		})
	}
	if _, err := Merge(context.Background(), openBase(t, other.writeGGUF(t)), []Scaled{{a, 1}}, filepath.Join(t.TempDir(), "out"), MergeOptions{Force: true}); err != nil {
		t.Errorf("forced into another base: %v", err)
	}
	if _, err := Merge(context.Background(), b, []Scaled{{a, 1}}, b.Path, MergeOptions{}); err == nil || !strings.Contains(err.Error(), "replace its base") {
		t.Errorf("merged over the base: %v", err)
	}
	if _, err := Merge(context.Background(), b, nil, "out", MergeOptions{}); err == nil {
		t.Error("merged nothing")
	}
}

// checkEmpty reports what is left in a directory.
func checkEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("there is left %v, %v", entries, err)
	}
}

// TestMergeHFRefused does the same for a directory.
func TestMergeHFRefused(t *testing.T) {
	b := openBase(t, tiny.writeHF(t, gguf.F16, 2))
	a := trained(t, b, LoRAOptions{})
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
		"cancelled":                   {out, "", cancelled(), context.Canceled.Error()},
	} {
		if _, err := Merge(test.ctx, b, []Scaled{{a, 1}}, test.out, MergeOptions{Type: test.typ}); err == nil || !strings.Contains(err.Error(), test.reason) {
			t.Errorf("%s: error %v, expected one with %q", name, err, test.reason)
		}
	}
	checkEmpty(t, dir)
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestMergeCancelled stops in the middle.
func TestMergeCancelled(t *testing.T) {
	b := openBase(t, writeTinyK(t))
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	stop := func(p MergeProgress) {
		if p.Bytes <= 0 || p.Bytes > p.Size {
			t.Errorf("%d of %d bytes are written", p.Bytes, p.Size)
		}
		if strings.Contains(p.Tensor, "blk.0.ffn_up") {
			cancel()
		}
	}
	_, err := Merge(ctx, b, []Scaled{{trained(t, b, LoRAOptions{}), 1}}, filepath.Join(dir, "out.gguf"), MergeOptions{Progress: stop})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	checkEmpty(t, dir)
}
