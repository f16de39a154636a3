package kernels

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/alloctest"
)

// attentionCase is attention with its gradients, the numbers random.
type attentionCase struct {
	AttentionShape
	q, k, v, dy                         []float32
	y, logSum, dq, dk, dv               []float32
	wantY, wantLog, wantQ, wantK, wantV []float64
	onlyY                               bool // no gradients are wanted
}

func newAttentionCase(s AttentionShape) *attentionCase {
	rows := s.rows()
	n, m := rows*s.Queries*s.Dim, rows*s.Keys*s.Dim
	yn, vn := rows*s.Queries*s.valueDim(), rows*s.Keys*s.valueDim()
	c := &attentionCase{AttentionShape: s, q: randoms(n, 1), k: randoms(m, 2), v: randoms(vn, 3), dy: randoms(yn, 4)}
	c.y, c.logSum = make([]float32, yn), make([]float32, rows*s.Queries)
	c.dq, c.dk, c.dv = randoms(n, 5), randoms(m, 6), randoms(vn, 7)
	return c
}

// define computes what is wanted from the definition, in float64. The gradients are added to what dq, dk and dv are.
func (c *attentionCase) define() {
	c.wantY, c.wantLog = make([]float64, len(c.y)), make([]float64, len(c.logSum))
	c.wantQ, c.wantK, c.wantV = doubles(c.dq), doubles(c.dk), doubles(c.dv)
	for s := range len(c.Bounds) - 1 {
		for i := int(c.Bounds[s]); i < int(c.Bounds[s+1]); i++ {
			for h := range c.Queries {
				c.defineRow(int(c.Bounds[s]), i, h)
			}
		}
	}
}

