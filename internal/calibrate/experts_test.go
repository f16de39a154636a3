package calibrate

import (
	"bytes"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/imatrix"
	"github.com/peftconv/peftconv/gguf/quantize"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/quant"
)

// inputs adds up the squares of the inputs of each linear map.
type inputs struct {
	model.NoHooks
	sums   map[*model.Linear][]float64
	tokens map[*model.Linear]int64
}

// Linear implements model.Hooks.
func (in *inputs) Linear(_ *autograd.Tape, l *model.Linear, x, y *autograd.Tensor) *autograd.Tensor {
	if in.sums[l] == nil {
		in.sums[l] = make([]float64, x.Cols)
	}
	for r := range x.Rows {
		for j, v := range x.Row(r) {
			in.sums[l][j] += float64(v) * float64(v)
		}
	}
	in.tokens[l] += int64(x.Rows)
	return y
}

// collected are the matrix of a model and text, and the inputs of each linear map.
func collected(t *testing.T, m *archtest.Model, ids []int32, window int) (*model.Model, *imatrix.Matrix, *inputs) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.gguf")
	m.Write(t, path)
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	base, err := model.FromGGUF(f)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Collect(t.Context(), base, ids, Options{Ctx: window, ExactActivations: true})
	if err != nil {
		t.Fatal(err)
	}
	in := &inputs{sums: map[*model.Linear][]float64{}, tokens: map[*model.Linear]int64{}}
	var b batch.Batch
	for part := range slices.Chunk(ids[:len(ids)/window*window], window) {
		b.Append(part, nil)
	}
	tape := autograd.NewTape()
	tape.Record(false)
	base.Hidden(tape, &b, in)
	return base, got, in
}

func words(n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32((i*i + 3*i) % 61)
	}
	return ids
}

// TestExperts: a tensor with the rows of several linear maps has one entry, under its name; of experts it has the sums
// of the tokens that each was chosen for, and their number.
func TestExperts(t *testing.T) {
	for _, m := range archtest.Parts(gguf.F32) {
		base, got, in := collected(t, &m, words(100), 16)
		names := map[string]bool{}
		for _, l := range base.Linears() {
			names[l.Tensor] = true
			e := got.Entry(l.Tensor)
			matrices := 1
			if l.Role.Kind() == arch.Experts {
				matrices = 4
			}
			if e == nil || len(e.Counts) != matrices || len(e.Sums) != matrices*l.W.Cols {
				t.Fatalf("%s: the entry of %s is %+v", m.Name, l.Place(), e)
			}
			if e.Counts[l.Expert] != in.tokens[l] {
				t.Errorf("%s: %d tokens went through %s, expected %d", m.Name, e.Counts[l.Expert], l.Place(), in.tokens[l])
			}
			for j, want := range in.sums[l] {
				if sum := float64(e.Sums[l.Expert*l.W.Cols+j]); math.Abs(sum-want) > 1e-5*want {
					t.Fatalf("%s: sum %d of %s is %v, expected %v", m.Name, j, l.Place(), sum, want)
				}
			}
		}
		if len(got.Entries()) != len(names) {
			t.Errorf("%s: %d entries of %d tensors", m.Name, len(got.Entries()), len(names))
		}
	}
}

// TestArchitectures: of every architecture the weights of the layers are measured, and nothing else.
func TestArchitectures(t *testing.T) {
	for _, m := range archtest.All() {
		base, got, in := collected(t, &m, words(40), 16)
		for _, l := range base.Linears() {
			e := got.Entry(base.GGUFTensors(l)[0])
			n := int64(0)
			if e != nil {
				n = e.Counts[min(l.Expert, len(e.Counts)-1)]
			}
			if n != in.tokens[l] {
				t.Errorf("%s: %d tokens went through %s, its entry has %d", m.Name, in.tokens[l], l.Place(), n)
			}
		}
		for _, e := range got.Entries() {
			if !strings.HasPrefix(e.Name, "blk.") {
				t.Errorf("%s: %s is measured", m.Name, e.Name)
			}
		}
	}
}

// TestUnvisitedExperts: experts that no token is routed to count none, and weigh columns alike. The file has the layout
// of llama-imatrix's.
func TestUnvisitedExperts(t *testing.T) {
	m := archtest.Parts(gguf.F32)[2]
	m.Fields["expert_count"], m.Fields["expert_used_count"] = 32, 1
	_, got, _ := collected(t, &m, words(8), 4)
	e := got.Entry("blk.0.ffn_down_exps.weight")
	if n := e.Unvisited(); n < 24 || n == 32 {
		t.Errorf("%d of 32 experts are without a token", n)
	}
	visits := int64(0)
	for _, n := range e.Counts {
		visits += n
	}
	if visits != 8 {
		t.Errorf("%d tokens went through experts, expected 8", visits)
	}
	for i, w := range e.Importance() {
		if math.IsNaN(float64(w)) || e.Counts[i/96] == 0 && w != 1 {
			t.Fatalf("the importance of column %d of expert %d is %v", i%96, i/96, w)
		}
	}
	var file bytes.Buffer
	if err := got.Write(&file); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Parse(file.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	sums, counts := f.Tensor(e.Name+".in_sum2"), f.Tensor(e.Name+".counts")
	if !slices.Equal(sums.Shape, []int64{96, 32}) || !slices.Equal(counts.Shape, []int64{1, 32}) {
		t.Errorf("the file has %v sums and %v counts", sums.Shape, counts.Shape)
	}
}

// TestQuantizeExperts: each expert of a quantized model is quantized by the importance that the tokens give that were
// routed to it.
func TestQuantizeExperts(t *testing.T) {
	m := archtest.Parts(gguf.F32)[2]
	m.Fields["expert_count"], m.Fields["expert_used_count"] = 16, 1
	base, matrix, in := collected(t, &m, words(16), 8)
	path, out := filepath.Join(t.TempDir(), "base.gguf"), filepath.Join(t.TempDir(), "quantized.gguf")
	m.Write(t, path)
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	to, err := quantize.ParseFileType("Q4_0")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := quantize.NewPlan(f, quantize.Options{Type: to, Imatrix: matrix})
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Write(t.Context(), out, nil); err != nil {
		t.Fatal(err)
	}
	made, err := gguf.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	unvisited := 0
	for _, l := range base.Linears() {
		tensor := made.Tensor(l.Tensor)
		if l.Role.Kind() != arch.Experts || tensor.Type != gguf.Q4_0 {
			continue
		}
		importance := make([]float32, l.W.Cols)
		for j := range importance {
			importance[j] = 1
			if n := in.tokens[l]; n > 0 {
				importance[j] = float32(in.sums[l][j]) / float32(n)
			}
		}
		if in.tokens[l] == 0 {
			unvisited++
		}
		want := make([]byte, gguf.Q4_0.BlockSize()*l.W.Rows*l.W.Cols/32)
		quant.Quantize(gguf.Q4_0, want, model.Dequantized(&l.W), l.W.Cols, importance)
		if got := tensor.Bytes()[l.Expert*len(want):][:len(want)]; !bytes.Equal(got, want) {
			t.Errorf("%s is quantized otherwise", l.Place())
		}
	}
	if unvisited == 0 {
		t.Error("all experts have tokens")
	}
}
