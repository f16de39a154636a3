package quantize

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// Budget is the maximum size of a model. One of its fields is set.
type Budget struct {
	Bytes int64   // of the file, or of all files together
	Bits  float64 // a weight, over the data of all tensors
}

// How NewBudgetPlan measures and chooses. It takes some rows of each tensor, spread evenly, quantizes them to each
// candidate type and measures the error: the sum of the squared differences, weighted by the importance of the
// columns, relative to the same sum over the weights. With an importance matrix this is the share of noise in the
// output of the linear map. The objective is the sum over all tensors of this share times traits.share, the weight of
// the noise. The method is Lagrange's: for a price per byte each tensor takes the type with the least error plus price
// times bytes, and the price is lowered as far as the budget allows. The rest of the budget is spent on single
// tensors, on the one with the most gain per byte first.
const (
	sampleWeights = 1 << 15 // about how many weights of a tensor are sampled
	minRows       = 8
	maxRows       = 64
)

// budgetTypes are the candidate types of a budget, for rows that fit them.
var budgetTypes = []gguf.Type{
	gguf.IQ1_S, gguf.IQ1_M, gguf.IQ2_XXS, gguf.IQ2_XS, gguf.IQ2_S, gguf.IQ3_XXS, gguf.IQ3_S, gguf.IQ4_XS,
	gguf.Q2_K, gguf.Q3_K, gguf.Q4_K, gguf.Q5_K, gguf.Q6_K,
	gguf.IQ4_NL, gguf.Q4_0, gguf.Q4_1, gguf.Q5_0, gguf.Q5_1, gguf.Q8_0,
}

// option is a type that a tensor may get.
type option struct {
	to    gguf.Type
	bytes int64
	error float64 // weighted: to be minimized
}

// item is a tensor whose type is to be chosen.
type item struct {
	index   int      // in the plan
	options []option // on the lower convex hull: more bytes, less error, with falling gain per byte
	chosen  int
}

// NewBudgetPlan chooses types so that the model keeps within a budget and the weighted error is smallest. Overrides
// and fixed types are respected; the file type is the one nearest to the chosen types, and opt.Type is ignored. It
// samples the weights, which takes some seconds; progress, if not nil, is called after each tensor.
func NewBudgetPlan(ctx context.Context, f *gguf.File, opt Options, b Budget,
	progress func(done, tensors int)) (*Plan, error) {
	opt.Type = FileType{Type: gguf.Q8_0}
	opt.Pure = true
	plan, err := newPlan(f, opt)
	if err != nil {
		return nil, err
	}
	p := &budgeted{Plan: plan, align: 1}
	if b.Bits == 0 {
		p.align = f.Alignment
	}
	limit, err := p.limit(b)
	if err != nil {
		return nil, err
	}
	items, err := p.items()
	if err != nil {
		return nil, err
	}
	limit -= p.fixedBytes(items)
	if err := p.measure(ctx, items, limit, progress); err != nil {
		return nil, err
	}
	if least := allocate(items, limit); least > limit {
		return nil, p.tooSmall(least - limit)
	}
	for _, it := range items {
		p.Tensors[it.index].give(it.options[it.chosen].to)
	}
	p.opt.Type = p.nearest()
	return plan, p.setMetadata()
}

// budgeted is a plan whose types are being chosen.
type budgeted struct {
	*Plan
	align int64 // to which sizes are padded: a budget of bytes includes the padding, one of bits does not
}

// give sets the type of a tensor to one that fits its rows.
func (t *Tensor) give(to gguf.Type) {
	t.To, t.Fallback = to, false
	t.Bytes = t.bytesAs(to)
}

func (t *Tensor) bytesAs(to gguf.Type) int64 {
	return t.source.Elements() / int64(to.BlockLen()) * int64(to.BlockSize())
}

// padded is a size with its padding, if the budget includes padding.
func (p *budgeted) padded(n int64) int64 { return (n + p.align - 1) / p.align * p.align }

// limit is the budget for all tensors' data, in bytes.
func (p *budgeted) limit(b Budget) (int64, error) {
	if b.Bits > 0 {
		return int64(b.Bits / 8 * float64(p.Weights())), nil
	}
	size, err := p.Size()
	if err != nil {
		return 0, err
	}
	return b.Bytes - (size - p.fixedBytes(nil)), nil
}

// fixedBytes is the size of the data of all tensors but the items.
func (p *budgeted) fixedBytes(items []item) int64 {
	n := int64(0)
	for i := range p.Tensors {
		n += p.padded(p.Tensors[i].Bytes)
	}
	for _, it := range items {
		n -= p.padded(p.Tensors[it.index].Bytes)
	}
	return n
}

