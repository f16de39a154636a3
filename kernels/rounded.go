package kernels

import (
	"math"
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/peftconv/peftconv/internal/freelist"
)

// Products of quantized blocks with few rows, in the form in which the blocks are: the rows are rounded to 8-bit
// integers, as llama.cpp's CPU backend rounds them, and multiplied with the codes of the blocks. Sums within a block
// are whole numbers and exact. Each is multiplied by the steps of both sides and added up in float32.
//
// Every row of the blocks is read once, by one task, and multiplied with all rows of x while it is in the cache.

// Coded are Weights whose blocks can be multiplied as they are.
type Coded interface {
	Weights
	// Blocks is the kind of the blocks and their bytes, row after row; ok is false where there is no kind for them.
	Blocks() (kind BlockKind, data []byte, ok bool)
}

// HasProducts says whether blocks of a kind can be multiplied with Rounded rows fast, which is where there is assembly
// for it.
func HasProducts(kind BlockKind) bool { return productsExist(kind) }

// hasProduct says whether kinds of processors with assembly for products have it for a kind of blocks.
func hasProduct(kind BlockKind) bool {
	switch kind {
	case Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL, MXFP4, Q4_K, Q5_K, Q6_K, IQ4_XS:
		return true
	}
	return false
}

// Rounded are rows of 8-bit integers with steps: one step for 32 numbers, rounded to half precision, for kinds of
// blocks of 32 weights, and one for 256 numbers in float32 for those of 256 weights.
type Rounded struct {
	rows, cols int
	supers     bool // which of the two it is:
	small      []roundedBlock
	super      []roundedSuper
	eights     []roundedEight // of small, where there are products of four rows of weights that need them
	x          []float32
	roundTask  func(i int) // the method, bound once
}

// roundedBlock is 32 numbers step·codes. The assembly knows where its parts are.
type roundedBlock struct {
	codes [32]int8
	fours [8]int32 // minus the sum of each four codes
	step  float32
	sum   float32 // of the numbers, rounded to half precision
	_     [24]byte
}

// roundedSuper is 256 numbers step·codes. The assembly knows where its parts are.
type roundedSuper struct {
	codes  [256]int8
	sums32 [8]int16  // of each 32 codes
	sums16 [16]int16 // of each 16 codes
	step   float32
	_      [12]byte
}

// roundedEight is eight roundedBlocks. The assembly knows where its parts are.
type roundedEight struct {
	codes [8][32]int8
	fours [8][8]int32
	steps [8]float32
	_     [32]byte
}

// IsSuper says whether rows have to be rounded in blocks of 256 for blocks of this kind.
func (kind BlockKind) IsSuper() bool { return blockSizes[kind].weights == 256 }

// Fit says whether the rows are rounded as blocks of this kind need it.
func (r *Rounded) Fit(kind BlockKind) bool { return r.supers == kind.IsSuper() }

// Round sets r to rows of cols numbers each, rounded for products with blocks of a kind. cols is a multiple of what its
// blocks have.
func (r *Rounded) Round(x []float32, rows, cols int, kind BlockKind) {
	if len(x) != rows*cols || cols%blockSizes[kind].weights != 0 || blockSizes[kind].weights < 32 {
		panic("kernels: Round of rows that do not fit the blocks")
	}
	r.rows, r.cols, r.supers, r.x = rows, cols, kind.IsSuper(), x
	if r.supers {
		r.super = resized(r.super, len(x)/256)
	} else {
		r.small = resized(r.small, len(x)/32)
	}
	r.eights = r.eights[:0]
	if !r.supers && cols%256 == 0 && productsOfRows() {
		r.eights = resized(r.eights, len(x)/256)
	}
	if r.roundTask == nil {
		r.roundTask = r.roundRow
	}
	share(4*len(x), rows, r.roundTask)
	r.x = nil
}

// withoutRows keeps products from taking four rows of weights at once, in tests.
var withoutRows bool

// resized is s, or other memory, with n elements of any value.
func resized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// roundRow rounds one row.
func (r *Rounded) roundRow(i int) {
	x := r.x[i*r.cols : (i+1)*r.cols]
	if r.supers {
		roundSupers(r.super[i*r.cols/256:(i+1)*r.cols/256], x)
		return
	}
	roundBlocks(r.small[i*r.cols/32:(i+1)*r.cols/32], x)
	if len(r.eights) == 0 {
		return
	}
	for j := i * r.cols / 256; j < (i+1)*r.cols/256; j++ {
		e := &r.eights[j]
		for k := range 8 {
			b := &r.small[8*j+k]
			e.codes[k], e.fours[k], e.steps[k] = b.codes, b.fours, b.step
		}
	}
}