func doubles(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// score is the score of key j for row i, and its derivative by the scaled product.
func (c *attentionCase) score(i, j, head int) (score, slope float64) {
	keyHead := head / (c.Queries / c.Keys)
	q, k := c.q[(i*c.Queries+head)*c.Dim:][:c.Dim], c.k[(j*c.Keys+keyHead)*c.Dim:]
	score, slope = float64(c.Scale)*dot64(q, k), 1
	if limit := float64(c.Cap); limit > 0 {
		th := math.Tanh(score / limit)
		score, slope = limit*th, 1-th*th
	}
	if c.Slopes != nil {
		score -= float64(c.Slopes[head]) * float64(i-j)
	}
	return score, slope
}

func (c *attentionCase) defineRow(first, i, head int) {
	keyHead := head / (c.Queries / c.Keys)
	if c.Window > 0 {
		first = max(first, i-c.Window+1)
	}
	p, slopes := make([]float64, i+1-first), make([]float64, i+1-first)
	top := math.Inf(-1)
	for j := range p {
		p[j], slopes[j] = c.score(i, first+j, head)
		top = max(top, p[j])
	}
	sum, delta := 0.0, 0.0
	if c.Sinks != nil {
		top = max(top, float64(c.Sinks[head]))
		sum = math.Exp(float64(c.Sinks[head]) - top)
	}
	for j := range p {
		p[j] = math.Exp(p[j] - top)
		sum += p[j]
	}
	c.wantLog[i*c.Queries+head] = top + math.Log(sum)
	dim := c.valueDim()
	value := func(j int) []float32 { return c.v[((first+j)*c.Keys+keyHead)*dim:] }
	at := (i*c.Queries + head) * dim
	for e := range dim {
		for j := range p {
			c.wantY[at+e] += p[j] / sum * float64(value(j)[e])
		}
		delta += c.wantY[at+e] * float64(c.dy[at+e])
	}
	if c.onlyY {
		return
	}
	for j := range p {
		prob := p[j] / sum
		ds := prob * (dot64(c.dy[at:at+dim], value(j)) - delta) * slopes[j] * float64(c.Scale)
		for e := range dim {
			c.wantV[((first+j)*c.Keys+keyHead)*dim+e] += prob * float64(c.dy[at+e])
		}
		for e := range c.Dim {
			q, k := (i*c.Queries+head)*c.Dim+e, ((first+j)*c.Keys+keyHead)*c.Dim+e
			c.wantQ[q] += ds * float64(c.k[k])
			c.wantK[k] += ds * float64(c.q[q])
		}
	}
}

func dot64(x, y []float32) (s float64) {
	for i, v := range x {
		s += float64(v) * float64(y[i])
	}
	return s
}

func (c *attentionCase) run() {
	Attention(c.y, c.logSum, c.q, c.k, c.v, c.AttentionShape)
	AttentionBackward(c.dq, c.dk, c.dv, c.dy, c.y, c.logSum, c.q, c.k, c.v, c.AttentionShape)
}

var attentionShapes = []AttentionShape{
	{Bounds: []int32{0, 1}, Queries: 1, Keys: 1, Dim: 1, Scale: 1},
	{Bounds: []int32{0, 3, 3, 4, 9, 9}, Queries: 4, Keys: 2, Dim: 4, Scale: 0.5},
	{Bounds: []int32{0, 57, 58}, Queries: 2, Keys: 2, Dim: 20, Scale: 0.2},
	{Bounds: []int32{0, 16, 48, 200}, Queries: 3, Keys: 1, Dim: 33, Scale: 0.2},
	{Bounds: []int32{0, 300, 860}, Queries: 2, Keys: 2, Dim: 8, Scale: 0.3},
	{Bounds: []int32{0, 112}, Queries: 4, Keys: 4, Dim: 64, Scale: 0.125},
	{Bounds: []int32{0, 256, 270}, Queries: 6, Keys: 2, Dim: 128, Scale: 0.09},
}

// variedShapes have windows (smaller than a register tile, than a block of queries, than a block of keys, than a
// sequence, larger than all), caps, slopes, sinks and values of their own size, alone and together.
var variedShapes = []AttentionShape{
	{Bounds: []int32{0, 40, 40, 41, 90}, Queries: 2, Keys: 2, Dim: 12, Scale: 0.3, Window: 1},
	{Bounds: []int32{0, 40, 40, 41, 300}, Queries: 4, Keys: 2, Dim: 20, Scale: 0.3, Window: 5},
	{Bounds: []int32{0, 600}, Queries: 2, Keys: 1, Dim: 8, Scale: 0.4, Window: 17},
	{Bounds: []int32{0, 1, 700}, Queries: 2, Keys: 2, Dim: 8, Scale: 0.4, Window: 128},
	{Bounds: []int32{0, 130, 780}, Queries: 2, Keys: 1, Dim: 16, Scale: 0.3, Window: 300},
	{Bounds: []int32{0, 130, 280}, Queries: 2, Keys: 1, Dim: 16, Scale: 0.3, Window: 1000},
	{Bounds: []int32{0, 20, 300}, Queries: 2, Keys: 1, Dim: 72, Scale: 0.6, Cap: 2},
	{Bounds: []int32{0, 20, 20, 300}, Queries: 4, Keys: 4, Dim: 12, Scale: 0.3, Slopes: []float32{0.5, 0.1, 0, 0.01}},
	{Bounds: []int32{0, 20, 300}, Queries: 4, Keys: 2, Dim: 12, Scale: 0.3,
		Sinks: []float32{-2, 1, 12, float32(math.Inf(-1))}},
	{Bounds: []int32{0, 33, 33, 34, 150}, Queries: 4, Keys: 2, Dim: 192, ValueDim: 128, Scale: 0.07},
	{Bounds: []int32{0, 50, 290}, Queries: 2, Keys: 1, Dim: 12, ValueDim: 40, Scale: 0.3, Window: 33},
	{Bounds: []int32{0, 3, 3, 4, 140}, Queries: 4, Keys: 1, Dim: 256, Scale: 0.06, Window: 70, Cap: 3},
	{Bounds: []int32{0, 1, 1, 300, 450}, Queries: 6, Keys: 2, Dim: 20, Scale: 0.4, Window: 130, Cap: 4,
		Sinks: []float32{1, 2, 3, -4, 5, 6}},
	{Bounds: []int32{0, 1, 1, 530}, Queries: 3, Keys: 1, Dim: 20, ValueDim: 8, Scale: 0.4, Window: 40, Cap: 4,
		Sinks: []float32{1, 2, 3}, Slopes: []float32{0.25, 0.5, 0.001}},
	{Bounds: []int32{0, 290}, Queries: 3, Keys: 3, Dim: 8, ValueDim: 20, Scale: 0.4, Cap: 4, Sinks: []float32{1, 2, 3},
		Slopes: []float32{0.25, 0.5, 0.001}},
}

// TestAttention compares every tier with the definition.
func TestAttention(t *testing.T) {
	var cases []*attentionCase
	for _, shape := range slices.Concat(attentionShapes, variedShapes) {
		c := newAttentionCase(shape)
		c.define()
		cases = append(cases, c)
	}
	eachTier(t, func(t *testing.T) {
		for _, c := range cases {
			got := newAttentionCase(c.AttentionShape)
			got.run()
			c.compare(t, got)
		}
	})
}

// pairShapes have heads that can be rounded to pairs of bfloat16: blocks of odd numbers of queries, sequences that end
// inside of panels, windows, and everything together.
var pairShapes = []AttentionShape{
	{Bounds: []int32{0, 1}, Queries: 1, Keys: 1, Dim: 32, Scale: 0.2},
	{Bounds: []int32{0, 3, 3, 4, 9, 26}, Queries: 4, Keys: 2, Dim: 32, Scale: 0.2},
	{Bounds: []int32{0, 33, 200, 315}, Queries: 3, Keys: 1, Dim: 64, Scale: 0.125},
	{Bounds: []int32{0, 300, 871}, Queries: 2, Keys: 2, Dim: 64, Scale: 0.125},
	{Bounds: []int32{0, 256, 271}, Queries: 6, Keys: 2, Dim: 128, Scale: 0.09},
	{Bounds: []int32{0, 17, 250}, Queries: 4, Keys: 4, Dim: 96, ValueDim: 32, Scale: 0.1},
	{Bounds: []int32{0, 1, 600}, Queries: 2, Keys: 1, Dim: 64, Scale: 0.12, Window: 1},
	{Bounds: []int32{0, 1, 700}, Queries: 2, Keys: 2, Dim: 32, Scale: 0.15, Window: 37},
	{Bounds: []int32{0, 130, 783}, Queries: 2, Keys: 1, Dim: 64, Scale: 0.1, Window: 301},
	{Bounds: []int32{0, 1, 1, 301, 450}, Queries: 6, Keys: 2, Dim: 64, Scale: 0.1, Window: 130, Cap: 4,
		Sinks: []float32{1, 2, 3, -4, 5, 6}, Slopes: []float32{0.25, 0.5, 0.001, 0, 0.1, 0.3}},
}

// TestAttentionPairs compares attention with operands rounded to bfloat16 with the definition.
func TestAttentionPairs(t *testing.T) {
	if !HasBF16() || wordsTogether != 1 {
		t.Skip("the processor has no instructions for bfloat16, or its words do not lie one by one")
	}
	defer func(f func() bool) { pairsPay = f }(pairsPay)
	pairsPay = func() bool { return true }
	for _, shape := range pairShapes {
		exact := newAttentionCase(shape)
		exact.define()
		for _, p := range []Precision{BF16, Int8} {
			shape.Precision = p
			exact.comparePairs(t, newAttentionCase(shape))
		}
	}
}

// comparePairs wants the results of another case within 1 % of what is wanted, in the mean. What is 0, as gradients of
// the only score of a query are, comes out as a difference of products.
func (c *attentionCase) comparePairs(t *testing.T, x *attentionCase) {
	t.Helper()
	clear(x.dq)
	clear(x.dk)
	clear(x.dv)
	x.run()
	for _, x := range []struct {
		name       string
		got, start []float32
		want       []float64
	}{{"y", x.y, make([]float32, len(x.y)), c.wantY}, {"dq", x.dq, c.dq, c.wantQ}, {"dk", x.dk, c.dk, c.wantK},
		{"dv", x.dv, c.dv, c.wantV}} {
		var off, length float64
		for i, want := range x.want {
			want -= float64(x.start[i])
			off += (float64(x.got[i]) - want) * (float64(x.got[i]) - want)
			length += want * want
		}
		n := float64(len(x.want))
		most := 1e-4 * length
		if length < 1e-12*n {
			most = 1.6e-5 * n
		}
		if !(off < most) {
			t.Errorf("%+v: %s is off by %g in the mean, expected at most %g", c.AttentionShape, x.name, math.Sqrt(off/n),
				math.Sqrt(most/n))
		}
	}
}

// TestAttentionKeepsFloats wants the same bits where nothing can be rounded or it does not pay, and others where it is.
func TestAttentionKeepsFloats(t *testing.T) {
	defer func(f func() bool) { pairsPay = f }(pairsPay)
	shape := AttentionShape{Bounds: []int32{0, 33, 200}, Queries: 3, Keys: 1, Dim: 64, Scale: 0.125}
	narrow := shape
	narrow.Dim = 40
	for _, c := range []struct {
		name  string
		shape AttentionShape
		pays  bool
		same  bool
	}{
		{"slow", shape, false, true}, {"narrow", narrow, true, true},
		{"rounded", shape, true, !HasBF16() || wordsTogether != 1},
	} {
		pairsPay = func() bool { return c.pays }
		want := newAttentionCase(c.shape)
		want.run()
		c.shape.Precision = Int8
		got := newAttentionCase(c.shape)
		got.run()
		if same := slices.Equal(got.y, want.y) && slices.Equal(got.dq, want.dq); same != c.same {
			t.Errorf("%s: the same bits is %v, want %v", c.name, same, c.same)
		}
	}
}

// compare compares the results of another case with what is wanted.
func (c *attentionCase) compare(t *testing.T, x *attentionCase) {
	t.Helper()
	for _, x := range []struct {
		name string
		got  []float32
		want []float64
	}{{"y", x.y, c.wantY}, {"logSum", x.logSum, c.wantLog}, {"dq", x.dq, c.wantQ}, {"dk", x.dk, c.wantK},
		{"dv", x.dv, c.wantV}} {
		for i, want := range x.want {
			if !near(float64(x.got[i]), want, 2e-5) {
				t.Fatalf("%+v: %s[%d] is %g, want %g", c.AttentionShape, x.name, i, x.got[i], want)
			}
		}
	}
}

// TestAttentionZeroFields wants fields that change nothing to change no bit.
func TestAttentionZeroFields(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, shape := range attentionShapes {
			want := newAttentionCase(shape)
			want.run()
			shape.ValueDim, shape.Window = shape.Dim, shape.rows()
			shape.Slopes = make([]float32, shape.Queries)
			shape.Sinks = slices.Repeat([]float32{float32(math.Inf(-1))}, shape.Queries)
			got := newAttentionCase(shape)
			got.run()
			if !slices.Equal(got.y, want.y) || !slices.Equal(got.logSum, want.logSum) ||
				!slices.Equal(got.dq, want.dq) || !slices.Equal(got.dk, want.dk) || !slices.Equal(got.dv, want.dv) {
				t.Errorf("%+v: results differ from those without the last fields", shape)
			}
		}
	})
}

