package peft

import (
	"math"
	"slices"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/kernels"
)

// rankAllocator takes ranks away where they matter least (Zhang et al. 2023, sections 3.2 and 3.3). A rank is a triplet: a
// singular value with its row of A and its column of B.
type rankAllocator struct {
	at          *adaloraAttachment
	importance  []float32 // smoothed |value·gradient|, of all values of A, B and E of each site in turn
	uncertainty []float32 // smoothed deviation from it
	kept        []float32 // 1 for each triplet that is there, in turn; 0 for one that is not
	step        []float32 // steps seen, one value
}

func newRankAllocator(at *adaloraAttachment) *rankAllocator {
	r := &rankAllocator{at: at, step: make([]float32, 1)}
	values, triplets := 0, 0
	for _, s := range at.order {
		values += len(s.a.Data) + len(s.b.Data) + len(s.e.Data)
		triplets += s.a.Rows
	}
	r.importance, r.uncertainty = make([]float32, values), make([]float32, values)
	r.kept = slices.Repeat([]float32{1}, triplets)
	return r
}

// State is what a checkpoint holds of the allocation.
func (at *adaloraAttachment) State() []attach.Param {
	r := at.allocator
	var all []attach.Param
	for _, p := range []attach.Param{
		{Name: "importance", Data: r.importance}, {Name: "uncertainty", Data: r.uncertainty},
		{Name: "kept", Data: r.kept}, {Name: "step", Data: r.step},
	} {
		p.Shape = []int{len(p.Data)}
		all = append(all, p)
	}
	return all
}

// Stepped learns how long the run is before its first step, and allocates ranks after each.
func (at *adaloraAttachment) Stepped(step, steps int) {
	r := at.allocator
	switch {
	case r == nil || steps == 0:
	case step == 0:
		at.settings.plan(steps)
	case step > int(r.step[0]): // not a step that a checkpoint has already seen
		r.step[0] = float32(step)
		r.after(step)
	}
}

// plan sets the phases of a run of so many steps.
func (s *adaloraSettings) plan(steps int) {
	s.Total = &steps
	if s.warmup > 0 || s.final > 0 {
		s.Warmup, s.Final = int(math.Round(s.warmup*float64(steps))), int(math.Round(s.final*float64(steps)))
	}
	s.Final = min(s.Final, steps-1)
	s.Warmup = min(s.Warmup, steps-s.Final-1)
}

// after is the work after a step, of which the gradients are still there.
func (r *rankAllocator) after(step int) {
	s := r.at.settings
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

// budget is how many triplets there should be after a step: all in the warm-up, and then fewer with the third power of what
// is left of the way to the target.
func (r *rankAllocator) budget(step, last int) int {
	s := r.at.settings
	start, target := len(r.kept), s.Target*len(r.at.order)
	left := 1 - float64(step-s.Warmup)/float64(last-s.Warmup)
	return int(float64(start-target)*left*left*left) + target
}

// observe takes a step's values and gradients into the smoothed importance.
func (r *rankAllocator) observe() {
	b1, b2 := float32(r.at.settings.Beta1), float32(r.at.settings.Beta2)
	i := 0
	for _, s := range r.at.order {
		for _, p := range []*autograd.Tensor{s.a, s.b, s.e} {
			for j, v := range p.Data {
				now := float32(math.Abs(float64(v * p.Grad[j])))
				r.importance[i] = float32(b1*r.importance[i]) + float32((1-b1)*now)
				off := float32(math.Abs(float64(now - r.importance[i])))
				r.uncertainty[i] = float32(b2*r.uncertainty[i]) + float32((1-b2)*off)
				i++
			}
		}
	}
}

// scores are how much each triplet matters: the product of importance and uncertainty of its singular value and, on average,
// of the values of its row and column.
func (r *rankAllocator) scores() []float64 {
	var all []float64
	i := 0
	next := func() float64 {
		i++
		return float64(r.importance[i-1]) * float64(r.uncertainty[i-1])
	}
	for _, s := range r.at.order {
		rank, in, out := s.a.Rows, s.a.Cols, s.b.Rows
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

// keep decides which triplets are there: those with a score above that of the last one to go.
func (r *rankAllocator) keep(budget int) {
	scores := r.scores()
	sorted := slices.Sorted(slices.Values(scores))
	gone := len(scores) - budget
	for i, score := range scores {
		r.kept[i] = 1
		if gone > 0 && score <= sorted[gone-1] {
			r.kept[i] = 0
		}
	}
}

// mask sets the singular values of triplets that are not there to zero.
func (r *rankAllocator) mask() {
	kept := r.kept
	for _, s := range r.at.order {
		for k := range s.e.Data {
			if kept[k] == 0 {
				s.e.Data[k] = 0
			}
		}
		kept = kept[s.a.Rows:]
	}
}

// Regularize adds the gradient of the term that keeps the rows of A and the columns of B orthonormal, the mean of
// ‖A·Aᵀ - I‖ and ‖Bᵀ·B - I‖ over all of them.
func (at *adaloraAttachment) Regularize() {
	weight := at.settings.Orthogonal / float64(2*len(at.order))
	if weight == 0 {
		return
	}
	kernels.Parallel(2*len(at.order), func(i int) {
		s := at.order[i/2]
		if i%2 == 0 {
			addOrthogonalGrad(s.a, weight, false)
		} else {
			addOrthogonalGrad(s.b, weight, true)
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

// Finish leaves only what is there in the adapter, and records in its configuration which ranks these were.
func (at *adaloraAttachment) Finish(a *attach.Adapter) error {
	s, kept := at.settings, at.allocator.kept
	ranks, shapes, from := map[string][]bool{}, map[string][]int{}, map[string]attach.Param{}
	for _, p := range a.Tensors {
		from[p.Name] = p
	}
	for _, site := range at.order {
		there := make([]bool, site.a.Rows)
		for k := range there {
			there[k] = kept[k] != 0
		}
		kept = kept[len(there):]
		ranks[patternName(site.module)] = there
	}
	s.Ranks = ranks
	for _, site := range at.order {
		for part, shape := range adaloraShapes(s.rankOf(site.module), site.b.Rows, site.a.Cols) {
			shapes[attach.PartName(site.module, part)] = shape
		}
	}
	a.Allocate(shapes)
	for _, site := range at.order {
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
