package algebra

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/memory"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft"
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
	Name string `json:"name"` // Hugging Face's name of the tensor
	// why: "norm", "embedding", "output head", "bias", "not a target", " of another shape" behind it
	Reason string  `json:"reason"`
	Change float64 `json:"change"` // ‖Δ‖/‖W‖; 0 where the shapes differ

	tuned whole
}

// Extract makes a LoRA that turns one model into another, as nearly as its rank allows: of each linear map's difference
// the largest singular values, by random projection (linalg.TruncatedSVD). The two may be any of GGUF file and Hugging
// Face directory, in any types; of quantized weights the difference holds their rounding too. One weight at a time is
// in memory. Errors: models of different shape, and targets that nothing matches.
func Extract(ctx context.Context, base, tuned *peft.Base, opt ExtractOptions) (_ *peft.Adapter,
	_ *ExtractReport, err error) {
	defer mapped.Guard(&err)()
	a, report, err := extract(ctx, handle.Base(base), handle.Base(tuned), opt)
	return wrapped(a), report, err
}

// extract is Extract on what the bases hold.
func extract(ctx context.Context, base, tuned *attach.Base, opt ExtractOptions) (*attach.Adapter, *ExtractReport,
	error) {
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
	base, tuned *attach.Base
	opt         ExtractOptions
	ranks       ResizeOptions
	chosen      []string
	list        []lowrank.LowRank
	total       lowrank.Cutting
	report      ExtractReport
}

func newExtractor(base, tuned *attach.Base, opt ExtractOptions) (*extractor, error) {
	x := &extractor{base: base, tuned: tuned, opt: opt}
	var err error
	if x.ranks, err = opt.ranks(); err != nil {
		return nil, err
	}
	if err := attach.SameModel(base, tuned); err != nil {
		return nil, err
	}
	if x.chosen, err = attach.ChooseLinears(base, opt.Targets, opt.Layers, attach.AllLinear); err != nil {
		return nil, err
	}
	return x, x.checkMemory()
}

// checkMemory refuses an extraction that needs more memory than there is: for the largest difference and for all pairs.
func (x *extractor) checkMemory() error {
	largest, pairs := 0, 0
	for _, l := range x.base.Model.Linears() {
		if slices.Contains(x.chosen, l.Module) {
			largest = max(largest, l.W.Rows*l.W.Cols)
			if x.ranks.Energy == 0 { // otherwise ranks are not known before
				pairs += min(x.ranks.Rank, l.W.Rows, l.W.Cols) * (l.W.Rows + l.W.Cols)
			}
		}
	}
	return memory.Check("the difference of the largest weights, with all pairs,", 4*int64(largest+pairs))
}

func (x *extractor) run(ctx context.Context) error {
	tuned := x.tuned.Model.Linears()
	for i, l := range x.base.Model.Linears() {
		if err := ctx.Err(); err != nil {
			return err
		}
		from, to := l.Ordered(), tuned[i].Ordered()
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
	r.Energy, r.Error = x.total.Energy(), x.total.Error()
	if x.total.All == 0 {
		return errors.New("no chosen weight differs: there is nothing to extract")
	}
	return nil
}

// release gives the pages of the files back.
func (x *extractor) release() {
	for _, b := range []*attach.Base{x.base, x.tuned} {
		if b.Store != nil {
			b.Store.Release()
		}
	}
}

// extract finds the pair of one linear map.
func (x *extractor) extract(l *model.Linear, from, to model.Ordered) error {
	delta, squares, norm := lowrank.Difference(from, to)
	if math.IsNaN(squares) || math.IsInf(squares, 0) {
		return fmt.Errorf("%s has a weight that is not finite in %s or %s", l.Module, x.base.Path, x.tuned.Path)
	}
	if squares == 0 {
		x.report.Modules = append(x.report.Modules, ExtractedModule{Module: l.Module, Energy: 1})
		return nil
	}
	p := x.factor(l, delta, squares)
	kernels.Gemm(false, false, p.Out, p.In, p.Rank, -1, p.B, p.Rank, p.A, p.In, 1, delta, p.In)
	cut := lowrank.Cutting{Lost: lowrank.SumSquares(delta, p.In), All: squares}
	x.total.Lost, x.total.All = x.total.Lost+cut.Lost, x.total.All+cut.All
	x.list = append(x.list, p)
	x.report.Modules = append(x.report.Modules, ExtractedModule{
		Module: l.Module, Rank: p.Rank, Change: lowrank.Ratio(squares, norm), Energy: cut.Energy(), Error: cut.Error(),
	})
	return nil
}

// factor is the pair that is nearest to a difference. For an energy it tries twice the rank until there is enough.
func (x *extractor) factor(l *model.Linear, delta []float32, squares float64) lowrank.LowRank {
	most := min(x.ranks.Rank, l.W.Rows, l.W.Cols)
	return lowrank.Nearest(l.Module, delta, l.W.Rows, l.W.Cols, lowrank.Approximation{
		Rank: most, Energy: x.ranks.Energy, Squares: squares, Iterations: x.opt.Iterations,
		Seed: prng.NewRandom(x.opt.Seed, l.Module).Next(),
	})
}

// adapter is the LoRA of all pairs.
func (x *extractor) adapter() (*attach.Adapter, error) {
	sum, err := x.base.SHA256()
	if err != nil {
		return nil, err
	}
	c := attach.Config{BaseModel: x.opt.BaseModel, Rank: highestRank(x.list)}
	if c.BaseModel == "" {
		c.BaseModel = x.base.Name()
	}
	modules := make([]string, len(x.list))
	for i, l := range x.list {
		modules[i] = l.Module
	}
	c.Targets, c.Layers = attach.DescribeTargets(x.base, modules)
	a, err := newLowRank(c, attach.Origin{Base: attach.Absolute(x.base.Path), BaseSHA256: sum,
		Architecture: x.base.Architecture()}, x.list)
	if err != nil {
		return nil, err
	}
	x.report.Rank, x.report.Parameters = c.Rank, a.Parameters()
	return a, nil
}
