package quantize

import (
	"bytes"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// budgetSample is a model of which norms are but a small part.
var budgetSample = sample{name: "budget", arch: "llama", layers: 8, heads: 8, keys: 2, width: 512, ffn: 512, rows: 48}

// budgetPlan plans a sample within a budget.
func budgetPlan(t *testing.T, in string, opt Options, b Budget) (*Plan, error) {
	t.Helper()
	f, err := gguf.Open(in)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return NewBudgetPlan(t.Context(), f, opt, b, nil)
}

// TestBudgetIsKept: files of the size that was asked for, or a little less.
func TestBudgetIsKept(t *testing.T) {
	in := budgetSample.file(t, gguf.F16)
	im := filepath.Join(t.TempDir(), "im.gguf")
	budgetSample.writeImatrix(t, im)
	opt := Options{Imatrix: openImatrix(t, im, "im.gguf")}
	targets := []float64{2.5, 4.2, 6.1}
	if testing.Short() {
		targets = targets[2:]
	}
	for _, bits := range targets {
		p, err := budgetPlan(t, in, opt, Budget{Bits: bits})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.BitsPerWeight(); got > bits || got < bits-0.1 {
			t.Errorf("%.3f bits a weight, the target is %v", got, bits)
		}
		limit, err := p.Size()
		if err != nil {
			t.Fatal(err)
		}
		limit += 100
		if p, err = budgetPlan(t, in, opt, Budget{Bytes: limit}); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "out.gguf")
		if err := p.Write(t.Context(), out, nil); err != nil {
			t.Fatal(err)
		}
		if size := fileSize(t, out); size > limit || float64(size) < 0.98*float64(limit) {
			t.Errorf("a file of %d bytes, the target is %d", size, limit)
		}
		f, err := gguf.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		if id, _ := f.Meta.Uint("general.file_type"); id != uint64(p.FileType().ID) {
			t.Errorf("the file type is %d, planned %v", id, p.FileType())
		}
		f.Close()
	}
}

// TestBudgetBeatsOneType: with as many bytes as one type takes, the weighed error is less than with that type.
func TestBudgetBeatsOneType(t *testing.T) {
	in := budgetSample.file(t, gguf.F32)
	for _, name := range []string{"Q3_K", "Q4_0", "Q6_K"} {
		one, err := planOf(t, in, Options{Type: FileType{Name: name, Type: *typeOf(t, name)}, Pure: true})
		if err != nil {
			t.Fatal(err)
		}
		chosen, err := budgetPlan(t, in, Options{}, Budget{Bits: one.BitsPerWeight()})
		if err != nil {
			t.Fatal(err)
		}
		if got, than := weighed(t, chosen), weighed(t, one); !(got < 0.99*than) || chosen.DataBytes() > one.DataBytes() {
			t.Errorf("the error is %v with %d bytes; %v with %d when all is %s", got, chosen.DataBytes(), than, one.DataBytes(),
				name)
		}
	}
}

// weighed is the error that a budget minimises, of a plan.
func weighed(t *testing.T, p *Plan) float64 {
	t.Helper()
	total := 0.0
	for i := range p.Tensors {
		tensor := &p.Tensors[i]
		if !p.model.quantizable(tensor.source) {
			continue
		}
		s, err := p.newSample(tensor)
		if err != nil {
			t.Fatal(err)
		}
		total += s.error(tensor.To) * p.model.share(tensor)
	}
	return total
}

