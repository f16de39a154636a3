package algebra

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/peft"
)

// Ways to make one LoRA of several, under PEFT's names. With wᵢ the weight of an adapter and sᵢ its scale (alpha/r):
const (
	CombineCat = "cat" // the pairs side by side: exactly Σ wᵢ·ΔWᵢ, the ranks added up
	// A = Σ √(wᵢsᵢ)·Aᵢ and B likewise: cheap, but with products of different adapters
	CombineLinear = "linear"
	CombineSVD    = "svd" // Σ wᵢ·ΔWᵢ cut to a rank
	// trimmed, signs elected, means of those that agree (Yadav et al. 2023), of A and B
	CombineTies    = "ties"
	CombineTiesSVD = "ties_svd" // the same of ΔW
	// values dropped at random, the others rescaled (Yu et al. 2024), of A and B
	CombineDareLinear    = "dare_linear"
	CombineDareLinearSVD = "dare_linear_svd"     // the same of ΔW
	CombineDareTies      = "dare_ties"           // dropped at random, then signs elected, of A and B
	CombineDareTiesSVD   = "dare_ties_svd"       // the same of ΔW
	CombineMagnitude     = "magnitude_prune"     // the values of largest magnitude alone, of A and B
	CombineMagnitudeSVD  = "magnitude_prune_svd" // the same of ΔW
	MajorityTotal        = "total"               // the sign of the sum is elected
	MajorityFrequency    = "frequency"           // the sign that more values have is elected
)

// recipe is what a way of combining does.
type recipe struct {
	cat, svd bool
	prune    pruning
	elect    bool // the disjoint mean of TIES rather than the sum
}

var recipes = map[string]recipe{
	CombineCat:           {cat: true},
	CombineLinear:        {},
	CombineSVD:           {svd: true},
	CombineTies:          {prune: pruneMagnitude, elect: true},
	CombineTiesSVD:       {prune: pruneMagnitude, elect: true, svd: true},
	CombineDareLinear:    {prune: pruneRandom},
	CombineDareLinearSVD: {prune: pruneRandom, svd: true},
	CombineDareTies:      {prune: pruneRandom, elect: true},
	CombineDareTiesSVD:   {prune: pruneRandom, elect: true, svd: true},
	CombineMagnitude:     {prune: pruneMagnitude},
	CombineMagnitudeSVD:  {prune: pruneMagnitude, svd: true},
}

// CombineTypes are the ways to combine, in alphabetical order.
func CombineTypes() []string { return slices.Sorted(maps.Keys(recipes)) }

// CombineOptions says how Combine makes one adapter of several.
type CombineOptions struct {
	Type         string  // CombineCat ("" is the same), CombineLinear, …
	Rank         int     // of the _svd forms; 0 is the largest rank of the adapters
	Density      float64 // share of values that is kept where values are pruned: in (0, 1]
	MajoritySign string  // MajorityTotal ("" is the same) or MajorityFrequency, of the ties forms
	Seed         uint64  // of what is dropped at random
	// ScaleOnce makes the _svd forms multiply an adapter's change by its scale once, as all others do. PEFT multiplies
	// by it twice, which makes the change of an adapter with alpha = 2r twice as strong as its weight says.
	ScaleOnce bool
	Force     bool // combine adapters of different bases
	Progress  func(done, all int, module string)
}

// Check reports options that do not fit the type.
func (opt *CombineOptions) Check() error {
	_, err := opt.recipe()
	return err
}

func (opt *CombineOptions) recipe() (recipe, error) {
	kind := opt.Type
	if kind == "" {
		kind = CombineCat
	}
	r, ok := recipes[kind]
	switch {
	case !ok:
		return r, fmt.Errorf("type %q is not known, expected one of %s", kind, strings.Join(CombineTypes(), ", "))
	case r.prune != pruneNone && !(opt.Density > 0 && opt.Density <= 1):
		return r, fmt.Errorf("type %s keeps a share of the values: density is %v, expected more than 0 and at most 1",
			kind, opt.Density)
	case opt.MajoritySign != "" && opt.MajoritySign != MajorityTotal && opt.MajoritySign != MajorityFrequency:
		return r, fmt.Errorf("majority sign %q is not known, expected %s or %s", opt.MajoritySign, MajorityTotal,
			MajorityFrequency)
	case opt.Rank < 0 || opt.Rank > 0 && !r.svd:
		return r, fmt.Errorf("rank %d: type %s has no rank to choose, the _svd types do", opt.Rank, kind)
	}
	return r, nil
}

