// Package calibrate measures importance matrices (package imatrix) by running a model over text.
package calibrate

import (
	"context"
	"fmt"
	"slices"

	"github.com/peftconv/peftconv/gguf/imatrix"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
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
	names map[*model.Linear]string // in GGUF files
	sums  map[string][]float64     // one a column, by the tensor's name
	count int64                    // tokens
	tape  *autograd.Tape
	batch batch.Batch
}

func newCollector(m *model.Model, opt Options) *collector {
	c := &collector{model: m, opt: opt, names: map[*model.Linear]string{}, sums: map[string][]float64{},
		tape: autograd.NewTape()}
	for _, l := range m.Matrices() {
		c.names[l], _ = m.InGGUF(l)
	}
	c.hooks = c
	if !opt.ExactActivations {
		c.hooks = model.RuntimeActivations{Hooks: c}
	}
	c.tape.Record(false)
	return c
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
		c.add(c.names[c.model.HeadMatrix()], x)
	}
	c.count += int64(len(ids))
}

// Linear implements model.Hooks: it reads x and leaves y unchanged.
func (c *collector) Linear(_ *autograd.Tape, l *model.Linear, x, y *autograd.Tensor) *autograd.Tensor {
	c.add(c.names[l], x)
	return y
}

// add adds the squares of each column of x. Threads share the columns.
func (c *collector) add(name string, x *autograd.Tensor) {
	sums := c.sums[name]
	if sums == nil {
		sums = make([]float64, x.Cols)
		c.sums[name] = sums
	}
	const columns = 64
	kernels.Parallel((x.Cols+columns-1)/columns, func(i int) {
		from, to := i*columns, min(x.Cols, (i+1)*columns)
		part := sums[from:to]
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
	for name, sums := range c.sums {
		e := &imatrix.Entry{Name: name, Sums: make([]float32, len(sums)), Counts: []int64{c.count}}
		for i, s := range sums {
			e.Sums[i] = float32(s)
		}
		if err := m.Add(e); err != nil {
			return nil, err
		}
	}
	return m, nil
}
