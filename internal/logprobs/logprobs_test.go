package logprobs

import (
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// logits are random, and of a spread as models have them.
func logits(r *rand.Rand, n int, spread float64) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(spread * r.NormFloat64())
	}
	return out
}

// logSoftmax is the definition, in float64.
func logSoftmax(logits []float32) []float64 {
	top, sum := math.Inf(-1), 0.0
	for _, v := range logits {
		top = max(top, float64(v))
	}
	for _, v := range logits {
		sum += math.Exp(float64(v) - top)
	}
	out := make([]float64, len(logits))
	for i, v := range logits {
		out[i] = float64(v) - top - math.Log(sum)
	}
	return out
}

// TestRow holds rows and comparisons against the definitions.
func TestRow(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		n      int
		spread float64
	}{{5, 1}, {1000, 3}, {1001, 8}, {32, 0}} {
		base, other := logits(r, c.n, c.spread), logits(r, c.n, c.spread)
		wantBase, want := logSoftmax(base), logSoftmax(other)
		var row Row
		scratch := slices.Clone(base)
		top := slices.Max(base)
		if sum := row.Set(scratch); math.Abs(float64(sum-base[0])+wantBase[0]) > 1e-4 {
			t.Errorf("%d logits: the logarithm of the sum is %v, expected %v", c.n, sum, float64(base[0])-wantBase[0])
		}
		decoded := make([]float32, c.n)
		row.Decode(decoded)
		step := 16.0 / 65535
		for i, got := range decoded {
			expected := max(wantBase[i], wantBase[0]+float64(top-16-base[0]))
			if math.Abs(float64(got)-expected) > step/2+1e-5 {
				t.Fatalf("%d logits: log probability %d is %v, expected %v", c.n, i, got, expected)
			}
		}
		divergence := 0.0
		for i := range want {
			if wantBase[i] > lowest {
				divergence += math.Exp(wantBase[i]) * (wantBase[i] - want[i])
			}
		}
		target := int32(r.IntN(c.n))
		got := row.Compare(other, target)
		if math.Abs(got.Divergence-divergence) > 1e-3*(1+divergence) ||
			math.Abs(float64(got.Loss)+want[target]) > 1e-4 || got.BaseLoss != -decoded[target] ||
			got.SameTop != (slices.Index(decoded, slices.Max(decoded)) == slices.Index(other, slices.Max(other))) {
			t.Errorf("%d logits: %+v, expected a divergence of %v and losses of %v and %v", c.n, got, divergence, -want[target],
				-wantBase[target])
		}
		same := row.Compare(base, target)
		if math.Abs(same.Divergence) > 2e-5 || !same.SameTop || math.Abs(float64(same.Change())) > 1e-3 {
			t.Errorf("%d logits against themselves: %+v", c.n, same)
		}
	}
}

// written writes a small file and gives its rows.
func written(t testing.TB, path string) (*Header, []Row) {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 4))
	h := &Header{Ctx: 6, Vocab: 7, IDs: []int32{1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5}}
	w, err := Create(path, h)
	if err != nil {
		t.Fatal(err)
	}
	rows := make([]Row, h.Windows()*Scored(h.Ctx))
	for i := range rows {
		rows[i].Set(logits(r, h.Vocab, 4))
		if err := w.Write(&rows[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	return h, rows
}

// TestFile writes and reads.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.logits")
	h, rows := written(t, path)
	if !Is(path) {
		t.Error("not known as a file of log probabilities")
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Ctx != h.Ctx || r.Vocab != h.Vocab || !slices.Equal(r.IDs, h.IDs) {
		t.Errorf("header %+v, expected %+v", r.Header, *h)
	}
	for i := range rows {
		var row Row
		if err := r.Next(&row); err != nil {
			t.Fatal(err)
		}
		if row.Scale != rows[i].Scale || row.Min != rows[i].Min || !slices.Equal(row.Codes, rows[i].Codes) {
			t.Errorf("row %d: %+v, expected %+v", i, row, rows[i])
		}
	}
	if err := r.Next(new(Row)); !errors.Is(err, io.EOF) {
		t.Errorf("after the last row: %v", err)
	}
}

// TestRefused reads damaged files.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	written(t, filepath.Join(dir, "good"))
	good, err := os.ReadFile(filepath.Join(dir, "good"))
	if err != nil {
		t.Fatal(err)
	}
	with := func(at int, b ...byte) []byte {
		out := slices.Clone(good)
		copy(out[at:], b)
		return out
	}
	first := len(good) - 4*rowBytes(7) // the first row
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "0 bytes"},
		{"short", good[:15], "15 bytes"},
		{"magic", with(0, 'x'), "begins with"},
		{"cut", good[:len(good)-1], "expected"},
		{"ctx", with(8, 3, 0, 0, 0), "4 tokens or more"},
		{"vocabulary", with(12, 0xff, 0xff, 0xff, 0x7f), "expected"},
		{"negative", with(16, 0xff, 0xff, 0xff, 0xff), "1 window or more"},
		{"token", with(20, 9), "beyond the vocabulary"},
		{"scale", with(first, 0, 0, 0xc0, 0x7f), "row 1: log probabilities"},
		{"minimum", with(first+4, 0, 0, 0x80, 0x40), "row 1: log probabilities"},
	} {
		path := filepath.Join(dir, c.name)
		if err := os.WriteFile(path, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Open(path)
		if err == nil {
			err = r.Next(new(Row))
			r.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, expected an error with %q and the path", c.name, err, c.want)
		}
	}
}

// FuzzOpen reads anything, whole.
func FuzzOpen(f *testing.F) {
	path := filepath.Join(f.TempDir(), "seed")
	written(f, path)
	seed, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Open(path)
		if err != nil {
			return
		}
		defer r.Close()
		var row Row
		n := 0
		for ; ; n++ {
			if err = r.Next(&row); err != nil {
				break
			}
			row.Compare(make([]float32, r.Vocab), r.IDs[0])
		}
		if errors.Is(err, io.EOF) && n != r.Windows()*Scored(r.Ctx) {
			t.Errorf("%d rows of %d windows", n, r.Windows())
		}
	})
}
