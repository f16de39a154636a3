package quantize

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/modeltest"
	"github.com/peftconv/peftconv/kernels"
)

// file is a sample's file.
func (m sample) file(t testing.TB, typ gguf.Type) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.gguf")
	m.write(t, path, typ)
	return path
}

// TestInputTypes: the same weights in F32, F16 and BF16 give the same file.
func TestInputTypes(t *testing.T) {
	for _, name := range []string{"Q4_K_M", "IQ4_XS", "Q8_0", "TQ1_0"} {
		var first []byte
		for _, typ := range []gguf.Type{gguf.F32, gguf.F16, gguf.BF16} {
			data := quantizeFile(t, samples[0].file(t, typ), Options{Type: fileType(t, name)})
			if first == nil {
				first = data
			}
			if !bytes.Equal(data, first) {
				t.Errorf("%s of %v differs from that of F32", name, typ)
			}
		}
	}
}

func TestThreads(t *testing.T) {
	defer kernels.SetThreads(0)
	wide := sample{name: "wide", arch: "llama", layers: 2, heads: 4, keys: 4, experts: 8, width: 2048, ffn: 1 << 17}
	in := wide.file(t, gguf.F16)
	var first []byte
	for _, threads := range []int{1, 2, 5} {
		kernels.SetThreads(threads)
		data := quantizeFile(t, in, Options{Type: fileType(t, "Q4_0")})
		if first == nil {
			first = data
		}
		if !bytes.Equal(data, first) {
			t.Errorf("%d threads give another file than one", threads)
		}
	}
}

// TestBigEndian: the byte order of the input does not show in the output.
func TestBigEndian(t *testing.T) {
	in := samples[0].file(t, gguf.F16)
	f, err := gguf.Open(in)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	swapped := filepath.Join(t.TempDir(), "big.gguf")
	writeSwapped(t, f, swapped)
	for _, name := range []string{"Q4_K_M", "F32", "F16"} {
		opt := Options{Type: fileType(t, name)}
		if !bytes.Equal(quantizeFile(t, in, opt), quantizeFile(t, swapped, opt)) {
			t.Errorf("%s of a big-endian file differs", name)
		}
	}
}