// TestAttentionBorders wants a sequence to have the same bits wherever it stands in a batch.
func TestAttentionBorders(t *testing.T) {
	shape := AttentionShape{Bounds: []int32{0, 150}, Queries: 4, Keys: 2, Dim: 20, Scale: 0.4, Window: 37, Cap: 4,
		Sinks: []float32{1, 2, 3, 4}, Slopes: []float32{0.25, 0.5, 0.001, 0}}
	alone := newAttentionCase(shape)
	alone.run()
	shape.Bounds = []int32{0, 77, 227, 260}
	among := newAttentionCase(shape)
	width, keys := shape.Queries*shape.Dim, shape.Keys*shape.Dim
	for _, x := range []struct {
		dst, src []float32
		width    int
	}{{among.q, alone.q, width}, {among.k, alone.k, keys}, {among.v, alone.v, keys}, {among.dy, alone.dy, width}} {
		copy(x.dst[77*x.width:], x.src)
	}
	clear(among.dq)
	clear(among.dk)
	clear(among.dv)
	among.run()
	clear(alone.dq)
	clear(alone.dk)
	clear(alone.dv)
	alone.run()
	for i, x := range []struct {
		got, want []float32
		width     int
	}{{among.y, alone.y, width}, {among.dq, alone.dq, width}, {among.dk, alone.dk, keys}, {among.dv, alone.dv, keys}} {
		if !slices.Equal(x.got[77*x.width:227*x.width], x.want) {
			t.Errorf("result %d of a sequence depends on the sequences around it", i)
		}
	}
}

