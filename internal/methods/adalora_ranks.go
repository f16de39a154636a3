package methods

import (
	"math"
	"slices"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/kernels"
)

// rankAllocator removes ranks where they matter least (Zhang et al. 2023, sections 3.2 and 3.3). A rank is a triplet: a
// singular value with its row of A and its column of B.
type rankAllocator struct {
	at          *adaloraAttachment
	Importance  []float32 // smoothed |value·gradient|, of all values of A, B and E of each site in turn
	Uncertainty []float32 // smoothed deviation from it
	Kept        []float32 // 1 for each triplet that is there, in turn; 0 for one that is not
	step        []float32 // steps seen, one value
}

func newRankAllocator(at *adaloraAttachment) *rankAllocator {
	r := &rankAllocator{at: at, step: make([]float32, 1)}
	values, triplets := 0, 0
	for _, s := range at.Order {
		values += len(s.A.Data) + len(s.B.Data) + len(s.E.Data)
		triplets += s.A.Rows
	}
	r.Importance, r.Uncertainty = make([]float32, values), make([]float32, values)
	r.Kept = slices.Repeat([]float32{1}, triplets)
	return r
}

// state is what a checkpoint holds of the allocation.
func (at *adaloraAttachment) state() []attach.Param {
	r := at.Allocator
	var all []attach.Param
	for _, p := range []attach.Param{
		{Name: "importance", Data: r.Importance}, {Name: "uncertainty", Data: r.Uncertainty},
		{Name: "kept", Data: r.Kept}, {Name: "step", Data: r.step},
	} {
		p.Shape = []int{len(p.Data)}
		all = append(all, p)
	}
	return all
}

// stepped gets the length of the run before its first step, and allocates ranks after each.
func (at *adaloraAttachment) stepped(step, steps int) {
	r := at.Allocator
	switch {
	case r == nil || steps == 0:
	case step == 0:
		at.Settings.plan(steps)
	case step > int(r.step[0]): // not a step that a checkpoint has already seen
		r.step[0] = float32(step)
		r.after(step - 1)
	}
}

// plan sets the phases of a run of total steps.
func (s *AdaLoRASettings) plan(steps int) {
	s.Total = &steps
	if s.warmup > 0 || s.final > 0 {
		s.Warmup, s.Final = int(math.Round(s.warmup*float64(steps))), int(math.Round(s.final*float64(steps)))
	}
	s.Final = min(s.Final, steps-1)
	s.Warmup = min(s.Warmup, steps-s.Final-1)
}

// after updates the allocation after a step, whose gradients are still there. As in PEFT the first step is 0.
func (r *rankAllocator) after(step int) {
	s := r.at.Settings
	last := *s.Total - s.Final // the last step that changes ranks
	if step < last {
		r.observe()
	}
	switch {
	case step > last:
		r.mask()
	case step == last || step > s.Warmup && step%s.Interval == 0:
		r.keep(r.budget(step, last))
		r.mask()
	}
}

// budget is how many triplets there should be after a step: all in the warm-up, then a cubic
// decay to the target.
func (r *rankAllocator) budget(step, last int) int {
	s := r.at.Settings
	start, target := len(r.Kept), s.Target*len(r.at.Order)
	left := 1 - float64(step-s.Warmup)/float64(last-s.Warmup)
	return int(float64(start-target)*left*left*left) + target
}

// observe takes a step's values and gradients into the smoothed importance.
func (r *rankAllocator) observe() {
	b1, b2 := float32(r.at.Settings.Beta1), float32(r.at.Settings.Beta2)
	i := 0
	for _, s := range r.at.Order {
		for _, p := range []*autograd.Tensor{s.A, s.B, s.E} {
			for j, v := range p.Data {
				now := float32(math.Abs(float64(v * p.Grad[j])))
				r.Importance[i] = float32(b1*r.Importance[i]) + float32((1-b1)*now)
				off := float32(math.Abs(float64(now - r.Importance[i])))
				r.Uncertainty[i] = float32(b2*r.Uncertainty[i]) + float32((1-b2)*off)
				i++
			}
		}
	}
}

// Scores are how much each triplet matters: the product of importance and uncertainty of its singular value and, on
// average, of the values of its row and column.
func (r *rankAllocator) Scores() []float64 {
	var all []float64
	i := 0
	next := func() float64 {
		i++
		return float64(r.Importance[i-1]) * float64(r.Uncertainty[i-1])
	}
	for _, s := range r.at.Order {
		rank, in, out := s.A.Rows, s.A.Cols, s.B.Rows
		score := make([]float64, rank)
		for k := range rank {
			for range in {
				score[k] += next() / float64(in)
			}
		}
		for range out {
			for k := range rank {
				score[k] += next() / float64(out)
			}
		}
		for k := range rank {
			score[k] += next()
		}
		all = append(all, score...)
	}
	return all
}