func writeSwapped(t *testing.T, f *gguf.File, path string) {
	t.Helper()
	var file bytes.Buffer
	w, err := gguf.NewWriterFormat(&file, f.Meta, f.Table(), gguf.Format{Version: 3, Order: binary.BigEndian})
	if err != nil {
		t.Fatal(err)
	}
	for _, tensor := range f.Tensors {
		data := bytes.Clone(tensor.Bytes())
		if err := gguf.SwapBytes(tensor.Type, data); err != nil {
			t.Fatal(err)
		}
		if err := w.WriteTensor(tensor.Name, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// split writes a model as three files.
func split(t *testing.T, path string) string {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	prefix := strings.TrimSuffix(path, ".gguf")
	table := f.Table()
	third := len(table)/3 + 1
	parts := gguf.Split(table, f.Alignment, third, 0)
	for i, part := range parts {
		meta, err := gguf.SplitMetadata(f.Meta, i, len(parts), len(table))
		if err != nil {
			t.Fatal(err)
		}
		var file bytes.Buffer
		w, err := gguf.NewWriter(&file, meta, part)
		if err != nil {
			t.Fatal(err)
		}
		for j := range part {
			if err := w.WriteTensor(part[j].Name, part[j].Bytes()); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(gguf.SplitPath(prefix, i, len(parts)), file.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return gguf.SplitPath(prefix, 1, len(parts))
}

func TestSplitModel(t *testing.T) {
	in := samples[0].file(t, gguf.F16)
	part := split(t, in)
	opt := Options{Type: fileType(t, "Q4_K_M")}
	whole := quantizeFile(t, in, opt)
	if !bytes.Equal(quantizeFile(t, part, opt), whole) {
		t.Error("a split model gives another file than a whole one")
	}
	opt.KeepSplit = true
	p, err := planOf(t, part, opt)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out.gguf")
	if err := p.Write(t.Context(), out, nil); err != nil {
		t.Fatal(err)
	}
	for i, path := range p.Outputs(out) {
		if want := fmt.Sprintf("out-%05d-of-00003.gguf", i+1); filepath.Base(path) != want {
			t.Errorf("file %d is %s, want %s", i, path, want)
		}
	}
	size, err := p.Size()
	if err != nil {
		t.Fatal(err)
	}
	compareTensors(t, p.Outputs(out), whole, size)
	if err := p.Write(t.Context(), strings.TrimSuffix(part, "-00002-of-00003.gguf"), nil); err == nil {
		t.Error("it was written over its own input")
	}
}

// compareTensors compares the tensors of a split model with those of a whole one.
func compareTensors(t *testing.T, parts []string, whole []byte, size int64) {
	t.Helper()
	f, err := gguf.Open(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want, err := gguf.Parse(whole)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Tensors) != len(want.Tensors) || len(f.Shards) != 3 {
		t.Errorf("%d tensors in %d files, want %d in 3", len(f.Tensors), len(f.Shards), len(want.Tensors))
	}
	for _, tensor := range f.Tensors {
		if w := want.Tensor(tensor.Name); w == nil || w.Type != tensor.Type || !bytes.Equal(w.Bytes(), tensor.Bytes()) {
			t.Errorf("tensor %s differs", tensor.Name)
		}
	}
	for _, path := range parts {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		size -= info.Size()
	}
	if size != 0 {
		t.Errorf("the planned size is %d bytes too large", size)
	}
}

// TestRefused: what cannot be done is said before anything is written, and says which tensor it is.
func TestRefused(t *testing.T) {
	in := samples[0].file(t, gguf.F16)
	quantizedModel := filepath.Join(t.TempDir(), "q8.gguf")
	if err := os.WriteFile(quantizedModel, quantizeFile(t, in, Options{Type: fileType(t, "Q8_0")}), 0o644); err != nil {
		t.Fatal(err)
	}
	im := filepath.Join(t.TempDir(), "im.gguf")
	samples[5].writeImatrix(t, im)
	for _, c := range []struct {
		name, in string
		opt      Options
		want     []string
		is       error
	}{
		{"no type", in, Options{}, []string{"no file type"}, nil},
		{"a broken pattern", in, Options{Type: fileType(t, "Q4_0"), Overrides: []Override{{"(", gguf.Q4_0}}},
			[]string{`pattern "("`}, nil},
		{"importance missing", in, Options{Type: fileType(t, "IQ2_XS")},
			[]string{"blk.0.attn_k.weight", "needs an importance matrix"}, ErrNeedsImportance},
		{"importance of another model", in, Options{Type: fileType(t, "IQ2_XS"), Imatrix: openImatrix(t, im, "im")},
			[]string{"im: ", "output.weight", "96 values", "256"}, nil},
		{"importance of an embedding", in, Options{Type: fileType(t, "Q4_0"), EmbeddingType: typeOf(t, "IQ1_S")},
			[]string{"token_embd.weight", "IQ1_S"}, ErrNeedsImportance},
		{"quantized already", quantizedModel, Options{Type: fileType(t, "Q4_0")}, []string{"is Q8_0 already"}, ErrQuantized},
		{"rows too short", samples[5].file(t, gguf.F16), Options{Type: fileType(t, "Q1_0")},
			[]string{"96 weights", "Q1_0 blocks of 128"}, nil},
		{"embedding too short", samples[5].file(t, gguf.F16),
			Options{Type: fileType(t, "Q4_0"), EmbeddingType: typeOf(t, "Q4_K")},
			[]string{"token_embd.weight", "96 weights", "Q4_K blocks of 256"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := planOf(t, c.in, c.opt)
			if err == nil {
				t.Fatal("it was planned")
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v is not of the kind %q", err, c.is)
			}
			for _, word := range c.want {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("error %q lacks %q", err, word)
				}
			}
		})
	}
	again := quantizeFile(t, quantizedModel, Options{Type: fileType(t, "Q4_0"), AllowRequantize: true})
	if f, err := gguf.Parse(again); err != nil || f.Tensor("blk.0.attn_q.weight").Type != gguf.Q4_0 {
		t.Errorf("quantizing again, allowed: %v", err)
	}
}

func TestParse(t *testing.T) {
	for _, name := range FileTypes() {
		ft, err := ParseFileType(strings.ToLower(name))
		if err != nil || ft.Name != name {
			t.Errorf("%s is %s, %v", name, ft.Name, err)
		}
	}
	for name, want := range map[string]string{"q4_k": "Q4_K_M", "15": "Q4_K_M", "38": "MXFP4_MOE", "Q3_K": "Q3_K_M"} {
		if ft, err := ParseFileType(name); err != nil || ft.Name != want {
			t.Errorf("%s is %s, %v", name, ft.Name, err)
		}
	}
	for _, name := range []string{"", "Q9_K", "33", "-1"} {
		if _, err := ParseFileType(name); err == nil {
			t.Errorf("%q is a file type", name)
		}
	}
	for _, s := range []string{"", "a", "=Q4_0", "a=", "a=Q9", "a=I32", "(=Q4_0"} {
		if _, err := ParseOverride(s); err == nil {
			t.Errorf("%q is an override", s)
		}
	}
}

// TestNotFinite: a weight that is NaN, infinite or too large for the type is named.
func TestNotFinite(t *testing.T) {
	table := []gguf.Tensor{
		{Name: "a_norm.weight", Shape: []int64{8}, Type: gguf.F32},
		{Name: "b.weight", Shape: []int64{256, 300}, Type: gguf.F32},
	}
	meta := &gguf.Metadata{}
	meta.Set("general.architecture", "llama")
	for _, c := range []struct {
		name, tensor string
		at           int
		value        float64
		typ, want    string
	}{
		{"NaN", "b.weight", 256*299 + 5, math.NaN(), "Q4_K_M", "row 299, column 5 is not a finite number"},
		{"infinite", "b.weight", 256, math.Inf(-1), "F16", "row 1, column 0 is not a finite number"},
		{"NaN in a norm", "a_norm.weight", 3, math.NaN(), "Q4_K_M", "row 0, column 3 is not a finite number"},
		{"too large", "b.weight", 700, 1e6, "F16", "too large for F16"},
		{"too large for a block", "b.weight", 700, 1e30, "Q4_0", "too large for Q4_0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			in, out := filepath.Join(dir, "in.gguf"), filepath.Join(dir, "out", "out.gguf")
			modeltest.WriteValues(t, in, meta, table, func(tensor *gguf.Tensor) []float32 {
				x := make([]float32, tensor.Elements())
				if tensor.Name == c.tensor {
					x[c.at] = float32(c.value)
				}
				return x
			})
			p, err := planOf(t, in, Options{Type: fileType(t, c.typ)})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(filepath.Dir(out), 0o755); err != nil {
				t.Fatal(err)
			}
			err = p.Write(t.Context(), out, nil)
			if err == nil || !strings.Contains(err.Error(), c.tensor) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q and %q", err, c.tensor, c.want)
			}
			empty(t, filepath.Dir(out))
		})
	}
}

func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("%v, %v is left", err, left)
	}
}

// TestCancelled: the end of the context leaves nothing behind.
func TestCancelled(t *testing.T) {
	in := samples[0].file(t, gguf.F16)
	p, err := planOf(t, in, Options{Type: fileType(t, "Q4_K_M")})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err = p.Write(ctx, filepath.Join(dir, "out.gguf"), func(Progress) {
		if calls++; calls == 5 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	empty(t, dir)
}

func TestOverItself(t *testing.T) {
	in := samples[0].file(t, gguf.F16)
	before, err := os.ReadFile(in)
	if err != nil {
		t.Fatal(err)
	}
	p, err := planOf(t, in, Options{Type: fileType(t, "Q4_0")})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Write(t.Context(), in, nil); err == nil || !strings.Contains(err.Error(), "replace its own input") {
		t.Errorf("error %v", err)
	}
	if after, err := os.ReadFile(in); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the input changed, %v", err)
	}
}

// TestProgress: it ends where it said it would.
func TestProgress(t *testing.T) {
	p, err := planOf(t, samples[0].file(t, gguf.F16), Options{Type: fileType(t, "Q4_K_M")})
	if err != nil {
		t.Fatal(err)
	}
	var last Progress
	err = p.Write(t.Context(), filepath.Join(t.TempDir(), "out.gguf"), func(now Progress) {
		if now.Bytes < last.Bytes || now.Size != p.DataBytes() {
			t.Errorf("%+v after %+v", now, last)
		}
		last = now
	})
	if err != nil || last.Bytes != last.Size {
		t.Errorf("the last is %+v, %v", last, err)
	}
}

// TestFallbacks: types for rows that do not fit, and F16 where none does.
func TestFallbacks(t *testing.T) {
	p, err := planOf(t, samples[5].file(t, gguf.F32), Options{Type: fileType(t, "Q4_K_M")})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]gguf.Type{}
	for _, tensor := range p.Fallbacks() {
		got[tensor.Name] = tensor.To
	}
	for name, want := range map[string]gguf.Type{"blk.0.attn_q.weight": gguf.Q5_0, "blk.0.ffn_down.weight": gguf.F16} {
		if got[name] != want {
			t.Errorf("%s became %v, want %v", name, got[name], want)
		}
	}
}