// CombineReport says what came out of Combine. Norms are Frobenius norms of the changes over all modules.
type CombineReport struct {
	Inputs     []CombinedInput `json:"inputs"`
	Modules    int             `json:"modules"`
	Rank       int             `json:"rank"`
	Parameters int             `json:"parameters"`
	Norm       float64         `json:"norm"`
	Sum        float64         `json:"sum"`        // norm of the weighted sum of the inputs' changes
	Difference float64         `json:"difference"` // norm of the result less that sum, over the sum's
}

// CombinedInput is one of the adapters.
type CombinedInput struct {
	Weight  float64 `json:"weight"`
	Rank    int     `json:"rank"` // the largest
	Modules int     `json:"modules"`
	Norm    float64 `json:"norm"`
}

// Combine makes one LoRA of several, with the numbers of PEFT's add_weighted_adapter; Scaled.Scale is an adapter's
// weight, which may be negative. The result has alpha = r, so that its scale is 1. A module that only some adapters
// have is combined of those. Errors: adapters that are no plain LoRAs or were trained over different bases (unless
// Force), ranks that differ where A and B themselves are added, and options that do not fit the type.
//
// One adapter alone is scaled, whatever the type, as in PEFT. What is dropped at random depends on the seed, the place
// of the adapter and the tensor's name; no other program drops the same.
func Combine(ctx context.Context, adapters []peft.Scaled, opt CombineOptions) (_ *peft.Adapter,
	_ *CombineReport, err error) {
	defer mapped.Guard(&err)()
	a, report, err := combine(ctx, handle.Scaled(adapters), opt)
	return wrapped(a), report, err
}

// wrapped is the adapter of package peft that holds one, nil of nil.
func wrapped(a *attach.Adapter) *peft.Adapter {
	if a == nil {
		return nil
	}
	return handle.OfAdapter(a).(*peft.Adapter)
}

// combine is Combine on what the arguments hold.
func combine(ctx context.Context, adapters []attach.Scaled, opt CombineOptions) (*attach.Adapter, *CombineReport,
	error) {
	c, err := newCombiner(adapters, opt)
	if err != nil {
		return nil, nil, fmt.Errorf("combine: %w", err)
	}
	a, err := c.run(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("combine: %w", err)
	}
	c.report.Rank, c.report.Parameters = a.Config.Rank, a.Parameters()
	return a, &c.report, nil
}

// combiner is one combination.
type combiner struct {
	opt     CombineOptions
	recipe  recipe
	inputs  []attach.Scaled
	rank    int                  // of the result
	modules []string             // of all adapters, sorted
	parts   map[string][]lowPart // by module, in the order of the adapters
	sums    struct{ got, want, both float64 }
	report  CombineReport
}

// lowPart is what one adapter has for a module.
type lowPart struct {
	lowrank.LowRank
	weight float64
	input  int
}

func newCombiner(adapters []attach.Scaled, opt CombineOptions) (*combiner, error) {
	if len(adapters) == 0 {
		return nil, errors.New("no adapter is given")
	}
	r, err := opt.recipe()
	if err != nil {
		return nil, err
	}
	if len(adapters) == 1 {
		r = recipe{}
	}
	c := &combiner{opt: opt, recipe: r, inputs: adapters, parts: map[string][]lowPart{}}
	for i, in := range adapters {
		if err := c.take(i, in); err != nil {
			return nil, fmt.Errorf("adapter %d of %d: %w", i+1, len(adapters), err)
		}
	}
	c.modules = slices.Sorted(maps.Keys(c.parts))
	return c, c.chooseRank()
}

// take adds an adapter.
func (c *combiner) take(i int, in attach.Scaled) error {
	if math.IsNaN(in.Scale) || math.IsInf(in.Scale, 0) {
		return fmt.Errorf("weight %v, expected a finite number", in.Scale)
	}
	if err := sameOrigin(&c.inputs[0].Adapter.Origin, &in.Adapter.Origin); err != nil && !c.opt.Force {
		return err
	}
	list, err := lowRanks(in.Adapter)
	if err != nil {
		return err
	}
	report := CombinedInput{Weight: in.Scale, Rank: maxRank(&in.Adapter.Config), Modules: len(list)}
	squares := 0.0
	for _, l := range list {
		if others := c.parts[l.Module]; len(others) > 0 && (others[0].In != l.In || others[0].Out != l.Out) {
			return fmt.Errorf("%s is made for a %d×%d weight, the first adapter that has it for one of %d×%d",
				l.Module, l.Out, l.In, others[0].Out, others[0].In)
		}
		squares += l.Inner(&l)
		c.parts[l.Module] = append(c.parts[l.Module], lowPart{l, in.Scale, i})
	}
	report.Norm = math.Sqrt(squares)
	c.report.Inputs = append(c.report.Inputs, report)
	return nil
}

