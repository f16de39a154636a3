package recurrent

import "math"

// The recurrences in float64, one token after the other, and their derivatives.

// deltaResult is y of a Delta, and the gradients of its arguments.
type deltaResult struct{ y, q, k, v, g, beta []float64 }

// deltaDefinition is one value head of one sequence.
type deltaDefinition struct {
	*Delta
	head, from, to int
	deltaResult
	states [][]float64 // (ValueDim, KeyDim) before each token and after the last
}

// define computes y, and given its gradient those of the arguments, from state on (nil: zero).
func (d *Delta) define(dy []float32, state []float32) deltaResult {
	r := deltaResult{make([]float64, len(d.V)), make([]float64, len(d.Q)), make([]float64, len(d.K)),
		make([]float64, len(d.V)), make([]float64, len(d.G)), make([]float64, len(d.Beta))}
	for seq := range len(d.Bounds) - 1 {
		for head := range d.Heads.ValueHeads {
			from, to, _ := span(d.Bounds, seq)
			def := deltaDefinition{Delta: d, head: head, from: from, to: to, deltaResult: r}
			def.states = append(def.states, make([]float64, d.Heads.headLen()))
			if state != nil {
				def.states[0] = wide(state[head*d.Heads.headLen():][:d.Heads.headLen()])
			}
			def.forward()
			if dy != nil {
				def.backward(dy)
			}
		}
	}
	return r
}

func wide(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// deltaToken is the arguments of a token, and where they are.
type deltaToken struct {
	q, k, v         []float64
	decay, beta     float64
	key, value, one int
}

func (d *deltaDefinition) token(t int) deltaToken {
	h := d.Heads
	key, value := t*d.keyWidth()+h.keyHead(d.head)*h.KeyDim, t*d.valueWidth()+d.head*h.ValueDim
	one := t*h.ValueHeads + d.head
	return deltaToken{wide(d.Q[key : key+h.KeyDim]), wide(d.K[key : key+h.KeyDim]), wide(d.V[value : value+h.ValueDim]),
		math.Exp(float64(d.G[one])), float64(d.Beta[one]), key, value, one}
}

func (d *deltaDefinition) forward() {
	n, scale := d.Heads.KeyDim, 1/math.Sqrt(float64(d.Heads.KeyDim))
	for t := d.from; t < d.to; t++ {
		x := d.token(t)
		before, after := d.states[t-d.from], make([]float64, d.Heads.headLen())
		for j, v := range x.v {
			u := 0.0
			for i, k := range x.k {
				u += x.decay * before[j*n+i] * k
			}
			for i, k := range x.k {
				after[j*n+i] = x.decay*before[j*n+i] + x.beta*(v-u)*k
				d.deltaResult.y[x.value+j] += after[j*n+i] * x.q[i] * scale
			}
		}
		d.states = append(d.states, after)
	}
}

// backward goes from the last token to the first with the gradient of the state.
func (d *deltaDefinition) backward(dy []float32) {
	n, scale := d.Heads.KeyDim, 1/math.Sqrt(float64(d.Heads.KeyDim))
	ds := make([]float64, d.Heads.headLen())
	for t := d.to - 1; t >= d.from; t-- {
		x := d.token(t)
		before, after := d.states[t-d.from], d.states[t-d.from+1]
		for j, v := range x.v {
			dout := float64(dy[x.value+j]) * scale
			u, dchange := 0.0, 0.0 // S·k, and the gradient of beta·(v-u)
			for i := range n {
				ds[j*n+i] += dout * x.q[i]
				d.q[x.key+i] += dout * after[j*n+i]
				u += x.decay * before[j*n+i] * x.k[i]
				dchange += ds[j*n+i] * x.k[i]
			}
			d.beta[x.one] += dchange * (v - u)
			d.v[x.value+j] += dchange * x.beta
			for i := range n {
				decayed := x.decay * before[j*n+i]
				d.k[x.key+i] += ds[j*n+i]*x.beta*(v-u) - dchange*x.beta*decayed
				ds[j*n+i] -= dchange * x.beta * x.k[i]
				d.g[x.one] += ds[j*n+i] * decayed
				ds[j*n+i] *= x.decay
			}
		}
	}
}

// mambaResult is y of a Mamba, and the gradients of its arguments.
type mambaResult struct{ y, x, b, c, dt []float64 }

// mambaDefinition is one head of one sequence.
type mambaDefinition struct {
	*Mamba
	head, from, to int
	mambaResult
	states [][]float64 // (HeadDim, State) before each token and after the last
}

// define computes y, and given its gradient those of the arguments, from state on (nil: zero).
func (m *Mamba) define(dy []float32, state []float32) mambaResult {
	r := mambaResult{make([]float64, len(m.X)), make([]float64, len(m.X)), make([]float64, len(m.B)),
		make([]float64, len(m.C)), make([]float64, len(m.DT))}
	size := m.Heads.HeadDim * m.Heads.State
	for seq := range len(m.Bounds) - 1 {
		for head := range m.Heads.Heads {
			from, to, _ := span(m.Bounds, seq)
			def := mambaDefinition{Mamba: m, head: head, from: from, to: to, mambaResult: r}
			def.states = append(def.states, make([]float64, size))
			if state != nil {
				def.states[0] = wide(state[head*size : (head+1)*size])
			}
			def.forward()
			if dy != nil {
				def.backward(dy)
			}
		}
	}
	return r
}

// mambaToken is the arguments of a token, and where they are.
type mambaToken struct {
	x, b, c              []float64
	dt, a, decay, d      float64
	input, group, moment int
}

func (d *mambaDefinition) token(t int) mambaToken {
	h := d.Heads
	input, group := t*d.width()+d.head*h.HeadDim, t*d.groupWidth()+d.head/(h.Heads/h.Groups)*h.State
	moment := t*h.Heads + d.head
	dt, a := float64(d.DT[moment]), float64(d.A[d.head])
	return mambaToken{wide(d.X[input : input+h.HeadDim]), wide(d.B[group : group+h.State]),
		wide(d.C[group : group+h.State]), dt, a, math.Exp(dt * a), float64(d.D[d.head]), input, group, moment}
}

func (d *mambaDefinition) forward() {
	for t := d.from; t < d.to; t++ {
		k := d.token(t)
		before, after := d.states[t-d.from], make([]float64, d.Heads.HeadDim*d.Heads.State)
		for j, x := range k.x {
			d.mambaResult.y[k.input+j] = k.d * x
			for i, b := range k.b {
				at := j*d.Heads.State + i
				after[at] = k.decay*before[at] + k.dt*x*b
				d.mambaResult.y[k.input+j] += after[at] * k.c[i]
			}
		}
		d.states = append(d.states, after)
	}
}

// backward goes from the last token to the first with the gradient of the state.
func (d *mambaDefinition) backward(dy []float32) {
	ds := make([]float64, d.Heads.HeadDim*d.Heads.State)
	for t := d.to - 1; t >= d.from; t-- {
		k := d.token(t)
		before, after := d.states[t-d.from], d.states[t-d.from+1]
		for j, x := range k.x {
			dout := float64(dy[k.input+j])
			d.x[k.input+j] += dout * k.d
			for i := range k.b {
				at := j*d.Heads.State + i
				ds[at] += dout * k.c[i]
				d.c[k.group+i] += dout * after[at]
				d.b[k.group+i] += ds[at] * k.dt * x
				d.x[k.input+j] += ds[at] * k.dt * k.b[i]
				d.dt[k.moment] += ds[at] * (x*k.b[i] + k.a*k.decay*before[at])
				ds[at] *= k.decay
			}
		}
	}
}
