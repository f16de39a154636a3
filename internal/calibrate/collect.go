// Package calibrate runs a model over text: to measure importance matrices (package imatrix), or layer by layer.
package calibrate

import (
	"context"
	"fmt"
	"slices"

	"github.com/peftconv/peftconv/gguf/imatrix"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/memory"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
)

// batchTokens is about how many tokens go through the model at once.
const batchTokens = 2048

// Options says how Collect measures.
type Options struct {
	Ctx    int    // tokens of a window
	Chunks int    // the most windows; 0: all of the text
	BOS    *int32 // takes the place of the first token of each window; nil: the vocabulary has none
	Head   bool   // measure the output head, too

	// ExactActivations multiplies quantized weights with activations as they are. Otherwise activations are rounded as
	// llama.cpp's CPU backend rounds them.
	ExactActivations bool

	// Progress, which may be nil, is called after each batch of windows.
	Progress func(done, windows int)
}

// Collect runs a model over windows of a text, given as token ids, and measures the inputs of its linear maps. What
// does not fill a window is left out. The result has no datasets, which the caller may name.
func Collect(ctx context.Context, m *model.Model, ids []int32, opt Options) (*imatrix.Matrix, error) {
	windows := len(ids) / max(opt.Ctx, 1)
	if opt.Chunks > 0 {
		windows = min(windows, opt.Chunks)
	}
	if err := checkWindows(m, ids, windows, opt.Ctx); err != nil {
		return nil, err
	}
	tokens := min(max(opt.Ctx, batchTokens), len(ids))
	if err := memory.Check(fmt.Sprintf("a batch of %d tokens", tokens), m.ForwardBytes(tokens)); err != nil {
		return nil, err
	}
	c := newCollector(m, opt)
	for first := 0; first < windows; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n := min(windows-first, max(1, batchTokens/opt.Ctx))
		c.measure(ids[first*opt.Ctx : (first+n)*opt.Ctx])
		if first += n; opt.Progress != nil {
			opt.Progress(first, windows)
		}
	}
	return c.matrix(windows)
}

func checkWindows(m *model.Model, ids []int32, windows, size int) error {
	switch limit := m.Spec.Context; {
	case size < 4:
		return fmt.Errorf("windows of %d tokens, expected 4 or more", size)
	case limit > 0 && size > limit:
		return fmt.Errorf("windows of %d tokens, but the model was made for %d", size, limit)
	case windows == 0:
		return fmt.Errorf("the text has %d tokens, less than one window of %d", len(ids), size)
	}
	for i, id := range ids {
		if id < 0 || int(id) >= m.Spec.Vocab {
			return fmt.Errorf("token %d has id %d, beyond the vocabulary of %d", i+1, id, m.Spec.Vocab)
		}
	}
	return nil
}

// collector adds up squares while a model runs.
type collector struct {
	model.NoHooks
	model *model.Model
	opt   Options
	hooks model.Hooks
	sites map[*model.Linear]site
	sums  map[string]*sums // by the tensor's name
	tape  *autograd.Tape
	batch batch.Batch
}

// site is what a linear map is in its tensor.
type site struct {
	tensor   string // in GGUF files
	matrix   int    // which of the stacked ones
	matrices int
	again    bool // its input is that of a map before in the same matrix, whose rows it shares
}

// sums are those of a tensor's inputs.
type sums struct {
	squares []float64 // of each column, matrix after matrix
	tokens  []int64   // that went through each matrix
}

func newCollector(m *model.Model, opt Options) *collector {
	c := &collector{model: m, opt: opt, sites: sitesOf(m), sums: map[string]*sums{}, tape: autograd.NewTape()}
	c.hooks = c
	if !opt.ExactActivations {
		c.hooks = model.RuntimeActivations{Hooks: c}
	}
	c.tape.Record(false)
	return c
}

// sitesOf finds the places of all linear maps.
func sitesOf(m *model.Model) map[*model.Linear]site {
	sites := map[*model.Linear]site{}
	type matrix struct {
		tensor string
		number int
	}
	seen := map[matrix]bool{}
	for _, l := range m.Matrices() {
		s := site{tensor: m.GGUFTensors(l)[0], matrix: l.Expert, matrices: 1}
		if l.Role.Kind() == arch.Experts {
			s.matrices = m.Spec.At(l.Layer).Experts.Count
		}
		at := matrix{s.tensor, s.matrix}
		s.again, seen[at] = seen[at], true
		sites[l] = s
	}
	return sites
}

// measure runs the model over some windows.
func (c *collector) measure(ids []int32) {
	c.batch.Reset()
	for window := range slices.Chunk(ids, c.opt.Ctx) {
		at := len(c.batch.IDs)
		c.batch.Append(window, nil)
		if c.opt.BOS != nil {
			c.batch.IDs[at] = *c.opt.BOS
		}
	}
	c.tape.Reset(0)
	x := c.model.Hidden(c.tape, &c.batch, c.hooks)
	if c.opt.Head {
		c.add(c.sites[c.model.HeadMatrix()], x)
	}
}

// Linear implements model.Hooks: it reads x and leaves y unchanged. A map before the layers is not measured, as in
// llama-imatrix.
func (c *collector) Linear(_ *autograd.Tape, l *model.Linear, x, y *autograd.Tensor) *autograd.Tensor {
	if s, inLayer := c.sites[l]; inLayer && !s.again {
		c.add(s, x)
	}
	return y
}

// add adds the squares of each column of x. Threads share the columns.
func (c *collector) add(at site, x *autograd.Tensor) {
	all := c.sums[at.tensor]
	if all == nil {
		all = &sums{make([]float64, at.matrices*x.Cols), make([]int64, at.matrices)}
		c.sums[at.tensor] = all
	}
	all.tokens[at.matrix] += int64(x.Rows)
	squares := all.squares[at.matrix*x.Cols:][:x.Cols]
	const columns = 64
	kernels.Parallel((x.Cols+columns-1)/columns, func(i int) {
		from, to := i*columns, min(x.Cols, (i+1)*columns)
		part := squares[from:to]
		for r := range x.Rows {
			for j, v := range x.Row(r)[from:to] {
				part[j] += float64(v) * float64(v)
			}
		}
	})
}

// matrix is what was measured.
func (c *collector) matrix(windows int) (*imatrix.Matrix, error) {
	m := &imatrix.Matrix{Chunks: windows, ChunkSize: c.opt.Ctx}
	for name, all := range c.sums {
		e := &imatrix.Entry{Name: name, Sums: make([]float32, len(all.squares)), Counts: all.tokens}
		for i, s := range all.squares {
			e.Sums[i] = float32(s)
		}
		if err := m.Add(e); err != nil {
			return nil, err
		}
	}
	return m, nil
}
