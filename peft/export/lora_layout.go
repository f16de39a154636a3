package export

import (
	"io"
	"math"
	"slices"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/linalg"
	"github.com/peftconv/peftconv/internal/lorafile"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
)

// A GGUF LoRA has one pair for a tensor of the base. Where a tensor holds the rows of several linear maps the pair is
// all of theirs: A is theirs one below the other, B theirs as blocks, so that the rank is the sum of theirs; maps that
// have one A, as parts of one module of Hugging Face do, have it once, and B theirs one below the other. The pair
// of stacked experts is stacked too: A (experts, rank, in) and B (experts, out, rank); where ranks differ the smaller
// ones have zeros, as has an expert without a pair.

// tensorChange is the change of a tensor of a GGUF file.
type tensorChange struct {
	tensor     string
	rows, cols int           // of the matrix, or of that of each expert
	maps       [][]placedMap // of the one matrix, or of each expert's
	stacked    bool          // there are experts
	transposed bool          // the file has A the other way round, a row for each token
	last       int           // number of the last map that was added
	sums       pairSums
}

// placedMap is the pair of a linear map, in the order of the GGUF file, of which the rows begin at row first.
type placedMap struct {
	first int
	lowrank.LowRank
	like int // number of the map before it that has the same A and scale, or its own
}

// loraFile is what a GGUF LoRA holds.
type loraFile struct {
	base    *attach.Base
	tensors []*tensorChange // in the order of the model
	byName  map[string]*tensorChange
	added   int // maps
}

func newLoRAFile(b *attach.Base) *loraFile {
	return &loraFile{base: b, byName: map[string]*tensorChange{}}
}

// add adds the pair of a linear map. inHF: rows and columns are in the order of Hugging Face files, otherwise in that
// of the base.
func (f *loraFile) add(l *model.Linear, pair lowrank.LowRank, inHF bool, sums pairSums) {
	p := f.base.Model.Location(l)
	t := f.byName[p.Tensor]
	if t == nil {
		t = &tensorChange{tensor: p.Tensor, rows: p.Rows, cols: l.W.Cols, maps: make([][]placedMap, max(p.Experts, 1)),
			stacked: p.Experts > 0, transposed: l.Role == arch.TokenEmbedding}
		f.byName[p.Tensor] = t
		f.tensors = append(f.tensors, t)
	}
	f.added++
	t.last = f.added
	if inHF || l.Rows == nil && l.Cols == nil { // otherwise the base has them in the order of a GGUF file
		attach.PairToBase(&pair, p.Order)
	}
	if l.Role == arch.ExpertDown { // llama.cpp adds a pair to what the expert's factor has multiplied
		if factors := f.base.Model.Layers[l.Layer].Vector(arch.ExpertScale); factors != nil {
			pair.B = slices.Clone(pair.B)
			kernels.Scale(factors[l.Expert], pair.B)
		}
	}
	maps := t.maps[p.Expert]
	like := slices.IndexFunc(maps, func(m placedMap) bool { return m.Scale == pair.Scale && slices.Equal(m.A, pair.A) })
	if like < 0 {
		like = len(maps)
	}
	t.maps[p.Expert] = append(maps, placedMap{p.First, pair, like})
	t.sums.want, t.sums.miss = t.sums.want+sums.want, t.sums.miss+sums.miss
}

// byLast brings the tensors into the order in which the last of the maps of each was added.
func (f *loraFile) byLast() {
	slices.SortStableFunc(f.tensors, func(x, y *tensorChange) int { return x.last - y.last })
}

// report lists the tensors.
func (f *loraFile) report() *LoRAReport {
	r, total := &LoRAReport{}, pairSums{}
	for _, t := range f.tensors {
		r.Tensors = append(r.Tensors, ExportedTensor{Name: t.tensor, Rank: t.rank(), Error: t.sums.error()})
		total.want, total.miss = total.want+t.sums.want, total.miss+t.sums.miss
	}
	r.Error = total.error()
	return r
}

