package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/train"
	"github.com/peftconv/peftconv/quant"
)

// Options configures Run. A zero field means what its comment says.
type Options struct {
	Shapes     []string            // of training steps, by name; none: the smallest, unless Model is set
	Types      []string            // of weights; none: Q8_0 and Q4_K for steps, more for products
	Model      string              // a model's file or directory to measure instead of shapes
	Precisions []kernels.Precision // none: all that the processor has instructions for
	Tokens     int                 // of a step, and rows of a product; 0: 512
	Rank       int                 // of the LoRA on every linear map; 0: 16
	Steps      int                 // that are measured; 0: what fits into some seconds, at least 2
	Recompute  string              // as train.Options.Recompute; "": auto
	NoGemm     bool                // leave products out
	NoTrain    bool                // leave steps out
	Attention  bool                // measure attention alone, of Shapes
	Decode     bool                // measure generating, and not products and steps
	Context    int                 // tokens before those that are generated; 0: 32
	Cache      string              // how keys and values are kept, as generate.Options.Cache
	Merge      bool                // measure merging alone
	Scaling    bool                // measure steps that the ranks of the process's run share, alone
	Parts      int                 // of such a step, for each rank; 0: 4
	Progress   func(doing string)  // may be nil
}

// Report is the result of Run.
type Report struct {
	Tier    string  `json:"tier"`    // instructions that the kernels use
	Threads int     `json:"threads"` // that they use
	Peak    Peak    `json:"peak"`
	Gemm    []Gemm  `json:"gemm"`
	Train   []Train `json:"train"`
	// of one layer, with Options.Attention
	Attention []Attention `json:"attention,omitempty"`
	// of generating, without and with a LoRA of the rank
	Decode []Decode `json:"decode,omitempty"`
	Merge  []Merge  `json:"merge,omitempty"`
	// of steps that ranks share, with Options.Scaling
	Scaling []Scaling `json:"scaling,omitempty"`
}

// Types that are measured where none are named.
var (
	gemmTypes  = []string{"F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0", "Q3_K", "Q2_K", "IQ4_XS"}
	trainTypes = []string{"Q8_0", "Q4_K"}
)

// ParseType is the type of a name in capitals or not: "q4_k". The name of a mixture whose most weights are of one type
// stands for that type: "q4_k_m".
func ParseType(name string) (gguf.Type, error) {
	upper := strings.ToUpper(name)
	for range 2 {
		if kind, err := gguf.ParseType(upper); err == nil && quant.Supported(kind) {
			return kind, nil
		}
		for _, mixture := range []string{"_S", "_M", "_L"} {
			upper = strings.TrimSuffix(upper, mixture)
		}
	}
	return 0, fmt.Errorf("type %q is not one that can be computed with", name)
}

