package peft

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/peftconv/peftconv/internal/linalg"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// ExtractOptions says what Extract looks for.
type ExtractOptions struct {
	Rank       int      // the rank, or with Energy the highest; 0 is 16, with Energy 128
	Energy     float64  // in (0, 1]: each weight gets the lowest rank that keeps this share of its change
	Targets    []string // see SelectTargets; none is "all-linear"
	Layers     string   // see ParseLayers; "" is all
	Iterations int      // of the search for singular vectors; 0 is 4. More find slightly more of a flat spectrum
	Seed       uint64
	BaseModel  string // what PEFT is told to load the adapter onto; "" is what the base's metadata says

	Progress func(done, all int, module string)
}

// Check reports options that make no sense.
func (opt *ExtractOptions) Check() error {
	_, err := opt.ranks()
	return err
}

func (opt *ExtractOptions) ranks() (ResizeOptions, error) {
	r := ResizeOptions{Rank: opt.Rank, Energy: opt.Energy}
	if opt.Rank == 0 {
		r.Rank = 16
		if opt.Energy > 0 {
			r.Rank = 128
		}
	}
	return r, r.Check()
}

// ExtractReport says what Extract found, and what a LoRA of linear maps cannot hold.
type ExtractReport struct {
	Modules    []ExtractedModule `json:"modules"` // in the order of the model
	Energy     float64           `json:"energy"`  // over all of them together
	Error      float64           `json:"error"`
	Left       []LeftTensor      `json:"left"` // what differs and is not in the adapter
	Rank       int               `json:"rank"` // the highest
	Parameters int               `json:"parameters"`
}

// ExtractedModule says what is kept of the difference Δ between two models' weights.
type ExtractedModule struct {
	Module string  `json:"module"`
	Rank   int     `json:"rank"`
	Change float64 `json:"change"` // ‖Δ‖/‖W‖, W the base's weight
	Energy float64 `json:"energy"` // 1 - error²
	Error  float64 `json:"error"`  // ‖Δ-B·A‖/‖Δ‖, of the matrices as they are saved
}

// LeftTensor is a tensor that differs and that the adapter does not change.
type LeftTensor struct {
	Name   string  `json:"name"`   // Hugging Face's name of the tensor
	Reason string  `json:"reason"` // why: "norm", "embedding", "output head", "bias", "not a target", " of another shape" behind it
	Change float64 `json:"change"` // ‖Δ‖/‖W‖; 0 where the shapes differ

	tuned whole
}

// Extract makes a LoRA that turns one model into another, as nearly as its rank allows: of each linear map's difference
// the largest singular values, by random projection (linalg.TruncatedSVD). The two may be any of GGUF file and Hugging
// Face directory, in any types; of quantized weights the difference holds their rounding too. One weight at a time is in
// memory. Errors: models of different shape, and targets that nothing matches.
func Extract(ctx context.Context, base, tuned *Base, opt ExtractOptions) (*Adapter, *ExtractReport, error) {
	x, err := newExtractor(base, tuned, opt)
	if err == nil {
		err = x.run(ctx)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("extract: %w", err)
	}
	a, err := x.adapter()
	if err != nil {
		return nil, nil, fmt.Errorf("extract: %w", err)
	}
	return a, &x.report, nil
}

// extractor is one extraction.
type extractor struct {
	base, tuned *Base
	opt         ExtractOptions
	ranks       ResizeOptions
	chosen      []string
	list        []lowRank
	total       cutting
	report      ExtractReport
}

func newExtractor(base, tuned *Base, opt ExtractOptions) (*extractor, error) {
	x := &extractor{base: base, tuned: tuned, opt: opt}
	var err error
	if x.ranks, err = opt.ranks(); err != nil {
		return nil, err
	}
	if err := sameModel(base, tuned); err != nil {
		return nil, err
	}
	x.chosen, err = chooseLinears(base, opt.Targets, opt.Layers, allLinear)
	return x, err
}

// sameModel reports models whose linear maps are not the same ones.
func sameModel(base, tuned *Base) error {
	if a, b := base.Architecture(), tuned.Architecture(); a != b {
		return fmt.Errorf("%s is a %s model, %s a %s one", base.Path, a, tuned.Path, b)
	}
	a, b := base.Model.Linears(), tuned.Model.Linears()
	if len(base.Model.Layers) != len(tuned.Model.Layers) || len(a) != len(b) {
		return fmt.Errorf("%s has %d layers, %s has %d", base.Path, len(base.Model.Layers), tuned.Path, len(tuned.Model.Layers))
	}
	for i := range a {
		if a[i].Module != b[i].Module || a[i].W.Rows != b[i].W.Rows || a[i].W.Cols != b[i].W.Cols {
			return fmt.Errorf("%s is %d×%d in %s, but in %s %s is %d×%d", a[i].Module, a[i].W.Rows, a[i].W.Cols, base.Path,
				tuned.Path, b[i].Module, b[i].W.Rows, b[i].W.Cols)
		}
	}
	return nil
}

func (x *extractor) run(ctx context.Context) error {
	tuned := x.tuned.Model.Linears()
	for i, l := range x.base.Model.Linears() {
		if err := ctx.Err(); err != nil {
			return err
		}
		from, to := ordered{l.W, l.PermutedHeads}, ordered{tuned[i].W, tuned[i].PermutedHeads}
		if slices.Contains(x.chosen, l.Module) {
			if err := x.extract(l, from, to); err != nil {
				return err
			}
		} else {
			x.compare(l.Module+".weight", "not a target", from, to)
		}
		x.compareBias(l, tuned[i])
		x.release()
		if x.opt.Progress != nil {
			x.opt.Progress(i+1, len(tuned), l.Module)
		}
	}
	x.compareOthers()
	r := &x.report
	r.Energy, r.Error = x.total.energy(), x.total.error()
	if x.total.all == 0 {
		return errors.New("no chosen weight differs: there is nothing to extract")
	}
	return nil
}

