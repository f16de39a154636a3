package heal

import (
	"time"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/model"
)

// work is how much of one kind there is to do and is done, in products for each token or row, and how long some of it
// took. What is left is foreseen from it.
type work struct {
	all, done, timed float64
	took             time.Duration
}

// time says how long work took since a time.
func (w *work) time(timed float64, since time.Time) {
	w.timed += timed
	w.took += time.Since(since)
}

// left is about how long the rest takes; 0 where nothing was timed yet.
func (w *work) left() time.Duration {
	if w.timed == 0 {
		return 0
	}
	return time.Duration(float64(w.took) / w.timed * max(w.all-w.done, 0))
}

// left is about how long the rest of the layers takes.
func (h *healer) left() time.Duration {
	return h.passing.left() + h.summing.left() + h.searching.left()
}

// size is the number of weights of a linear map.
func size(m *model.Linear) float64 { return float64(m.W.Rows) * float64(m.W.Cols) }

// passWork is that of taking a token through weights of both models.
func passWork(weights float64) float64 { return 2 * weights }

// passesTo is the work of taking a token through a layer up to each of its inputs, and the first map of it.
func passesTo(inputs [][]*model.Linear) (to []float64) {
	before := 0.0
	for _, group := range inputs {
		to = append(to, passWork(before+size(group[0])))
		for _, m := range group {
			before += size(m)
		}
	}
	return to
}

// sumWork is that of adding a token's input of a linear map to the sums over products of columns.
func sumWork(m *model.Linear) float64 { return 2 * float64(m.W.Cols) * float64(m.W.Cols) }

// searchWork is that of searching the blocks of a linear map.
func searchWork(m *model.Linear) float64 { return size(m) * float64(m.W.Cols) }

// foresee sums the work of all layers, and times a batch on its way through the first one. Layers are taken for like
// the first, in proportion to their weights.
func (h *healer) foresee() {
	h.sizes = make([]float64, len(h.base.Model.Layers))
	for _, m := range h.base.Model.Matrices() {
		if m.Layer >= 0 {
			h.sizes[m.Layer] += size(m)
			if m.Layer >= h.skipped && changeable(m) {
				h.searching.all += searchWork(m)
			}
		}
	}
	groups, passes, sums := h.student.inputs(0), 0.0, 0.0
	for i, w := range passesTo(groups) {
		passes += w
		sums += sumWork(groups[i][0])
	}
	for i, n := range h.sizes {
		h.passing.all += passWork(n)
		if i >= h.skipped {
			h.passing.all += passes * n / h.sizes[0]
			h.summing.all += sums * n / h.sizes[0]
		}
	}
	start, all := time.Now(), func(*model.Linear, *autograd.Tensor) (more bool) { return true }
	h.teacher.step(0, 0, all)
	h.student.step(0, 0, all)
	h.passing.time(passWork(h.sizes[0])/float64(h.student.Batches()), start)
}