func (o *Options) defaults() {
	if len(o.Shapes) == 0 && o.Model == "" {
		o.Shapes = []string{shapes[0].name}
	}
	if len(o.Precisions) == 0 {
		o.Precisions = []kernels.Precision{kernels.F32}
		if kernels.HasBF16() {
			o.Precisions = append(o.Precisions, kernels.BF16)
		}
		if kernels.HasInt8() {
			o.Precisions = append(o.Precisions, kernels.Int8)
		}
	}
	if o.Tokens == 0 {
		o.Tokens = 512
	}
	if o.Parts == 0 {
		o.Parts = 4
	}
	if o.Rank == 0 {
		o.Rank = 16
	}
	if o.Recompute == "" {
		o.Recompute = train.RecomputeAuto
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
}

// check reports invalid names before anything is measured.
func (o *Options) check() error {
	for _, name := range o.Shapes {
		if _, err := find(name); err != nil {
			return err
		}
	}
	for _, name := range o.Types {
		if _, err := ParseType(name); err != nil {
			return err
		}
	}
	if o.Tokens < 2 {
		return errors.New("a step needs at least 2 tokens")
	}
	return nil
}

// Run measures the machine, products and steps. Peaks are measured at the beginning, in the pauses between steps and
// at the end; the highest values are used.
func Run(ctx context.Context, o Options) (*Report, error) {
	o.defaults()
	if err := errors.Join(ctx.Err(), o.check()); err != nil {
		return nil, err
	}
	r := &Report{Tier: kernels.Tier(), Threads: kernels.Threads(), Gemm: []Gemm{}, Train: []Train{}}
	if o.Scaling {
		return r, r.measureScaling(ctx, &o)
	}
	o.Progress("peak of this machine")
	r.Peak = MeasurePeak()
	if o.Attention {
		o.NoGemm, o.NoTrain = true, true
		if err := r.measureAttentions(ctx, &o); err != nil {
			return nil, err
		}
	}
	if o.Merge {
		o.NoGemm, o.NoTrain = true, true
		if err := r.measureMerges(ctx, &o); err != nil {
			return nil, err
		}
	}
	if !o.NoGemm && !o.Decode {
		if err := r.measureGemms(ctx, &o); err != nil {
			return nil, err
		}
	}
	if !o.NoTrain || o.Decode {
		if err := r.measureModels(ctx, &o); err != nil {
			return nil, err
		}
	}
	o.Progress("peak of this machine, again")
	r.Peak.raise(MeasurePeak())
	r.percent()
	return r, nil
}

func (r *Report) measureGemms(ctx context.Context, o *Options) error {
	types := o.Types
	if len(types) == 0 {
		types = gemmTypes
	}
	for _, name := range types {
		kind, err := ParseType(name)
		if err != nil {
			return err
		}
		o.Progress("products with " + kind.String())
		for _, shape := range gemmShapes {
			if err := ctx.Err(); err != nil {
				return err
			}
			found, err := measureGemm(kind, shape, o.Tokens, o.Precisions)
			if err != nil {
				return err
			}
			r.Gemm = append(r.Gemm, found...)
		}
	}
	return nil
}

// measureModels measures training steps or generating on the models that the options name.
func (r *Report) measureModels(ctx context.Context, o *Options) error {
	if o.Model != "" {
		b, err := peft.OpenBase(o.Model)
		if err != nil {
			return err
		}
		defer b.Close()
		return r.measureModel(ctx, b, o.Model, typesOf(handle.Base(b).Model), o)
	}
	return o.eachShape(func(shape string, kind gguf.Type) error {
		b, err := randomBase(shape, kind)
		if err != nil {
			return err
		}
		return r.measureModel(ctx, b, strings.ToLower(shape), kind.String(), o)
	})
}

// eachShape calls f with each shape in each type, up to an error.
func (o *Options) eachShape(f func(shape string, kind gguf.Type) error) error {
	types := o.Types
	if len(types) == 0 {
		types = trainTypes
	}
	for _, shape := range o.Shapes {
		for _, name := range types {
			kind, err := ParseType(name)
			if err == nil {
				err = f(shape, kind)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// measureModel measures one model.
func (r *Report) measureModel(ctx context.Context, b *peft.Base, name, kind string, o *Options) error {
	if !o.Decode {
		return r.measurePrecisions(ctx, b, name, kind, o)
	}
	o.Progress(fmt.Sprintf("generating with %s in %s", name, kind))
	found, err := measureDecode(ctx, b, name, kind, o)
	r.Decode = append(r.Decode, found...)
	return err
}

func (r *Report) measurePrecisions(ctx context.Context, b *peft.Base, name, kind string, o *Options) error {
	for _, p := range o.Precisions {
		o.Progress(fmt.Sprintf("training steps of %s in %s, %s", name, kind, p))
		t, err := measureTrain(ctx, b, name, kind, p, o)
		if err != nil {
			return err
		}
		r.Train = append(r.Train, t)
		peak := r.Peak.named(t.Precision)
		*peak = max(*peak, t.best)
	}
	return nil
}

// percent computes all shares of the peaks.
func (r *Report) percent() {
	for i := range r.Attention {
		a := &r.Attention[i]
		a.Percent, a.PercentMemory = 100*a.GFLOPS / *r.Peak.named(a.Rounded), 100*a.Bandwidth/r.Peak.Bandwidth
	}
	for i := range r.Gemm {
		g := &r.Gemm[i]
		g.Percent = 100 * g.GFLOPS / *r.Peak.named(g.Precision)
	}
	for i := range r.Train {
		t := &r.Train[i]
		t.Percent = 100 * t.GFLOPS / *r.Peak.named(t.Precision)
	}
	for i := range r.Decode {
		d := &r.Decode[i]
		d.Percent = 100 * d.Bandwidth / r.Peak.Bandwidth
	}
}