// record is where row i begins.
func (r *Rounded) record(i int) *byte {
	if r.supers {
		return (*byte)(unsafe.Pointer(&r.super[i*r.cols/256]))
	}
	return (*byte)(unsafe.Pointer(&r.small[i*r.cols/32]))
}

// Product is one product of Rounded rows: Y (rows of x, rows of W) = x·Wᵀ. Where Low has a rank, it is added, in
// float32: the map of low rank of X, which are the rows before rounding or others.
type Product struct {
	Y   []float32
	W   Coded
	Low LowRank
	X   []float32
}

// multiplication is some products in progress.
type multiplication struct {
	x     *Rounded
	parts []productPart
	lows  []fewLow // of the parts that have a map of low rank
	downs []int    // the tasks of u of the maps before each
	n     int      // of the maps

	first   int          // tasks of u, which come before those of products
	pending atomic.Int32 // of these, those that are not done
	task    func(i int)  // the method, bound once
}

// productPart is one product.
type productPart struct {
	y      []float32
	data   []byte
	kind   BlockKind
	rows   int // of the weights
	bytes  int // of one of them
	step   int // rows of a task
	before int // tasks of the products before
	low    int // number of the map of low rank, or -1
}

var multiplications freelist.List[multiplication]

// A task reads as much of the weights as leaves each thread some tasks, within these bounds. A thread that goes on
// where it was reads memory faster than one that goes to another place: with 32 KB a task, two threads read 19 GB/s
// where they read 24 with 256 KB.
const (
	leastTaskBytes = 1 << 15
	mostTaskBytes  = 1 << 19
	threadTasks    = 4
)

// taskBytes is about how much of the weights of all products a task reads.
func taskBytes(products []Product) int {
	all := 0
	for _, p := range products {
		rows, cols := p.W.Dims()
		if kind, _, ok := p.W.Blocks(); ok {
			all += rows * cols / blockSizes[kind].weights * blockSizes[kind].bytes
		}
	}
	return min(max(all/(threadTasks*Threads()), leastTaskBytes), mostTaskBytes)
}

// Multiply computes products with weights of kinds that HasProducts and that the rows Fit, all of them shared by the
// threads at once.
func (r *Rounded) Multiply(products ...Product) {
	m := multiplications.Get()
	if m.task == nil {
		m.task = m.run
	}
	m.x, m.parts, m.downs, m.n = r, m.parts[:0], m.downs[:0], 0
	tasks, work, downs, downWork := 0, 0, 0, 0
	portion := taskBytes(products)
	for _, p := range products {
		rows, cols := p.W.Dims()
		kind, data, ok := p.W.Blocks()
		size := blockSizes[kind]
		if !ok || !r.Fit(kind) || cols != r.cols || len(p.Y) != r.rows*rows ||
			len(data) < rows*(cols/size.weights)*size.bytes {
			panic("kernels: Multiply of rows, weights and results that do not fit")
		}
		if rows == 0 || r.rows == 0 {
			continue
		}
		low := -1
		if rank := p.Low.Rank; rank > 0 {
			if len(p.Low.B) != rows*rank || len(p.X)*rank != r.rows*len(p.Low.A) {
				panic("kernels: a LowRank that does not fit the product")
			}
			low, m.n = m.n, m.n+1
			if len(m.lows) < m.n {
				m.lows = append(m.lows, fewLow{})
			}
			m.lows[low].set(p.Low, p.X, p.Y, r.rows)
			m.downs = append(m.downs, downs)
			downs += m.lows[low].downs()
			downWork += r.rows * len(p.Low.A)
		}
		bytes := cols / size.weights * size.bytes
		step := min(max(portion/bytes&^15, 16), rows)
		m.parts = append(m.parts, productPart{p.Y, data, kind, rows, bytes, step, tasks, low})
		tasks += ceilDiv(rows, step)
		work += rows * cols * r.rows
	}
	m.first = downs
	m.pending.Store(int32(downs))
	share(downWork+work, downs+tasks, m.task)
	for i := range m.n {
		m.lows[i].drop()
	}
	clear(m.parts)
	m.x = nil
	multiplications.Put(m)
}

// run does task number i. Tasks are taken in order, so that those of u are done, or others are at them, before one of a
// product waits for them.
func (m *multiplication) run(i int) {
	if i >= m.first {
		m.multiply(i - m.first)
		return
	}
	defer m.pending.Add(-1) // also where down panics: nobody waits for ever
	m.down(i)
}

