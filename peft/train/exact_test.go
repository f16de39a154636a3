package train

import (
	"math"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
)

// exactRun trains a LoRA over a Hugging Face llama in float64, written out plainly: the result of a run without
// rounding. Float32 programs differ from it, each in its own way, and AdamW enlarges that more in some runs than in
// others; a reference in float32 is only as good as its agreement with this one.
type exactRun struct {
	base   *attach.Base
	lora   *methods.LoRA
	sites  map[*model.Linear]methods.LoRAModule
	params [][]float64
	grads  [][]float64
	m, v   [][]float64
	steps  int
	undo   []func() // backward, last first
}

// exactMat is a matrix with its gradient.
type exactMat struct {
	rows, cols int
	x, d       []float64
}

func newExactMat(rows, cols int) *exactMat {
	return &exactMat{rows, cols, make([]float64, rows*cols), make([]float64, rows*cols)}
}

func (m *exactMat) row(i int) []float64 { return m.x[i*m.cols : (i+1)*m.cols] }

func (m *exactMat) drow(i int) []float64 { return m.d[i*m.cols : (i+1)*m.cols] }

func newExactRun(b *attach.Base, a *attach.Adapter) (*exactRun, error) {
	r := &exactRun{base: b, lora: a.Method.(*methods.LoRA), sites: map[*model.Linear]methods.LoRAModule{}}
	pairs, err := r.lora.Pairs(b, a.Tensors)
	if err != nil {
		return nil, err
	}
	for i, p := range pairs {
		r.sites[p.Linear] = r.lora.Modules[i]
	}
	for _, p := range a.Tensors {
		r.params = append(r.params, widen(p.Data))
		for _, s := range []*[][]float64{&r.grads, &r.m, &r.v} {
			*s = append(*s, make([]float64, len(p.Data)))
		}
	}
	return r, nil
}