// keep decides which triplets are there: those with a score above that of the last one that is removed.
func (r *rankAllocator) keep(budget int) {
	scores := r.Scores()
	sorted := slices.Sorted(slices.Values(scores))
	gone := len(scores) - budget
	for i, score := range scores {
		r.Kept[i] = 1
		if gone > 0 && score <= sorted[gone-1] {
			r.Kept[i] = 0
		}
	}
}

// mask sets the singular values of triplets that are not there to zero.
func (r *rankAllocator) mask() {
	kept := r.Kept
	for _, s := range r.at.Order {
		for k := range s.E.Data {
			if kept[k] == 0 {
				s.E.Data[k] = 0
			}
		}
		kept = kept[s.A.Rows:]
	}
}

// regularize adds the gradient of the term that keeps the rows of A and the columns of B orthonormal, the mean of
// ‖A·Aᵀ - I‖ and ‖Bᵀ·B - I‖ over all of them.
func (at *adaloraAttachment) regularize() {
	weight := at.Settings.Orthogonal / float64(2*len(at.Order))
	if weight == 0 {
		return
	}
	kernels.Parallel(2*len(at.Order), func(i int) {
		s := at.Order[i/2]
		if i%2 == 0 {
			addOrthogonalGrad(s.A, weight, false)
		} else {
			addOrthogonalGrad(s.B, weight, true)
		}
	})
}

// addOrthogonalGrad adds the gradient of weight·‖M‖, M = A·Aᵀ - I, which is weight·2·M·A/‖M‖, or the same of Bᵀ.
func addOrthogonalGrad(p *autograd.Tensor, weight float64, transposed bool) {
	n, k := p.Rows, p.Cols
	if transposed {
		n, k = k, n
	}
	m := make([]float32, n*n)
	kernels.Gemm(transposed, !transposed, n, n, k, 1, p.Data, p.Cols, p.Data, p.Cols, 0, m, n)
	for i := range n {
		m[i*n+i]--
	}
	norm := math.Sqrt(kernels.SumSquares(m))
	if norm == 0 {
		return
	}
	factor := float32(2 * weight / norm)
	if transposed {
		kernels.Gemm(false, false, p.Rows, n, n, factor, p.Data, p.Cols, m, n, 1, p.Grad, p.Cols)
	} else {
		kernels.Gemm(false, false, n, p.Cols, n, factor, m, n, p.Data, p.Cols, 1, p.Grad, p.Cols)
	}
}

// finish leaves only what is there in the adapter, and records in its configuration which ranks these were.
func (at *adaloraAttachment) finish(a *attach.Adapter) error {
	s, kept := at.Settings, at.Allocator.Kept
	ranks, shapes, from := map[string][]bool{}, map[string][]int{}, map[string]attach.Param{}
	for _, p := range a.Tensors {
		from[p.Name] = p
	}
	for _, site := range at.Order {
		there := make([]bool, site.A.Rows)
		for k := range there {
			there[k] = kept[k] != 0
		}
		kept = kept[len(there):]
		ranks[patternName(site.module)] = there
	}
	s.Ranks = ranks
	for _, site := range at.Order {
		for part, shape := range adaloraShapes(s.RankOf(site.module), site.B.Rows, site.A.Cols) {
			shapes[attach.PartName(site.module, part)] = shape
		}
	}
	a.Allocate(shapes)
	for _, site := range at.Order {
		there := ranks[patternName(site.module)]
		for i := range a.Tensors {
			if p := &a.Tensors[i]; slices.Contains(site.names(), p.Name) {
				pickRanks(p, from[p.Name], there, attach.HasSuffix(p.Name, "lora_B"))
			}
		}
	}
	var err error
	a.Method, err = attach.NewMethod(&a.Config, a.Tensors)
	return err
}

// names are those of the site's tensors.
func (s *adaloraSite) names() []string {
	var names []string
	for _, part := range adaloraParts {
		names = append(names, attach.PartName(s.module, part))
	}
	return names
}

// pickRanks copies the rows, or the columns, that are there.
func pickRanks(dst *attach.Param, src attach.Param, there []bool, columns bool) {
	i := 0
	if !columns {
		cols := src.Cols()
		for k, is := range there {
			if is {
				copy(dst.Row(i, cols), src.Row(k, cols))
				i++
			}
		}
		return
	}
	for r := range src.Rows() {
		for k, v := range src.Row(r, len(there)) {
			if there[k] {
				dst.Data[i] = v
				i++
			}
		}
	}
}