// tooSmall is the error about a target that cannot be reached.
func (p *Plan) tooSmall(missing int64) error {
	advice := ""
	if p.opt.Imatrix == nil {
		advice = " (with an importance matrix there are smaller types)"
	}
	return fmt.Errorf("the target is %d bytes smaller than the smallest possible file%s", missing, advice)
}

// items are the tensors whose type is not fixed.
func (p *budgeted) items() ([]item, error) {
	var items []item
	for i := range p.Tensors {
		t := &p.Tensors[i]
		if !p.model.quantizable(t.source) || p.opt.fixes(t) {
			continue
		}
		if err := p.free(t); err != nil {
			return nil, err
		}
		items = append(items, item{index: i})
	}
	if len(items) == 0 {
		return nil, errors.New("there is no tensor whose type can be chosen")
	}
	return items, nil
}

// measure finds the options of the items, which may take this number of bytes in all.
func (p *budgeted) measure(ctx context.Context, items []item, bytes int64, progress func(done, tensors int)) error {
	weights := int64(0)
	for _, it := range items {
		weights += p.Tensors[it.index].source.Elements()
	}
	mean := 8 * float64(bytes) / float64(weights)
	errs := make([]error, len(items))
	var mu sync.Mutex
	done := 0
	kernels.Parallel(len(items), func(i int) {
		if errs[i] = ctx.Err(); errs[i] != nil {
			return
		}
		items[i].options, errs[i] = p.options(&p.Tensors[items[i].index], mean)
		mu.Lock()
		defer mu.Unlock()
		if done++; progress != nil {
			progress(done, len(items))
		}
	})
	return cmp.Or(errs...)
}

// free checks that a tensor, which may have been planned to keep its type, can be quantized.
func (p *Plan) free(t *Tensor) error {
	if err := p.check(t.source, gguf.Q8_0); err != nil {
		return err
	}
	return t.weigh(p.opt.Imatrix, "")
}

// fixes says whether the options fix the type of a tensor.
func (o *settings) fixes(t *Tensor) bool {
	switch r := t.role; {
	case o.override(t.Name) != nil:
		return true
	case r == head:
		return o.OutputType != nil || o.LeaveOutput
	case r == embedding:
		return o.EmbeddingType != nil
	}
	return false
}

// options are the types that a tensor may get, with their bytes and errors.
func (p *budgeted) options(t *Tensor, mean float64) ([]option, error) {
	s, err := p.newSample(t)
	if err != nil {
		return nil, err
	}
	share := p.model.share(t)
	finest := option{to: finest(t.From)}
	finest.bytes = p.padded(t.bytesAs(finest.to))
	if finest.to != t.From {
		finest.error = s.error(finest.to) * share
	}
	list := []option{finest}
	for _, to := range budgetTypes {
		if !wholeRows(t.source, to) || needsImportance(t.role, to, "") && !t.Weighted || far(to, mean) {
			continue
		}
		list = append(list, option{to, p.padded(t.bytesAs(to)), s.error(to) * share})
	}
	return hull(list), nil
}

// finest is the type with the most bits that a tensor may get: its own, which loses nothing, but at most 16 bits.
func finest(from gguf.Type) gguf.Type {
	if from == gguf.F32 {
		return gguf.F16
	}
	return from
}

// far says whether a type has so few bits, compared with the average, that measuring it is not worth the time.
func far(to gguf.Type, mean float64) bool { return bits(to) < mean-3.5 }

// roleShares weights the noise in the output of a linear map by its effect on the model's predictions, by role. The
// ratios were measured on small trained models, by quantizing one tensor at a time and comparing the distributions of
// the next token. They do not depend on the tensor's size.
var roleShares = [...]float64{
	other: 2, embedding: 4, head: 20, attnQ: 1, attnK: 3, attnV: 3, attnOut: 1, ffnUp: 2, ffnGate: 2, ffnDown: 3,
}

// endShare is the additional weight of noise in the first and the last eighth of the layers.
const endShare = 3

// share is the weight of a tensor's noise.
func (m *traits) share(t *Tensor) float64 {
	r := t.role
	if r == embedding && m.tied {
		r = head
	}
	s := roleShares[r]
	if layer, end := m.layerOf(t.Name), max(1, m.layers/8); layer >= 0 && (layer < end || layer >= m.layers-end) {
		s *= endShare
	}
	return s
}