// TestAttentionLargeScores wants no overflow where scores are far apart.
func TestAttentionLargeScores(t *testing.T) {
	c := newAttentionCase(AttentionShape{Bounds: []int32{0, 600}, Queries: 1, Keys: 1, Dim: 4, Scale: 100})
	c.define()
	c.run()
	for i := range c.wantY {
		if math.Abs(float64(c.y[i])-c.wantY[i]) > 1e-3 || c.dq[i]-c.dq[i] != 0 || c.dk[i]-c.dk[i] != 0 {
			t.Fatalf("y[%d] is %g, want %g; gradients %g, %g", i, c.y[i], c.wantY[i], c.dq[i], c.dk[i])
		}
	}
}

// TestAttentionParts wants each gradient alone to be what it is with the others, on any number of threads.
func TestAttentionParts(t *testing.T) {
	for _, shape := range []AttentionShape{
		{Bounds: []int32{0, 70, 200}, Queries: 4, Keys: 2, Dim: 16, Scale: 0.25},
		{Bounds: []int32{0, 70, 200}, Queries: 4, Keys: 2, Dim: 16, ValueDim: 24, Scale: 0.25, Window: 50, Cap: 3,
			Sinks: []float32{1, 2, 3, 4}, Slopes: []float32{1, 0.1, 0.01, 0}},
	} {
		testAttentionParts(t, shape)
	}
}