// ErrOtherBase is an adapter of another base than the first, which CombineOptions.Force takes all the same.
var ErrOtherBase = errors.New("adapters of different bases")

// sameOrigin reports adapters of different bases, as far as they say which they are of.
func sameOrigin(a, b *attach.Origin) error {
	if a.BaseSHA256 != "" && b.BaseSHA256 != "" && a.BaseSHA256 != b.BaseSHA256 {
		return errkind.Errorf(ErrOtherBase, "it was trained over %s with SHA-256 %s, but the first over %s with %s",
			b.Base, b.BaseSHA256, a.Base, a.BaseSHA256)
	}
	if a.Architecture != "" && b.Architecture != "" && a.Architecture != b.Architecture {
		return errkind.Errorf(ErrOtherBase, "it is for architecture %q, but the first for %q", b.Architecture, a.Architecture)
	}
	return nil
}

// maxRank is the largest rank that a configuration gives.
func maxRank(c *attach.Config) int {
	r := c.Rank
	for _, other := range c.RankPattern {
		r = max(r, other)
	}
	return r
}

// chooseRank is PEFT's choice of the result's rank.
func (c *combiner) chooseRank() error {
	sum, largest := 0, 0
	for i, in := range c.report.Inputs {
		sum, largest = sum+in.Rank, max(largest, in.Rank)
		if !c.recipe.cat && !c.recipe.svd && in.Rank != c.report.Inputs[0].Rank {
			return fmt.Errorf("adapter %d has rank %d, the first %d: where A and B themselves are added "+
				"the ranks must be the same (%s and the _svd types take any)", i+1, in.Rank, c.report.Inputs[0].Rank, CombineCat)
		}
	}
	c.rank = largest
	if c.recipe.cat {
		c.rank = sum
	}
	if c.recipe.svd && c.opt.Rank > 0 {
		c.rank = c.opt.Rank
	}
	return nil
}

func (c *combiner) run(ctx context.Context) (*attach.Adapter, error) {
	var list []lowrank.LowRank
	for i, module := range c.modules {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		l, err := c.combine(c.parts[module])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", module, err)
		}
		c.count(&l, c.parts[module])
		list = append(list, l)
		if c.opt.Progress != nil {
			c.opt.Progress(i+1, len(c.modules), module)
		}
	}
	r := &c.report
	r.Modules, r.Norm, r.Sum = len(list), math.Sqrt(max(0, c.sums.got)), math.Sqrt(max(0, c.sums.want))
	if c.sums.want > 0 {
		r.Difference = math.Sqrt(max(0, c.sums.got-2*c.sums.both+c.sums.want) / c.sums.want)
	}
	return newLowRank(c.config(), c.origin(), list)
}

// config is the first adapter's with the targets of all.
func (c *combiner) config() attach.Config {
	var configs []*attach.Config
	for _, in := range c.inputs {
		configs = append(configs, &in.Adapter.Config)
	}
	config := c.inputs[0].Adapter.Config
	config.Rank = c.rank
	config.Targets, config.Exclude, config.Layers = unionOfTargets(configs, c.modules)
	return config
}

// origin is the first that is known.
func (c *combiner) origin() attach.Origin {
	for _, in := range c.inputs {
		if in.Adapter.Origin.BaseSHA256 != "" {
			return in.Adapter.Origin
		}
	}
	return c.inputs[0].Adapter.Origin
}

// count adds up what the report says of a module.
func (c *combiner) count(l *lowrank.LowRank, parts []lowPart) {
	c.sums.got += l.Inner(l)
	for i := range parts {
		c.sums.both += parts[i].weight * l.Inner(&parts[i].LowRank)
		for j := range parts {
			c.sums.want += parts[i].weight * parts[j].weight * parts[i].Inner(&parts[j].LowRank)
		}
	}
}

// combine makes one pair of several.
func (c *combiner) combine(parts []lowPart) (lowrank.LowRank, error) {
	switch {
	case c.recipe.cat:
		return c.sideBySide(parts), nil
	case c.recipe.svd && c.recipe.prune == pruneNone:
		return c.cutSum(parts), nil
	case c.recipe.svd:
		return c.cutDense(parts), nil
	}
	return c.ofFactors(parts)
}
