package algebra

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/peft"
)

// ResizeOptions says what rank each module of a resized LoRA gets. At least one of Rank, Energy and Ratio is set; with
// Energy or Ratio each module has a rank of its own, and Rank is the highest.
type ResizeOptions struct {
	Rank   int     // > 0: the rank, or the highest
	Energy float64 // in (0, 1]: the lowest rank that keeps this share of the sum of the squared singular values
	Ratio  float64 // > 1: singular values are kept down to the largest divided by this
	Seed   uint64  // of the rows of A that are added where the rank grows

	Progress func(done, all int, module string)
}

// Check reports options that make no sense.
func (opt *ResizeOptions) Check() error {
	switch {
	case opt.Rank < 0 || opt.Rank > maxLowRank:
		return fmt.Errorf("rank %d, expected 1 to %d", opt.Rank, maxLowRank)
	case opt.Energy < 0 || opt.Energy > 1 || math.IsNaN(opt.Energy):
		return fmt.Errorf("energy %v, expected more than 0 and at most 1", opt.Energy)
	case opt.Ratio != 0 && !(opt.Ratio > 1):
		return fmt.Errorf("ratio of singular values %v, expected more than 1", opt.Ratio)
	case opt.Energy > 0 && opt.Ratio > 0:
		return errors.New("an energy and a ratio of singular values cannot be combined: give one of them")
	case opt.Rank == 0 && opt.Energy == 0 && opt.Ratio == 0:
		return errors.New("no rank, no energy and no ratio of singular values: give one of them")
	}
	return nil
}

// maxLowRank catches typing errors: no weight is that wide.
const maxLowRank = 1 << 16

// choose is the rank that a module gets, whose singular values are s, descending, of which the largest are known;
// squares is the sum of the squares of all. It is 1 at least.
func (opt *ResizeOptions) choose(s []float64, squares float64) int {
	limit := len(s)
	if opt.Rank > 0 {
		limit = min(limit, opt.Rank)
	}
	rank := limit
	switch {
	case opt.Energy > 0:
		kept := 0.0
		for rank = 0; rank < limit && kept < opt.Energy*squares*(1-1e-12); rank++ {
			kept += s[rank] * s[rank]
		}
	case opt.Ratio > 0:
		for rank = 0; rank < limit && s[rank]*opt.Ratio > s[0]; rank++ {
		}
	}
	return max(1, rank)
}

// ResizeReport says what Resize kept.
type ResizeReport struct {
	Modules    []ResizedModule `json:"modules"`
	Energy     float64         `json:"energy"` // over all modules together
	Error      float64         `json:"error"`
	Parameters int             `json:"parameters"`
	Was        int             `json:"parameters_before"`
}

// ResizedModule says what is left of one module's change Δ in the smaller Δ'.
type ResizedModule struct {
	Module string  `json:"module"`
	Was    int     `json:"rank_before"`
	Rank   int     `json:"rank"`
	Energy float64 `json:"energy"` // ‖Δ'‖²/‖Δ‖²: the share of the squared singular values that is kept
	Error  float64 `json:"error"`  // ‖Δ-Δ'‖/‖Δ‖
}

// Resize makes a LoRA of another rank whose change is as near as can be, by the singular values of each module's B·A.
// They are found exactly, in the space of the factors (QR of each, then those of a matrix of the rank's size). The
// result has alpha = r, the root of each singular value in both factors, and a rank pattern where modules differ. Where
// the rank grows, the new rows of A are random and the new columns of B zero, so that training can use them and the
// change is the same.
func Resize(ctx context.Context, a *peft.Adapter, opt ResizeOptions) (_ *peft.Adapter, _ *ResizeReport, err error) {
	defer mapped.Guard(&err)()
	out, report, err := resize(ctx, handle.Adapter(a), opt)
	return wrapped(out), report, err
}

// resize is Resize on what the adapter holds.
func resize(ctx context.Context, a *attach.Adapter, opt ResizeOptions) (*attach.Adapter, *ResizeReport, error) {
	fail := func(err error) (*attach.Adapter, *ResizeReport, error) {
		return nil, nil, fmt.Errorf("resize: %w", err)
	}
	if err := opt.Check(); err != nil {
		return fail(err)
	}
	modules, err := lowRanks(a)
	if err != nil {
		return fail(err)
	}
	report := &ResizeReport{Was: a.Parameters()}
	var list []lowrank.LowRank
	lost, all := 0.0, 0.0
	for i := range modules {
		if err := ctx.Err(); err != nil {
			return fail(err)
		}
		l, cut := opt.resize(&modules[i])
		list, lost, all = append(list, l), lost+cut.Lost, all+cut.All
		report.Modules = append(report.Modules, ResizedModule{
			Module: l.Module, Was: modules[i].Rank, Rank: l.Rank, Energy: cut.Energy(), Error: cut.Error(),
		})
		if opt.Progress != nil {
			opt.Progress(i+1, len(modules), l.Module)
		}
	}
	total := lowrank.Cutting{Lost: lost, All: all}
	report.Energy, report.Error = total.Energy(), total.Error()
	c := a.Config
	c.Rank = highestRank(list)
	out, err := newLowRank(c, a.Origin, list)
	if err != nil {
		return fail(err)
	}
	report.Parameters = out.Parameters()
	return out, report, nil
}

func highestRank(list []lowrank.LowRank) int {
	r := 0
	for _, l := range list {
		r = max(r, l.Rank)
	}
	return r
}

// resize makes one module's pair.
func (opt *ResizeOptions) resize(l *lowrank.LowRank) (lowrank.LowRank, lowrank.Cutting) {
	u, s, vt := l.SVD()
	var cut lowrank.Cutting
	for _, x := range s {
		cut.All += x * x
	}
	if opt.Energy == 0 && opt.Ratio == 0 && opt.Rank > len(s) {
		return opt.grow(l, u, s, vt), cut
	}
	rank := opt.choose(s, cut.All)
	for _, x := range s[rank:] {
		cut.Lost += x * x
	}
	return l.Truncated(u, s, vt, rank), cut
}

// grow is the same change with a higher rank.
func (opt *ResizeOptions) grow(l *lowrank.LowRank, u, s, vt []float64) lowrank.LowRank {
	g := l.Truncated(u, s, vt, opt.Rank)
	prng.NewRandom(opt.Seed, attach.LoRAName(l.Module, "A")).Uniform(g.A[len(s)*g.In:], 1/math.Sqrt(float64(g.In)))
	return g
}