func testAttentionParts(t *testing.T, shape AttentionShape) {
	whole := newAttentionCase(shape)
	setThreads(t, 1)
	whole.run()
	setThreads(t, 3)
	for _, which := range []int{1, 2, 4, 7} {
		c := newAttentionCase(shape)
		Attention(c.y, c.logSum, c.q, c.k, c.v, shape)
		for i, g := range []struct {
			x         *[]float32
			got, want []float32
		}{{&c.dq, c.dq, whole.dq}, {&c.dk, c.dk, whole.dk}, {&c.dv, c.dv, whole.dv}} {
			if which>>i&1 == 0 {
				*g.x = nil
				continue
			}
			defer func() {
				if !slices.Equal(g.got, g.want) {
					t.Errorf("gradient %d of %b has other bits than with one thread and the other gradients", i, which)
				}
			}()
		}
		AttentionBackward(c.dq, c.dk, c.dv, c.dy, c.y, c.logSum, c.q, c.k, c.v, shape)
	}
}

func TestAttentionAllocatesNothing(t *testing.T) {
	for _, shape := range slices.Concat(attentionShapes[3:4], variedShapes[len(variedShapes)-2:]) {
		c := newAttentionCase(shape)
		if n := alloctest.Steady(20, c.run); n > 0 {
			t.Errorf("attention %+v allocates %g times", shape, n)
		}
	}
}

