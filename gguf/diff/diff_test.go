package diff

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/modeltest"
	"github.com/peftconv/peftconv/internal/weights"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/safetensors"
)

func open(t *testing.T, path string) *weights.File {
	t.Helper()
	f, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// file writes and opens a GGUF file.
func file(t *testing.T, meta *gguf.Metadata, tensors []gguf.Tensor,
	spoil func(name string, data []byte)) *weights.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.gguf")
	modeltest.WriteGGUF(t, path, gguf.Format{}, meta, tensors, spoil)
	return open(t, path)
}

// f32 is a safetensors file of one tensor x of these numbers, in rows of cols.
func f32(t *testing.T, cols int, numbers ...float32) *weights.File {
	t.Helper()
	data, err := binary.Append(nil, binary.LittleEndian, numbers)
	if err != nil {
		t.Fatal(err)
	}
	return tensor(t, safetensors.Item{Name: "x", DType: safetensors.F32,
		Shape: []int64{int64(len(numbers) / cols), int64(cols)}, Data: data})
}

func tensor(t *testing.T, items ...safetensors.Item) *weights.File {
	t.Helper()
	var b bytes.Buffer
	if err := safetensors.Write(&b, nil, items); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return open(t, path)
}

func files(t *testing.T, a, b *weights.File, opt Options) *Result {
	t.Helper()
	r, err := compareFiles(t.Context(), a, b, opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSame(t *testing.T) {
	meta, tensors := modeltest.Llama(t, 2, gguf.Q4_K)
	a := file(t, meta, tensors, nil)
	for _, b := range []*weights.File{a, file(t, meta, tensors, nil)} {
		r := files(t, a, b, Options{})
		if !r.Same() || r.Equal != 20 || r.Together != nil {
			t.Errorf("%d metadata, %d tensors, %d equal", len(r.Metadata), len(r.Tensors), r.Equal)
		}
	}
}

func TestMetadata(t *testing.T) {
	a := modeltest.Meta(t, "same", "x", "gone", uint32(1), "kind", uint32(2), "value", []string{"a", "b"}, "nan",
		math.NaN())
	b := modeltest.Meta(t, "new", true, "value", []string{"a", "c"}, "nan", math.NaN(), "kind", int32(2), "same", "x")
	padded := append(weights.Values(b), weights.Values(modeltest.Meta(t, weights.PadKey, "   "))...)
	changes := values(weights.Values(a), padded)
	if back := values(padded, weights.Values(a)); len(back) != len(changes) {
		t.Errorf("%d changes, and %d the other way", len(changes), len(back))
	}
	data, err := json.Marshal(changes)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"key":"gone","old":1,"new":null},{"key":"kind","old":2,"new":2},{"key":"value","old":["a","b"],"new":["a","c"]},` +
		`{"key":"new","old":null,"new":true}]`
	if string(data) != want {
		t.Errorf("%s", data)
	}
}

func TestTensors(t *testing.T) {
	meta, tensors := modeltest.Llama(t, 1, gguf.F32)
	a := file(t, meta, tensors, nil)
	changed := append([]gguf.Tensor{{Name: "new", Shape: []int64{4}}}, tensors[1:]...)
	changed[4].Type = gguf.Q8_0              // attn_q
	changed[5].Shape = []int64{128, 2 * 256} // attn_k
	spoil := func(name string, data []byte) {
		if name == "blk.0.ffn_norm.weight" {
			data[1]++
		}
	}
	b := file(t, meta, changed, spoil)
	r := files(t, a, b, Options{})
	var got []string
	for _, c := range r.Tensors {
		kind := "~"
		if c.Old == nil {
			kind = "+"
		} else if c.New == nil {
			kind = "-"
		} else if c.Diff != nil {
			kind = "≈"
		}
		got = append(got, kind+c.Name)
	}
	if s := strings.Join(got, " "); s != "-token_embd.weight ≈blk.0.ffn_norm.weight ≈blk.0.attn_q.weight "+
		"~blk.0.attn_k.weight +new" || r.Equal != 7 {
		t.Errorf("%s, %d equal", s, r.Equal)
	}
	q := r.Tensors[2].Diff
	if *q.Relative < 1e-4 || *q.Relative > 1e-2 || *q.Cosine < 0.9999 || q.Elements != 256*256 || r.Together.Tensors != 2 {
		t.Errorf("Q8_0: %+v", q)
	}
	quick := files(t, a, b, Options{Quick: true})
	if len(quick.Tensors) != 4 || quick.Equal != 8 || quick.Tensors[1].Diff != nil {
		t.Errorf("quick: %d changes, %d equal", len(quick.Tensors), quick.Equal)
	}
}

// TestFigures compares numbers of which the figures are plain.
func TestFigures(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	p := func(x float64) *float64 { return &x }
	for _, tt := range []struct {
		name string
		a, b []float32
		want Norms
	}{
		{"one", []float32{3, 0, 0, 4}, []float32{3, 0, 0.5, 4},
			Norms{Relative: p(0.1), MaxAbs: 0.5, MaxRow: 1, MaxColumn: 0, Cosine: p(25 / (5 * math.Sqrt(25.25))), Different: 1}},
		{"opposite", []float32{3, 4, 0, 0}, []float32{-3, -4, 0, 0},
			Norms{Relative: p(2), MaxAbs: 8, MaxColumn: 1, Cosine: p(-1), Different: 2}},
		{"at right angles", []float32{1, 0, 0, 0}, []float32{0, 0, 0, 1},
			Norms{Relative: p(math.Sqrt2), MaxAbs: 1, Cosine: p(0), Different: 2}},
		{"from zero", []float32{0, 0, 0, 0}, []float32{0, 0, 0, 2}, Norms{MaxAbs: 2, MaxRow: 1, MaxColumn: 1, Different: 1}},
		{"to zero", []float32{0, 2, 0, 0}, []float32{0, 0, 0, 0},
			Norms{Relative: p(1), MaxAbs: 2, MaxColumn: 1, Different: 1}},
		{"wild", []float32{1, nan, inf, 2}, []float32{1, nan, -inf, nan},
			Norms{Relative: p(0), Cosine: p(1), Different: 2, NonFinite: 3}},
		{"signs of zero", []float32{1, 0, 0, 0}, []float32{1, float32(math.Copysign(0, -1)), 0, 0},
			Norms{Relative: p(0), Cosine: p(1)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := files(t, f32(t, 2, tt.a...), f32(t, 2, tt.b...), Options{})
			tt.want.Elements = 4
			if len(r.Tensors) != 1 || !reflect.DeepEqual(*r.Tensors[0].Diff, tt.want) {
				got, _ := json.Marshal(r.Tensors)
				want, _ := json.Marshal(tt.want)
				t.Errorf("%s, expected %s", got, want)
			}
		})
	}
}

// TestThreads: tensors of many pieces give the same figures on any number of threads, and those of a plain sum.
func TestThreads(t *testing.T) {
	list := []gguf.Tensor{{Name: "x", Shape: []int64{256, 3000}, Type: gguf.F32}}
	rough := []gguf.Tensor{{Name: "x", Shape: []int64{256, 3000}, Type: gguf.Q4_0}}
	a, b := file(t, nil, list, nil), file(t, nil, rough, nil)
	defer kernels.SetThreads(0)
	var first *Result
	for _, threads := range []int{1, 2, 5} {
		kernels.SetThreads(threads)
		r := files(t, a, b, Options{})
		if first == nil {
			first = r
		}
		if !reflect.DeepEqual(r, first) {
			t.Errorf("on %d threads the result is another", threads)
		}
	}
	var s sums
	var ra, rb weights.Reader
	for i := range a.At(0).Pieces() {
		compare(&s, ra.Numbers(a.At(0), i), rb.Numbers(b.At(0), i), int64(i)*weights.PieceElements)
	}
	if want, got := *s.relative(), *first.Tensors[0].Diff.Relative; math.Abs(got/want-1) > 1e-12 {
		t.Errorf("relative error %v, expected %v", got, want)
	}
}

// TestFormats compares across byte orders and formats: the same numbers are the same.
func TestFormats(t *testing.T) {
	list := []gguf.Tensor{{Name: "x", Shape: []int64{64, 3}, Type: gguf.F32}}
	a := file(t, nil, list, nil)
	path := filepath.Join(t.TempDir(), "big.gguf")
	modeltest.WriteGGUF(t, path, gguf.Format{Order: binary.BigEndian}, nil, list, nil)
	data := modeltest.Data(t, list[0], binary.LittleEndian)
	turned := tensor(t, safetensors.Item{Name: "x", DType: safetensors.F32, Shape: []int64{3, 64}, Data: data})
	other := tensor(t, safetensors.Item{Name: "x", DType: safetensors.F32, Shape: []int64{64, 3}, Data: data})
	if r := files(t, a, open(t, path), Options{}); len(r.Tensors) != 1 || r.Tensors[0].Diff.Different != 0 {
		t.Errorf("big-endian: %+v", r.Tensors)
	}
	if r := files(t, a, turned, Options{}); !r.Same() {
		t.Errorf("safetensors: %+v", r.Tensors)
	}
	if r := files(t, turned, a, Options{}); !r.Same() {
		t.Errorf("from safetensors: %+v", r.Tensors)
	}
	if r := files(t, a, other, Options{}); len(r.Tensors) != 1 || r.Tensors[0].Diff != nil {
		t.Errorf("another shape: %+v", r.Tensors)
	}
}

func TestUnreadable(t *testing.T) {
	item := func(b byte) *weights.File {
		return tensor(t, safetensors.Item{Name: "x", DType: safetensors.F4, Shape: []int64{2}, Data: []byte{b}})
	}
	if r := files(t, item(1), item(2), Options{}); len(r.Tensors) != 1 || r.Tensors[0].Diff != nil || r.Together != nil {
		t.Errorf("%+v", r.Tensors)
	}
	if r := files(t, item(1), item(1), Options{}); !r.Same() {
		t.Errorf("%+v", r.Tensors)
	}
}

func TestProgressAndCancel(t *testing.T) {
	meta, tensors := modeltest.Llama(t, 1, gguf.F32)
	a, b := file(t, meta, tensors, nil), file(t, meta, tensors[1:], nil)
	var last, total int64
	files(t, a, b, Options{Progress: func(done, size int64, _ string) { last, total = done, size }})
	if want := 2 * b.Size(); last != want || total != want {
		t.Errorf("%d of %d bytes at the end, expected %d", last, total, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := compareFiles(ctx, a, b, Options{Progress: func(int64, int64, string) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