// TestBudgetOptions: types that are given stay given, and what cannot be is refused.
func TestBudgetOptions(t *testing.T) {
	in := samples[0].file(t, gguf.F16)
	opt := Options{Overrides: []Override{overrideOf(t, `blk\.3\.ffn_up=Q2_K`)}, OutputType: typeOf(t, "Q3_K"),
		EmbeddingType: typeOf(t, "F16")}
	p, err := budgetPlan(t, in, opt, Budget{Bits: 7})
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.Tensors {
		got := &p.Tensors[i]
		want, ok := map[string]gguf.Type{"blk.3.ffn_up.weight": gguf.Q2_K, "output.weight": gguf.Q3_K,
			"token_embd.weight": gguf.F16, "output_norm.weight": gguf.F32}[got.Name]
		if ok && got.To != want {
			t.Errorf("%s became %v, want %v", got.Name, got.To, want)
		}
		if needsImportance(got.role, got.To, "") {
			t.Errorf("%s became %v without an importance matrix", got.Name, got.To)
		}
	}
	if _, err := budgetPlan(t, in, Options{}, Budget{Bits: 2}); err == nil ||
		!strings.Contains(err.Error(), "smaller than the smallest possible") {
		t.Errorf("a target that cannot be reached: %v", err)
	}
	if _, err := budgetPlan(t, in, Options{Overrides: []Override{overrideOf(t, "weight=Q4_0")}},
		Budget{Bits: 9}); err == nil {
		t.Error("a plan in which nothing is to be chosen")
	}
	again := filepath.Join(t.TempDir(), "again.gguf")
	if p, err = budgetPlan(t, in, Options{}, Budget{Bits: 7}); err != nil {
		t.Fatal(err)
	}
	if err := p.Write(t.Context(), again, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := budgetPlan(t, again, Options{}, Budget{Bits: 6}); err == nil ||
		!strings.Contains(err.Error(), "already") {
		t.Errorf("weights that are quantized already: %v", err)
	}
}

// TestBudgetIsGenerous: where there is room for everything weights stay as they are, or get 16 bits.
func TestBudgetIsGenerous(t *testing.T) {
	for typ, want := range map[gguf.Type]gguf.Type{gguf.F32: gguf.F16, gguf.F16: gguf.F16, gguf.BF16: gguf.BF16} {
		p, err := budgetPlan(t, samples[5].file(t, typ), Options{}, Budget{Bits: 40})
		if err != nil {
			t.Fatal(err)
		}
		checkMatrices(t, p, want)
	}
	p, err := planOf(t, samples[0].file(t, gguf.F16), Options{Type: fileType(t, "Q4_K_S"), Pure: true})
	if err != nil {
		t.Fatal(err)
	}
	small := filepath.Join(t.TempDir(), "small.gguf")
	if err := p.Write(t.Context(), small, nil); err != nil {
		t.Fatal(err)
	}
	if p, err = budgetPlan(t, small, Options{AllowRequantize: true}, Budget{Bits: 8}); err != nil {
		t.Fatal(err)
	}
	checkMatrices(t, p, gguf.Q4_K)
}

// checkMatrices checks that all matrices of a plan get one type.
func checkMatrices(t *testing.T, p *Plan, want gguf.Type) {
	t.Helper()
	for i := range p.Tensors {
		if got := &p.Tensors[i]; p.model.quantizable(got.source) && got.To != want {
			t.Errorf("%s of %v became %v, want %v", got.Name, got.From, got.To, want)
		}
	}
}

// TestBudgetIsTheSame: the choice depends neither on threads nor on the byte order of the input.
func TestBudgetIsTheSame(t *testing.T) {
	defer kernels.SetThreads(0)
	m := budgetSample
	m.layers = 3
	in := m.file(t, gguf.BF16)
	f, err := gguf.Open(in)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	swapped := filepath.Join(t.TempDir(), "big.gguf")
	writeSwapped(t, f, swapped)
	var first []byte
	for i, path := range []string{in, in, swapped} {
		kernels.SetThreads(i + 1)
		p, err := budgetPlan(t, path, Options{}, Budget{Bits: 6})
		if err != nil {
			t.Fatal(err)
		}
		var types []byte
		for _, tensor := range p.Tensors {
			types = append(types, byte(tensor.To))
		}
		if first == nil {
			first = types
		}
		if !bytes.Equal(types, first) {
			t.Errorf("run %d chose %v, the first %v", i, types, first)
		}
	}
}

func TestHull(t *testing.T) {
	list := []option{{to: 4, bytes: 40, error: 1}, {to: 1, bytes: 10, error: 10}, {to: 2, bytes: 20, error: 9},
		{to: 3, bytes: 25, error: 3},
		{to: 5, bytes: 41, error: 1.5}, {to: 6, bytes: 80, error: 0}, {to: 7, bytes: 10, error: 11}}
	var got []gguf.Type
	for _, o := range hull(list) {
		got = append(got, o.to)
	}
	if want := []gguf.Type{1, 3, 4, 6}; !slices.Equal(got, want) {
		t.Errorf("on the hull are %v, want %v", got, want)
	}
}

// TestAllocate compares with all choices there are. The greedy choice can miss the best by the last step at most.
func TestAllocate(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		items := make([]item, 4)
		least, step := int64(0), 0.0
		for i := range items {
			var list []option
			for range 5 {
				list = append(list, option{bytes: int64(1 + r.IntN(50)), error: r.Float64()})
			}
			items[i].options = hull(list)
			least += items[i].options[0].bytes
			for j := 1; j < len(items[i].options); j++ {
				step = max(step, items[i].options[j-1].error-items[i].options[j].error)
			}
		}
		limit := least + int64(r.IntN(100))
		if total := allocate(items, limit); total > limit {
			t.Fatalf("%d bytes are allocated, %d are there", total, limit)
		}
		got := 0.0
		for _, it := range items {
			got += it.options[it.chosen].error
		}
		if best := bestOf(items, limit); got > best+step+1e-9 {
			t.Errorf("the error is %v, %v is possible and a step is %v", got, best, step)
		}
	}
	items := []item{{options: []option{{bytes: 10}}}, {options: []option{{bytes: 20}}}}
	if total := allocate(items, 29); total != 30 {
		t.Errorf("%d bytes, where 30 is the least", total)
	}
}

// bestOf is the least error that fits.
func bestOf(items []item, limit int64) float64 {
	if len(items) == 0 {
		return 0
	}
	best := math.Inf(1)
	for _, o := range items[0].options {
		if o.bytes <= limit {
			best = min(best, o.error+bestOf(items[1:], limit-o.bytes))
		}
	}
	return best
}