// TestCachedAttention compares the last rows of sequences over kept keys and values with the definition, few rows and
// many, over one chunk of keys and several.
func TestCachedAttention(t *testing.T) {
	shapes := []AttentionShape{
		{Bounds: []int32{0, 1}, Queries: 2, Keys: 1, Dim: 8, Scale: 1, Sinks: []float32{1, 2}},
		{Bounds: []int32{0, 530}, Queries: 2, Keys: 1, Dim: 12, Scale: 0.2},
		{Bounds: []int32{0, 300}, Queries: 4, Keys: 2, Dim: 64, Scale: 0.2},
		{Bounds: []int32{0, 300}, Queries: 8, Keys: 1, Dim: 20, Scale: 0.3, Window: 30, Cap: 3,
			Sinks: []float32{1, 2, 3, 4, 5, 6, 7, 20}},
		{Bounds: []int32{0, 300}, Queries: 2, Keys: 2, Dim: 72, ValueDim: 40, Scale: 0.2, Window: 280,
			Slopes: []float32{0.1, 0.01}},
		{Bounds: []int32{0, 90}, Queries: 40, Keys: 1, Dim: 12, ValueDim: 20, Scale: 0.3, Window: 40},
		{Bounds: []int32{0, 280}, Queries: 4, Keys: 2, Dim: 192, ValueDim: 128, Scale: 0.1, Cap: 2,
			Slopes: []float32{0.1, 0.01, 0, 1}, Sinks: []float32{1, 2, 3, float32(math.Inf(-1))}},
	}
	last := variedShapes[len(variedShapes)-1:]
	for _, shape := range slices.Concat(shapes, last) {
		c := newAttentionCase(shape)
		c.onlyY = true
		c.define()
		rows, width, wide := shape.rows(), shape.Queries*shape.Dim, shape.Queries*shape.valueDim()
		eachTier(t, func(t *testing.T) {
			for _, n := range []int{1, fewRows, fewRows + 1, 130} {
				if n > rows {
					continue
				}
				past := rows - n
				y := randoms(n*wide, 9)
				CachedAttention(y, c.q[past*width:], Cached{Floats: c.k}, Cached{Floats: c.v}, past, n, shape)
				for i, want := range c.wantY[past*wide:] {
					if !near(float64(y[i]), want, 2e-5) {
						t.Fatalf("%+v: %d rows: y[%d] is %g, want %g", shape, n, i, y[i], want)
					}
				}
			}
		})
	}
}

// TestCachedAttentionReadsWindow wants keys before all windows not to be read.
func TestCachedAttentionReadsWindow(t *testing.T) {
	shape := AttentionShape{Bounds: []int32{0, 300}, Queries: 4, Keys: 2, Dim: 16, Scale: 0.3, Window: 40}
	c := newAttentionCase(shape)
	c.define()
	for _, n := range []int{1, 7, 100} {
		past := 300 - n
		keys, values := slices.Clone(c.k), slices.Clone(c.v)
		for i := range keys[:(past+1-40)*32] {
			keys[i], values[i] = float32(math.NaN()), float32(math.NaN())
		}
		y := make([]float32, n*64)
		CachedAttention(y, c.q[past*64:], Cached{Floats: keys}, Cached{Floats: values}, past, n, shape)
		for i, want := range c.wantY[past*64:] {
			if !near(float64(y[i]), want, 2e-5) {
				t.Fatalf("%d rows: y[%d] is %g, want %g", n, i, y[i], want)
			}
		}
	}
}

// TestCachedAttentionThreads wants the same bits on any number of threads, and no allocation on one.
func TestCachedAttentionThreads(t *testing.T) {
	shape := AttentionShape{Bounds: []int32{0, 600}, Queries: 4, Keys: 2, Dim: 32, Scale: 0.2, Cap: 9,
		Slopes: []float32{0.1, 0.01, 0, 1}, Sinks: []float32{1, 2, 3, 4}}
	c := newAttentionCase(shape)
	for _, n := range []int{1, 9, 40} {
		var want []float32
		for _, threads := range []int{1, 3} {
			setThreads(t, threads)
			y := make([]float32, n*128)
			f := func() { CachedAttention(y, c.q, Cached{Floats: c.k}, Cached{Floats: c.v}, 600-n, n, shape) }
			if f(); want == nil {
				want = y
				if allocs := alloctest.Steady(20, f); allocs > 0 {
					t.Errorf("%d rows: CachedAttention allocates %g times", n, allocs)
				}
			} else if !slices.Equal(y, want) {
				t.Errorf("%d rows: %d threads give other bits than one", n, threads)
			}
		}
	}
}