// hull keeps the options on the lower convex hull, in the order of their bytes.
func hull(list []option) []option {
	slices.SortFunc(list, func(a, b option) int {
		return cmp.Or(cmp.Compare(a.bytes, b.bytes), cmp.Compare(a.error, b.error))
	})
	var out []option
	for _, o := range list {
		if len(out) > 0 && o.error >= out[len(out)-1].error {
			continue
		}
		for len(out) >= 2 && gain(out[len(out)-2], out[len(out)-1]) <= gain(out[len(out)-2], o) {
			out = out[:len(out)-1]
		}
		out = append(out, o)
	}
	return out
}

// gain is the reduction of the error per byte from a to b.
func gain(a, b option) float64 { return (a.error - b.error) / float64(b.bytes-a.bytes) }

// allocate chooses options so that their bytes are at most limit, and returns the bytes. A result above limit means
// that even the smallest options are too large. On convex hulls, repeatedly taking the step with the most gain per
// byte is Lagrange's method with a falling price.
func allocate(items []item, limit int64) int64 {
	total := int64(0)
	for i := range items {
		items[i].chosen = 0
		total += items[i].options[0].bytes
	}
	for {
		best, most := -1, 0.0
		for i := range items {
			if a, b, ok := items[i].step(); ok && total+b.bytes-a.bytes <= limit && gain(a, b) > most {
				best, most = i, gain(a, b)
			}
		}
		if best < 0 {
			return total
		}
		a, b, _ := items[best].step()
		total += b.bytes - a.bytes
		items[best].chosen++
	}
}

// step is from the chosen option to the next.
func (it *item) step() (a, b option, ok bool) {
	if it.chosen+1 == len(it.options) {
		return a, b, false
	}
	return it.options[it.chosen], it.options[it.chosen+1], true
}

// nearest is the file type whose main type most weights have.
func (p *Plan) nearest() FileType {
	counts := map[gguf.Type]int64{}
	for i := range p.Tensors {
		counts[p.Tensors[i].To] += p.Tensors[i].source.Elements()
	}
	var best FileType
	most := int64(-1)
	for _, ft := range fileTypes {
		if n := counts[ft.Type]; n > most {
			best, most = ft, n
		}
	}
	return best
}

// rowSample is some rows of a tensor as float32.
type rowSample struct {
	t      *Tensor
	rows   []float32
	matrix []int64 // index of each row's matrix in a stack
	energy float64
}

func (p *Plan) newSample(t *Tensor) (*rowSample, error) {
	cols, rows := t.source.Cols(), t.source.Rows()
	size := t.source.Size() / rows
	n := min(rows, max(minRows, min(maxRows, sampleWeights/cols)))
	s := &rowSample{t: t, rows: make([]float32, n*cols)}
	read := scratch{reader: p.reader}
	for i := range n {
		r := (2*i + 1) * rows / (2 * n)
		data, err := read.source(piece{t, r * size, (r + 1) * size}, &read.bytes)
		if err != nil {
			return nil, err
		}
		quant.Dequantize(t.From, s.rows[i*cols:(i+1)*cols], data)
		s.matrix = append(s.matrix, r/dim(t.source, 1))
	}
	t.source.Release()
	s.energy = s.sum(s.rows)
	return s, nil
}

// importance is that of the columns of row i; nil: all are equal.
func (s *rowSample) importance(i int) []float32 {
	if s.t.importance == nil {
		return nil
	}
	cols := s.t.source.Cols()
	return s.t.importance[s.matrix[i]*cols:][:cols]
}

// sum is the weighted sum of the squares of rows.
func (s *rowSample) sum(x []float32) float64 {
	cols := int(s.t.source.Cols())
	total := 0.0
	for i := range s.matrix {
		row, weight := x[i*cols:(i+1)*cols], s.importance(i)
		for j, v := range row {
			square := float64(v) * float64(v)
			if weight != nil {
				square *= float64(weight[j])
			}
			total += square
		}
	}
	return total
}

// error is the share of noise in the rows after quantizing.
func (s *rowSample) error(to gguf.Type) float64 {
	if s.energy == 0 {
		return 0
	}
	cols := int(s.t.source.Cols())
	blocks := make([]byte, cols/to.BlockLen()*to.BlockSize())
	noise := make([]float32, len(s.rows))
	for i := range s.matrix {
		row, out := s.rows[i*cols:(i+1)*cols], noise[i*cols:(i+1)*cols]
		quant.Quantize(to, blocks, row, cols, s.importance(i))
		quant.Dequantize(to, out, blocks)
		for j, v := range row {
			out[j] -= v
		}
	}
	return s.sum(noise) / s.energy
}
