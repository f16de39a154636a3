package calibrate

import (
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/imatrix"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

// TestGolden measures importance matrices and compares them with llama-imatrix's of the same model and text.
func TestGolden(t *testing.T) {
	text, err := os.ReadFile(testdata.Shared(t, "text/tinyshakespeare.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tiny-llama", "tiny-qwen2"} {
		t.Run(name, func(t *testing.T) {
			want, err := imatrix.Open(testdata.Shared(t, "quant/files/"+name+"-imatrix.gguf"))
			if err != nil {
				t.Fatal(err)
			}
			f, err := gguf.Open(testdata.Shared(t, "quant/files/"+name+"-f16.gguf"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			compare(t, measure(t, f, string(text), want), want)
		})
	}
}

// measure measures as many windows of a text as another matrix was measured on.
func measure(t *testing.T, f *gguf.File, text string, like *imatrix.Matrix) *imatrix.Matrix {
	t.Helper()
	m, err := model.FromGGUF(f)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.FromGGUF(f.Meta)
	if err != nil {
		t.Fatal(err)
	}
	opt := Options{Ctx: like.ChunkSize, Chunks: like.Chunks}
	ids := tok.Encode(text, false)
	if bos, ok := tok.BOS(); ok && tok.AddBOS() {
		opt.BOS, ids = &bos, append([]int32{bos}, ids...)
	}
	got, err := Collect(t.Context(), m, ids, opt)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func compare(t *testing.T, got, want *imatrix.Matrix) {
	t.Helper()
	if got.Chunks != want.Chunks || got.ChunkSize != want.ChunkSize || len(got.Entries()) != len(want.Entries()) {
		t.Errorf("%d windows of %d, %d entries; want %d of %d, %d entries", got.Chunks, got.ChunkSize, len(got.Entries()),
			want.Chunks, want.ChunkSize, len(want.Entries()))
	}
	for _, w := range want.Entries() {
		g := got.Entry(w.Name)
		if g == nil || len(g.Sums) != len(w.Sums) || g.Counts[0] != w.Counts[0] {
			t.Errorf("entry %s is %v", w.Name, g)
			continue
		}
		worst := 0.0
		for i, sum := range w.Sums {
			worst = max(worst, math.Abs(float64(g.Sums[i]-sum))/float64(sum))
		}
		if worst > 0.01 {
			t.Errorf("entry %s is off by %.2f %%", w.Name, 100*worst)
		}
	}
}

// TestWindows: what Collect refuses.
func TestWindows(t *testing.T) {
	m := &model.Model{Spec: arch.Spec{Context: 64, Vocab: 10}}
	ids := make([]int32, 100)
	bad := slices.Clone(ids)
	bad[50] = 10
	for _, c := range []struct {
		name string
		ids  []int32
		size int
		want string
	}{
		{"window too small", ids, 3, "4 or more"},
		{"no window", ids, 0, "4 or more"},
		{"window too large", ids, 65, "made for 64"},
		{"text too short", ids[:31], 32, "31 tokens, less than one window of 32"},
		{"id beyond the vocabulary", bad, 32, "token 51 has id 10"},
	} {
		if _, err := Collect(t.Context(), m, c.ids, Options{Ctx: c.size}); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