// alpha is the number that gives every pair its scale when it is divided by the pair's rank in the file, 0 where there
// is none.
func (f *loraFile) alpha() float64 {
	common := 0.0
	for _, t := range f.tensors {
		for _, maps := range t.maps {
			for i := range maps {
				alpha := maps[i].Scale * float64(maps[i].Rank)
				if common == 0 {
					common = alpha
				}
				if maps[i].Rank != t.rank() || math.Abs(alpha-common) > 1e-12*math.Abs(common) {
					return 0
				}
			}
		}
	}
	return common
}

// scale multiplies the scale of every pair into its B.
func (f *loraFile) scale() {
	for _, t := range f.tensors {
		for _, maps := range t.maps {
			for i := range maps {
				kernels.Scale(float32(maps[i].Scale), maps[i].B)
				maps[i].Scale = 1
			}
		}
	}
}

// rank is that of the pair in the file: the largest of the experts'.
func (t *tensorChange) rank() int {
	most := 0
	for _, maps := range t.maps {
		rank := 0
		for i := range maps {
			if maps[i].like == i {
				rank += maps[i].Rank
			}
		}
		most = max(most, rank)
	}
	return most
}

// matrices are A (experts, rank, cols) and B (experts, rows, rank).
func (t *tensorChange) matrices() (a, b []float32) {
	rank := t.rank()
	if t.transposed {
		p := &t.maps[0][0]
		return linalg.Transpose(p.A, p.Rank, p.In), p.B
	}
	a, b = make([]float32, len(t.maps)*rank*t.cols), make([]float32, len(t.maps)*t.rows*rank)
	for e, maps := range t.maps {
		at, next := make([]int, len(maps)), 0 // the rank where a map's begins
		for i := range maps {
			p := &maps[i]
			if at[i] = at[p.like]; p.like == i {
				at[i] = next
				copy(a[(e*rank+next)*t.cols:], p.A)
				next += p.Rank
			}
			for r := range p.Out {
				copy(b[(e*t.rows+p.first+r)*rank+at[i]:], p.B[r*p.Rank:(r+1)*p.Rank])
			}
		}
	}
	return a, b
}

// entries are the two tensors in the file's table.
func (t *tensorChange) entries(typ gguf.Type) []gguf.Tensor {
	rank := int64(t.rank())
	a, b := []int64{int64(t.cols), rank}, []int64{rank, int64(t.rows)}
	if t.transposed { // as llama.cpp reads that of the embedding table
		p := &t.maps[0][0]
		a, b = []int64{rank, int64(p.In)}, []int64{rank, int64(p.Out)}
	}
	if t.stacked {
		a, b = append(a, int64(len(t.maps))), append(b, int64(len(t.maps)))
	}
	return []gguf.Tensor{{Name: t.tensor + lorafile.EndA, Shape: a, Type: fitting(typ, a[0])},
		{Name: t.tensor + lorafile.EndB, Shape: b, Type: fitting(typ, b[0])}}
}

// fitting is a type, or F16 where rows of so many numbers are no whole blocks of it.
func fitting(typ gguf.Type, cols int64) gguf.Type {
	if cols%int64(typ.BlockLen()) != 0 {
		return gguf.F16
	}
	return typ
}

// table is that of the file's tensors, with numbers of a type.
func (f *loraFile) table(typ gguf.Type) (table []gguf.Tensor) {
	for _, t := range f.tensors {
		table = append(table, t.entries(typ)...)
	}
	return table
}

// write writes the file.
func (f *loraFile) write(out io.Writer, meta *gguf.Metadata, table []gguf.Tensor) error {
	w, err := gguf.NewWriter(out, meta, table)
	if err != nil {
		return err
	}
	for i, t := range f.tensors {
		a, b := t.matrices()
		for j, x := range [][]float32{a, b} {
			entry := &table[2*i+j]
			if err := w.WriteTensor(entry.Name, floats.Encode(entry.Type, x, int(entry.Shape[0]))); err != nil {
				return err
			}
		}
	}
	return w.Close()
}