func widen(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// step is one step of AdamW and gives the mean loss before it.
func (r *exactRun) step(b *batch.Batch, lr, decay float64) float64 {
	for _, g := range r.grads {
		clear(g)
	}
	var sum float64
	for s := range b.Sequences() {
		sum += r.sequence(b.IDs[b.Bounds[s]:b.Bounds[s+1]], b.Targets[b.Bounds[s]:b.Bounds[s+1]], 1/float64(b.TargetCount()))
	}
	r.steps++
	c1, c2 := 1-math.Pow(0.9, float64(r.steps)), 1-math.Pow(0.999, float64(r.steps))
	for i, p := range r.params {
		for j, g := range r.grads[i] {
			r.m[i][j] = 0.9*r.m[i][j] + 0.1*g
			r.v[i][j] = 0.999*r.v[i][j] + 0.001*g*g
			p[j] -= lr*decay*p[j] + lr*(r.m[i][j]/c1)/(math.Sqrt(r.v[i][j]/c2)+1e-8)
		}
	}
	return sum / float64(b.TargetCount())
}

// put rounds the parameters to float32, end to end.
func (r *exactRun) put(flat []float32) { narrow(flat, r.params) }

// gradient is that of the last step in float32, end to end.
func (r *exactRun) gradient() []float32 {
	flat := make([]float32, 0)
	for _, g := range r.grads {
		flat = append(flat, make([]float32, len(g))...)
	}
	narrow(flat, r.grads)
	return flat
}

func narrow(flat []float32, parts [][]float64) {
	for _, part := range parts {
		for i, v := range part {
			flat[i] = float32(v)
		}
		flat = flat[len(part):]
	}
}

// sequence is the summed loss of one sequence; scale times its gradient is added to grads.
func (r *exactRun) sequence(ids, targets []int32, scale float64) float64 {
	m := r.base.Model
	r.undo = r.undo[:0]
	x := newExactMat(len(ids), m.Spec.Width)
	for i, id := range ids {
		row := make([]float32, m.Spec.Width)
		m.Embed.Row(row, int(id))
		copy(x.row(i), widen(row))
	}
	for _, l := range m.Layers {
		a := r.norm(x, l.Norm(arch.AttentionNorm).W.Data)
		project := func(x *exactMat, role arch.Role) *exactMat { return r.linear(x, l.Linear(role)) }
		y := r.attention(project(a, arch.Query), project(a, arch.Key), project(a, arch.Value))
		x = r.add(x, project(y, arch.AttentionOutput))
		f := r.norm(x, l.Norm(arch.FFNNorm).W.Data)
		x = r.add(x, project(r.swiglu(project(f, arch.Gate), project(f, arch.Up)), arch.Down))
	}
	head := &model.Linear{W: m.Head}
	loss := r.crossEntropy(r.linear(r.norm(x, m.Norm.W.Data), head), targets, scale)
	for i := len(r.undo) - 1; i >= 0; i-- {
		r.undo[i]()
	}
	return loss
}

func (r *exactRun) add(a, b *exactMat) *exactMat {
	y := newExactMat(a.rows, a.cols)
	for i := range y.x {
		y.x[i] = a.x[i] + b.x[i]
	}
	r.undo = append(r.undo, func() {
		for i, d := range y.d {
			a.d[i] += d
			b.d[i] += d
		}
	})
	return y
}

func (r *exactRun) norm(x *exactMat, w []float32) *exactMat {
	y, eps := newExactMat(x.rows, x.cols), float64(r.base.Model.Spec.NormEps)
	for i := range x.rows {
		var sum float64
		for _, v := range x.row(i) {
			sum += v * v
		}
		inv, n := 1/math.Sqrt(sum/float64(x.cols)+eps), float64(x.cols)
		xr, yr := x.row(i), y.row(i)
		for j := range yr {
			yr[j] = xr[j] * inv * float64(w[j])
		}
		r.undo = append(r.undo, func() {
			var dot float64
			for j, d := range y.drow(i) {
				dot += d * float64(w[j]) * xr[j]
			}
			for j, d := range y.drow(i) {
				x.drow(i)[j] += inv*d*float64(w[j]) - xr[j]*dot*inv*inv*inv/n
			}
		})
	}
	return y
}

// product is y += scale·x·wᵀ for w (rows, x.cols); dw may be nil.
func (r *exactRun) product(y, x *exactMat, w, dw []float64, scale float64) {
	for i := range x.rows {
		for o := range y.cols {
			var sum float64
			for j, v := range x.row(i) {
				sum += v * w[o*x.cols+j]
			}
			y.row(i)[o] += scale * sum
		}
	}
	r.undo = append(r.undo, func() {
		for i := range x.rows {
			for o, d := range y.drow(i) {
				for j := range x.cols {
					x.drow(i)[j] += scale * d * w[o*x.cols+j]
					if dw != nil {
						dw[o*x.cols+j] += scale * d * x.row(i)[j]
					}
				}
			}
		}
	})
}

func (r *exactRun) linear(x *exactMat, l *model.Linear) *exactMat {
	y := newExactMat(x.rows, l.W.Rows)
	w := make([]float32, l.W.Rows*l.W.Cols)
	l.W.Tile(w, l.W.Cols, 0, l.W.Rows, 0, l.W.Cols)
	r.product(y, x, widen(w), nil, 1)
	if p, ok := r.sites[l]; ok {
		u := newExactMat(x.rows, p.Rank)
		r.product(u, x, r.params[p.A], r.grads[p.A], 1)
		r.product(y, u, r.params[p.B], r.grads[p.B], p.Scale)
	}
	return y
}

// attention turns q and k over halves of the head and attends causally.
func (r *exactRun) attention(q, k, v *exactMat) *exactMat {
	s := &r.base.Model.Spec
	r.rope(q)
	r.rope(k)
	y := newExactMat(q.rows, q.cols)
	hd, group, scale := s.HeadDim, s.QueryHeads/s.KeyHeads, 1/math.Sqrt(float64(s.HeadDim))
	for h := range s.QueryHeads {
		for i := range q.rows {
			r.attend(y.row(i)[h*hd:][:hd], y.drow(i)[h*hd:][:hd], q.row(i)[h*hd:][:hd], q.drow(i)[h*hd:][:hd], k, v, h/group*hd,
				i+1, scale)
		}
	}
	return y
}

// attend is one query over n keys; values of the head start at column at.
func (r *exactRun) attend(y, dy, q, dq []float64, k, v *exactMat, at, n int, scale float64) {
	p, top := make([]float64, n), math.Inf(-1)
	for j := range p {
		for c := range q {
			p[j] += scale * q[c] * k.row(j)[at+c]
		}
		top = max(top, p[j])
	}
	var sum float64
	for j := range p {
		p[j] = math.Exp(p[j] - top)
		sum += p[j]
	}
	for j := range p {
		p[j] /= sum
		for c := range y {
			y[c] += p[j] * v.row(j)[at+c]
		}
	}
	r.undo = append(r.undo, func() {
		dp, mean := make([]float64, n), 0.0
		for j := range p {
			for c := range y {
				dp[j] += dy[c] * v.row(j)[at+c]
				v.drow(j)[at+c] += dy[c] * p[j]
			}
			mean += p[j] * dp[j]
		}
		for j := range p {
			ds := scale * p[j] * (dp[j] - mean)
			for c := range q {
				dq[c] += ds * k.row(j)[at+c]
				k.drow(j)[at+c] += ds * q[c]
			}
		}
	})
}

// rope turns the rows of x in place.
func (r *exactRun) rope(x *exactMat) {
	hd := r.base.Model.Spec.HeadDim
	turn := func(v []float64, sign float64) {
		for i := range x.rows {
			for c := range x.cols / hd * (hd / 2) {
				head, j := c/(hd/2)*hd, c%(hd/2)
				angle := float64(i) * math.Pow(r.base.Model.Spec.Rope.Base, -2*float64(j)/float64(hd))
				a, b := &v[i*x.cols+head+j], &v[i*x.cols+head+j+hd/2]
				cos, sin := math.Cos(angle), sign*math.Sin(angle)
				*a, *b = *a*cos-*b*sin, *a*sin+*b*cos
			}
		}
	}
	turn(x.x, 1)
	r.undo = append(r.undo, func() { turn(x.d, -1) })
}

func (r *exactRun) swiglu(g, u *exactMat) *exactMat {
	y := newExactMat(g.rows, g.cols)
	for i := range y.x {
		y.x[i] = g.x[i] / (1 + math.Exp(-g.x[i])) * u.x[i]
	}
	r.undo = append(r.undo, func() {
		for i, d := range y.d {
			s := 1 / (1 + math.Exp(-g.x[i]))
			u.d[i] += d * g.x[i] * s
			g.d[i] += d * u.x[i] * s * (1 + g.x[i]*(1-s))
		}
	})
	return y
}

func (r *exactRun) crossEntropy(logits *exactMat, targets []int32, scale float64) (loss float64) {
	for i, target := range targets {
		if target == batch.Ignore {
			continue
		}
		row, top, sum := logits.row(i), math.Inf(-1), 0.0
		for _, v := range row {
			top = max(top, v)
		}
		for _, v := range row {
			sum += math.Exp(v - top)
		}
		loss += math.Log(sum) + top - row[target]
		for j, v := range row {
			logits.drow(i)[j] = scale * math.Exp(v-top) / sum
		}
		logits.drow(i)[target] -= scale
	}
	return loss
}