// down computes some ranks of what maps of low rank make of x first.
func (m *multiplication) down(i int) {
	n := len(m.downs) - 1
	for m.downs[n] > i {
		n--
	}
	m.lows[n].down(i - m.downs[n])
}

// multiply computes task number i: some rows of the weights times all rows of x.
func (m *multiplication) multiply(i int) {
	n := len(m.parts) - 1
	for m.parts[n].before > i {
		n--
	}
	p := &m.parts[n]
	first := (i - p.before) * p.step
	rows := min(p.step, p.rows-first)
	w := p.data[first*p.bytes : (first+rows)*p.bytes]
	x := m.x
	row := 0
	for ; row+4 <= x.rows && productsOfFour(); row += 4 {
		y := p.y[row*p.rows+first:]
		_ = y[3*p.rows+rows-1]
		multiplyFour(p.kind, rows, p.bytes, w, x, row, y, p.rows)
	}
	for ; row < x.rows; row++ {
		multiplyRow(p.kind, rows, p.bytes, w, x, row, p.y[row*p.rows+first:][:rows])
	}
	if p.low >= 0 {
		for m.pending.Load() > 0 {
			runtime.Gosched()
		}
		m.lows[p.low].add(first, first+rows)
	}
}

// roundBlocksGeneric rounds every 32 numbers to multiples of a step of which the largest magnitude is 127. The step is
// rounded to half precision afterwards. Halves go to the even number. On x86 the numbers are multiplied by 127 over the
// largest magnitude, not by one over the step: llama.cpp's kernels do so.
func roundBlocksGeneric(dst []roundedBlock, x []float32) {
	for i := range dst {
		b, v := &dst[i], (*[32]float32)(x[32*i:])
		var top float32
		for _, f := range v {
			top = max(top, abs(f))
		}
		step := top / 127
		inverse := float32(0)
		switch {
		case top == 0:
		case runtime.GOARCH == "amd64":
			inverse = 127 / top
		default:
			inverse = 1 / step
		}
		total := int32(0)
		for j := range b.fours {
			sum := int32(0)
			for k := 4 * j; k < 4*j+4; k++ {
				c := int32(toEven(inverse * v[k]))
				b.codes[k] = int8(c)
				sum += c
			}
			b.fours[j] = -sum
			total += sum
		}
		b.step, b.sum = halfOf(step), halfOf(step*float32(total))
	}
}

// roundSupersGeneric rounds every 256 numbers to multiples of a step of which the largest number is -127, or 127. If a
// number is NaN, so is the step.
func roundSupersGeneric(dst []roundedSuper, x []float32) {
	for i := range dst {
		b, v := &dst[i], (*[256]float32)(x[256*i:])
		var top, odd float32
		for _, f := range v {
			if abs(f) > abs(top) {
				top = f
			}
			if f != f {
				odd = f
			}
		}
		var inverse float32
		b.step = odd
		if top != 0 {
			inverse = -127 / top
			b.step += 1 / inverse
		}
		for j := range b.sums16 {
			sum := int32(0)
			for k := 16 * j; k < 16*j+16; k++ {
				c := int32(min(toEven(inverse*v[k]), 127))
				b.codes[k] = int8(c)
				sum += c
			}
			b.sums16[j] = int16(sum)
		}
		for j := range b.sums32 {
			b.sums32[j] = b.sums16[2*j] + b.sums16[2*j+1]
		}
	}
}

// toEven rounds |x| < 2^22 to the nearest whole number, ties to even.
func toEven(x float32) float32 {
	const shift = 1.5 * (1 << 23)
	return float32(x+shift) - shift
}

func abs(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

// halfOf is x rounded to half precision, ties to even.
func halfOf(x float32) float32 {
	switch a := abs(x); {
	case !(a < 65520):
		return x * float32(math.Inf(1)) // NaN stays one
	case a < 0x1p-14:
		const shift = 1.5 * 0x1p-1 // a unit of 2^-24 is its last bit
		return float32(x+shift) - shift
	default:
		bits := math.Float32bits(x)
		bits += 0xfff + bits>>13&1
		return math.Float32frombits(bits &^ 0x1fff)
	}
}

// halfAt is the half precision number of two bytes.
func halfAt(b []byte) float32 {
	h := uint32(b[0]) | uint32(b[1])<<8
	sign, exponent, mantissa := h>>15<<31, h>>10&31, h&0x3ff
	switch exponent {
	case 0:
		return math.Float32frombits(sign | math.Float32bits(float32(mantissa)*0x1p-24))
	case 31:
		return math.Float32frombits(sign | 0x7f800000 | mantissa<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | mantissa<<13)
}