// release gives the pages of the files back.
func (x *extractor) release() {
	for _, b := range []*Base{x.base, x.tuned} {
		if b.store != nil {
			b.store.Release()
		}
	}
}

// extract finds the pair of one linear map.
func (x *extractor) extract(l *model.Linear, from, to ordered) error {
	delta, squares, norm := difference(from, to)
	if math.IsNaN(squares) || math.IsInf(squares, 0) {
		return fmt.Errorf("%s has a weight that is not finite in %s or %s", l.Module, x.base.Path, x.tuned.Path)
	}
	if squares == 0 {
		x.report.Modules = append(x.report.Modules, ExtractedModule{Module: l.Module, Energy: 1})
		return nil
	}
	p := x.factor(l, delta, squares)
	kernels.Gemm(false, false, p.out, p.in, p.rank, -1, p.b, p.rank, p.a, p.in, 1, delta, p.in)
	cut := cutting{lost: sumSquares(delta, p.in), all: squares}
	x.total.lost, x.total.all = x.total.lost+cut.lost, x.total.all+cut.all
	x.list = append(x.list, p)
	x.report.Modules = append(x.report.Modules, ExtractedModule{
		Module: l.Module, Rank: p.rank, Change: ratio(squares, norm), Energy: cut.energy(), Error: cut.error(),
	})
	return nil
}

// factor is the pair that is nearest to a difference. For an energy it tries twice the rank until there is enough.
func (x *extractor) factor(l *model.Linear, delta []float32, squares float64) lowRank {
	out, in := l.W.Rows, l.W.Cols
	most := min(x.ranks.Rank, out, in)
	rank := most
	if x.ranks.Energy > 0 {
		rank = min(most, 16)
	}
	for {
		u, s, vt := linalg.TruncatedSVD(linalg.Matrix(delta, out, in),
			linalg.Projection{Rank: rank, Iterations: x.opt.Iterations, Seed: newRandom(x.opt.Seed, l.Module).next()})
		values := widened(s)
		kept := 0.0
		for _, v := range values {
			kept += v * v
		}
		if rank == most || kept >= x.ranks.Energy*squares {
			like := lowRank{module: l.Module, in: in, out: out}
			return like.truncated(widened(u), values, widened(vt), x.ranks.choose(values, squares))
		}
		rank = min(most, 2*rank)
	}
}

// adapter is the LoRA of all pairs.
func (x *extractor) adapter() (*Adapter, error) {
	sum, err := x.base.SHA256()
	if err != nil {
		return nil, err
	}
	c := Config{BaseModel: x.opt.BaseModel, Rank: highestRank(x.list)}
	if c.BaseModel == "" {
		c.BaseModel = x.base.name()
	}
	modules := make([]string, len(x.list))
	for i, l := range x.list {
		modules[i] = l.module
	}
	c.Targets, c.Layers = describeTargets(x.base, modules)
	a, err := newLowRank(c, Origin{Base: absolute(x.base.Path), BaseSHA256: sum, Architecture: x.base.Architecture()}, x.list)
	if err != nil {
		return nil, err
	}
	x.report.Rank, x.report.Parameters = c.Rank, a.Parameters()
	return a, nil
}

// ordered is a weight with rows in the order of the Hugging Face checkpoint.
type ordered struct {
	w     quant.Matrix
	heads int // > 0: the file has the rows of so many heads permuted
}

// row sets dst to row r.
func (o ordered) row(dst []float32, r int) {
	if o.heads > 0 {
		r = permutedRow(r, o.w.Rows/o.heads)
	}
	quant.Dequantize(o.w.Type, dst, o.w.Slice(r, r+1).Data)
}

// difference is to - from, with the sum of its squares and of those of from.
func difference(from, to ordered) (delta []float32, squares, norm float64) {
	delta = make([]float32, from.w.Rows*from.w.Cols)
	squares, norm = differ(from, to, func(r int) []float32 { return delta[r*from.w.Cols : (r+1)*from.w.Cols] })
	return delta, squares, norm
}

// differ is the sums of squares of to - from and of from, a row at a time; into gives the memory for a row's difference.
func differ(from, to ordered, into func(r int) []float32) (squares, norm float64) {
	rows, cols := from.w.Rows, from.w.Cols
	sums := make([][2]float64, rows)
	const piece = 16 // rows a thread takes at a time
	kernels.Parallel((rows+piece-1)/piece, func(i int) {
		old := make([]float32, cols)
		for r := i * piece; r < min(rows, (i+1)*piece); r++ {
			d := into(r)
			from.row(old, r)
			to.row(d, r)
			for j, v := range old {
				d[j] -= v
			}
			sums[r] = [2]float64{kernels.SumSquares(d), kernels.SumSquares(old)}
		}
	})
	for _, s := range sums {
		squares, norm = squares+s[0], norm+s[1]
	}
	return squares, norm
}

// sumSquares adds up the squares a row at a time.
func sumSquares(x []float32, cols int) float64 {
	sum := 0.0
	for o := 0; o < len(x); o += cols {
		sum += kernels.SumSquares(x[o : o+cols])
	}
	return sum
}

// ratio is ‖Δ‖/‖W‖ of sums of squares.
func ratio(squares, norm float64) float64 {
	if norm == 0 {
		return math.Sqrt(squares)
	}
	return math.Sqrt(squares / norm)
}
