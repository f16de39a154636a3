package kernels

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// attentionCase is attention with its gradients, the numbers random.
type attentionCase struct {
	AttentionShape
	q, k, v, dy    []float32
	y, logSum      []float32
	dq, dk, dv     []float32
	wantY, wantLog []float32
	wantQ, wantK   []float32
	wantV          []float32
}

func newAttentionCase(s AttentionShape) *attentionCase {
	rows := s.rows()
	n, m := rows*s.Queries*s.Dim, rows*s.Keys*s.Dim
	c := &attentionCase{AttentionShape: s, q: randoms(n, 1), k: randoms(m, 2), v: randoms(m, 3), dy: randoms(n, 4)}
	c.y, c.logSum = make([]float32, n), make([]float32, rows*s.Queries)
	c.dq, c.dk, c.dv = randoms(n, 5), randoms(m, 6), randoms(m, 7)
	c.wantY, c.wantLog = slices.Clone(c.y), slices.Clone(c.logSum)
	c.wantQ, c.wantK, c.wantV = slices.Clone(c.dq), slices.Clone(c.dk), slices.Clone(c.dv)
	return c
}

// define computes what is wanted from the definition, in float64.
func (c *attentionCase) define() {
	for s := range len(c.Bounds) - 1 {
		for i := int(c.Bounds[s]); i < int(c.Bounds[s+1]); i++ {
			for h := range c.Queries {
				c.defineRow(int(c.Bounds[s]), i, h)
			}
		}
	}
}

func (c *attentionCase) defineRow(first, i, head int) {
	d := c.Dim
	at := (i*c.Queries + head) * d
	key := func(j int) int { return (j*c.Keys + head/(c.Queries/c.Keys)) * d }
	p := make([]float64, i+1-first)
	sum, delta := 0.0, 0.0
	for j := range p {
		p[j] = math.Exp(float64(c.Scale) * dot64(c.q[at:at+d], c.k[key(first+j):]))
		sum += p[j]
	}
	c.wantLog[i*c.Queries+head] = float32(math.Log(sum))
	for e := range d {
		y := 0.0
		for j := range p {
			y += p[j] / sum * float64(c.v[key(first+j)+e])
		}
		c.wantY[at+e] = float32(y)
		delta += y * float64(c.dy[at+e])
	}
	for j := range p {
		prob := p[j] / sum
		ds := prob * (dot64(c.dy[at:at+d], c.v[key(first+j):]) - delta) * float64(c.Scale)
		for e := range d {
			k := key(first+j) + e
			c.wantV[k] += float32(prob * float64(c.dy[at+e]))
			c.wantQ[at+e] += float32(ds * float64(c.k[k]))
			c.wantK[k] += float32(ds * float64(c.q[at+e]))
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

// TestAttention compares every tier with the definition.
func TestAttention(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, shape := range attentionShapes {
			c := newAttentionCase(shape)
			c.define()
			c.run()
			for _, x := range []struct {
				name      string
				got, want []float32
			}{{"y", c.y, c.wantY}, {"logSum", c.logSum, c.wantLog}, {"dq", c.dq, c.wantQ}, {"dk", c.dk, c.wantK},
				{"dv", c.dv, c.wantV}} {
				for i := range x.want {
					if diff := math.Abs(float64(x.got[i] - x.want[i])); !(diff <= 3e-5*(1+math.Abs(float64(x.want[i])))) {
						t.Fatalf("%+v: %s[%d] is %g, want %g", shape, x.name, i, x.got[i], x.want[i])
					}
				}
			}
		}
	})
}

// TestAttentionLargeScores wants no overflow where scores are far apart.
func TestAttentionLargeScores(t *testing.T) {
	c := newAttentionCase(AttentionShape{Bounds: []int32{0, 600}, Queries: 1, Keys: 1, Dim: 4, Scale: 100})
	c.define()
	c.run()
	for i := range c.wantY {
		if math.Abs(float64(c.y[i]-c.wantY[i])) > 1e-3 || c.dq[i]-c.dq[i] != 0 || c.dk[i]-c.dk[i] != 0 {
			t.Fatalf("y[%d] is %g, want %g; gradients %g, %g", i, c.y[i], c.wantY[i], c.dq[i], c.dk[i])
		}
	}
}

// TestAttentionParts wants each gradient alone to be what it is with the others, on any number of threads.
func TestAttentionParts(t *testing.T) {
	shape := AttentionShape{Bounds: []int32{0, 70, 200}, Queries: 4, Keys: 2, Dim: 16, Scale: 0.25}
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
	c := newAttentionCase(attentionShapes[3])
	if n := testing.AllocsPerRun(20, c.run); n > 0 {
		t.Errorf("attention allocates %g times", n)
	}
}

// BenchmarkAttention counts the products that the definition has, 2 forward and 4 backward.
func BenchmarkAttention(b *testing.B) {
	for _, s := range []struct{ queries, keys, dim, rows int }{{12, 12, 64, 512}, {12, 12, 64, 2048}, {32, 4, 64, 512},
		{32, 8, 128, 512}} {
		shape := AttentionShape{Bounds: []int32{0, int32(s.rows)}, Queries: s.queries, Keys: s.keys, Dim: s.dim, Scale: 0.1}
		c := newAttentionCase(shape)
		flops := 2 * float64(s.queries*s.dim) * float64(s.rows) * float64(s.rows+1) / 2
		name := fmt.Sprintf("%d-%d-%d-%d", s.queries, s.keys, s.dim, s.rows)
		b.Run("forward/"+name, func(b *testing.B) {
			Rate(b, F32, 4, 2*flops, func() { Attention(c.y, c.logSum, c.q, c.k, c.v, shape) })
		})
		b.Run("backward/"+name, func(b *testing.B) {
			Rate(b, F32, 4, 4*flops, func() { AttentionBackward(c.dq, c.dk, c.dv, c.dy, c.y, c.logSum, c.q, c.k, c.v, shape) })
		})
	}
}