// BenchmarkCachedAttention has steps of one token, of a few, and prompts, after some keys.
func BenchmarkCachedAttention(b *testing.B) {
	for _, s := range []struct{ queries, keys, dim, window, past, n int }{
		{12, 12, 64, 0, 100, 1}, {32, 8, 128, 0, 100, 1}, {32, 8, 128, 0, 4096, 1}, {32, 8, 128, 512, 4096, 1},
		{8, 1, 256, 0, 4096, 1}, {32, 8, 128, 0, 1024, 2}, {32, 8, 128, 0, 1024, 8}, {32, 8, 128, 0, 1024, 12},
		{32, 8, 128, 0, 1024, 13}, {32, 8, 128, 0, 1024, 32}, {32, 8, 128, 0, 0, 512}, {32, 8, 128, 0, 512, 512},
		{32, 8, 128, 128, 4096, 512},
	} {
		shape := AttentionShape{Bounds: []int32{0, int32(s.past + s.n)}, Queries: s.queries, Keys: s.keys, Dim: s.dim,
			Scale: 0.1, Window: s.window}
		c := newAttentionCase(shape)
		seen := 0
		for i := s.past; i < s.past+s.n; i++ {
			seen += i + 1
			if s.window > 0 {
				seen -= max(0, i+1-s.window)
			}
		}
		b.Run(fmt.Sprintf("%d-%d-%d-window%d/%d+%d", s.queries, s.keys, s.dim, s.window, s.past, s.n), func(b *testing.B) {
			Rate(b, F32, 4, 4*float64(s.queries*s.dim*seen), func() {
				CachedAttention(c.y, c.q, Cached{Floats: c.k}, Cached{Floats: c.v}, s.past, s.n, shape)
			})
		})
	}
}

// BenchmarkAttention counts the products that the definition has, 2 forward and 4 backward, of the keys that are seen.
func BenchmarkAttention(b *testing.B) {
	sinks := make([]float32, 32)
	for _, s := range []struct {
		name string
		AttentionShape
	}{
		{"", AttentionShape{Queries: 12, Keys: 12, Dim: 64, Bounds: []int32{0, 512}}},
		{"", AttentionShape{Queries: 12, Keys: 12, Dim: 64, Bounds: []int32{0, 2048}}},
		{"", AttentionShape{Queries: 32, Keys: 4, Dim: 64, Bounds: []int32{0, 512}}},
		{"", AttentionShape{Queries: 32, Keys: 8, Dim: 128, Bounds: []int32{0, 512}}},
		{"-cap", AttentionShape{Queries: 8, Keys: 4, Dim: 256, Bounds: []int32{0, 512}, Cap: 50}},
		{"-nocap", AttentionShape{Queries: 8, Keys: 4, Dim: 256, Bounds: []int32{0, 512}}},
		{"-slopes", AttentionShape{Queries: 12, Keys: 12, Dim: 64, Bounds: []int32{0, 2048}, Slopes: sinks[:12]}},
		{"-sinks-window128", AttentionShape{Queries: 32, Keys: 4, Dim: 64, Bounds: []int32{0, 2048}, Sinks: sinks,
			Window: 128}},
		{"-window512", AttentionShape{Queries: 12, Keys: 12, Dim: 64, Bounds: []int32{0, 2048}, Window: 512}},
		{"-window32", AttentionShape{Queries: 12, Keys: 12, Dim: 64, Bounds: []int32{0, 2048}, Window: 32}},
		{"-192-128", AttentionShape{Queries: 16, Keys: 16, Dim: 192, ValueDim: 128, Bounds: []int32{0, 512}}},
	} {
		shape := s.AttentionShape
		shape.Scale = 0.1
		c := newAttentionCase(shape)
		seen := 0
		for i := range shape.rows() {
			seen += i + 1
			if shape.Window > 0 {
				seen -= max(0, i+1-shape.Window)
			}
		}
		product, values := 2*float64(shape.Queries*shape.Dim*seen), 2*float64(shape.Queries*shape.valueDim()*seen)
		name := fmt.Sprintf("%d-%d-%d-%d%s", s.Queries, s.Keys, s.Dim, s.rows(), s.name)
		b.Run("forward/"+name, func(b *testing.B) {
			Rate(b, F32, 4, product+values, func() { Attention(c.y, c.logSum, c.q, c.k, c.v, shape) })
		})
		b.Run("backward/"+name, func(b *testing.B) {
			Rate(b, F32, 4, 2*(product+values), func() {
				AttentionBackward(c.dq, c.dk, c.dv, c.dy, c.y, c.logSum, c.q, c.k, c.v, shape)
			})
		})
	}
}
