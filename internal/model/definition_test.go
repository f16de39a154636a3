package model_test

import (
	"math"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/quant"
)

// matrix is a (rows, cols) matrix of float64.
type matrix struct {
	rows, cols int
	x          []float64
}

func newMatrix(rows, cols int) matrix { return matrix{rows, cols, make([]float64, rows*cols)} }

func (m matrix) row(i int) []float64 { return m.x[i*m.cols : (i+1)*m.cols] }

// columns is a copy of columns from to to-1 of each of so many heads.
func (m matrix) columns(heads, from, to int) matrix {
	y, width := newMatrix(m.rows, heads*(to-from)), m.cols/heads
	for i := range m.rows {
		for h := range heads {
			copy(y.row(i)[h*(to-from):], m.row(i)[h*width+from:h*width+to])
		}
	}
	return y
}

// each is f of each number.
func (m matrix) each(f func(x float64) float64) matrix {
	y := newMatrix(m.rows, m.cols)
	for i, x := range m.x {
		y.x[i] = f(x)
	}
	return y
}

func (m matrix) plus(o matrix) matrix {
	y := newMatrix(m.rows, m.cols)
	for i := range y.x {
		y.x[i] = m.x[i] + o.x[i]
	}
	return y
}

func (m matrix) times(o matrix) matrix {
	y := newMatrix(m.rows, m.cols)
	for i := range y.x {
		y.x[i] = m.x[i] * o.x[i]
	}
	return y
}

// scaled is s·m, m where s is 0.
func (m matrix) scaled(s float32) matrix {
	if s == 0 {
		return m
	}
	return m.each(func(x float64) float64 { return float64(s) * x })
}

func dot(x, y []float64) float64 {
	var a, b, c, d float64
	i := 0
	for ; i+4 <= len(x); i += 4 {
		a, b, c, d = a+x[i]*y[i], b+x[i+1]*y[i+1], c+x[i+2]*y[i+2], d+x[i+3]*y[i+3]
	}
	for ; i < len(x); i++ {
		a += x[i] * y[i]
	}
	return a + b + c + d
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
func silu(x float64) float64    { return x * sigmoid(x) }

func softplus(x float64) float64 {
	return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x)))
}

// softmax replaces x by its softmax and gives the logarithm of what it was divided by.
func softmax(x []float64) float64 {
	top, sum := slices.Max(x), 0.0
	for i := range x {
		x[i] = math.Exp(x[i] - top)
		sum += x[i]
	}
	for i := range x {
		x[i] /= sum
	}
	return top + math.Log(sum)
}

// definition is the decoder in float64, token by token and head by head: what each part of a Spec means.
type definition struct {
	*model.Model
	file   *gguf.File
	batch  *batch.Batch
	embed  matrix
	head   matrix
	maps   map[*model.Linear]matrix
	norms  map[*model.Norm][2][]float64 // weights and biases
	places map[place]any                // maps and norms by what they are for

	vectors  map[string][]float64 // of the file, by name
	again    matrix               // the second embedding
	streams  []matrix             // at the input of each layer
	shared   map[int][2]matrix    // keys and values of layers
	balances map[int]float64      // of the layers that route
	aux      float64              // what their mean, times the number of targets, is multiplied with in the loss
}

// place is what a linear map or a norm is for.
type place struct {
	role          arch.Role
	layer, expert int
}

// watch collects the maps and norms of a forward pass.
type watch struct {
	model.NoHooks
	d *definition
}

func (w watch) Linear(_ *autograd.Tape, l *model.Linear, _, y *autograd.Tensor) *autograd.Tensor {
	w.d.addLinear(l)
	return y
}

func (w watch) Norm(n *model.Norm, x *autograd.Tensor) *autograd.Tensor {
	w.d.addNorm(n)
	return x
}

func (d *definition) addLinear(l *model.Linear) {
	d.places[place{l.Role, l.Layer, l.Expert}] = l
	if _, ok := d.maps[l]; !ok {
		d.maps[l] = matrixOf(&l.W)
	}
}

func (d *definition) addNorm(n *model.Norm) {
	d.places[place{n.Role, n.Layer, 0}] = n
	if _, ok := d.norms[n]; !ok {
		pair := [2][]float64{wide(n.W.Data), nil}
		if n.B != nil {
			pair[1] = wide(n.B.Data)
		}
		d.norms[n] = pair
	}
}

func matrixOf(w *quant.Matrix) matrix { return matrix{w.Rows, w.Cols, wide(model.Dequantized(w))} }

func wide(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// newDefinition is the decoder of a model on a batch.
func newDefinition(m *model.Model, file *gguf.File, b *batch.Batch) *definition {
	d := &definition{
		Model: m, file: file, batch: b, embed: matrixOf(&m.Embed), head: matrixOf(&m.Head),
		maps: map[*model.Linear]matrix{}, norms: map[*model.Norm][2][]float64{}, places: map[place]any{},
		vectors: map[string][]float64{},
	}
	tape := autograd.NewTape()
	tape.Record(false)
	m.Hidden(tape, b, watch{d: d})
	return d
}

// vector is a tensor of the file, nil where it has none.
func (d *definition) vector(role arch.Role, layer int) []float64 {
	t := d.Arch.Tensor(role)
	if t == nil {
		return nil
	}
	name := t.InGGUF(layer)
	if x, ok := d.vectors[name]; ok {
		return x
	}
	info := d.file.Tensor(name)
	if info == nil {
		return nil
	}
	x := make([]float32, info.Elements())
	quant.Dequantize(info.Type, x, info.Bytes())
	d.vectors[name] = wide(x)
	return d.vectors[name]
}

func (d *definition) has(role arch.Role, layer int) bool {
	return d.places[place{role, layer, 0}] != nil
}

// linear is x·Wᵀ + bias with an expert's map.
func (d *definition) expert(role arch.Role, layer, expert int, x matrix) matrix {
	l := d.places[place{role, layer, expert}].(*model.Linear)
	w := d.maps[l]
	y := newMatrix(x.rows, w.rows)
	for i := range x.rows {
		for j := range w.rows {
			y.row(i)[j] = dot(x.row(i), w.row(j))
			if l.Bias != nil {
				y.row(i)[j] += float64(l.Bias[j])
			}
		}
	}
	return y
}

func (d *definition) linear(role arch.Role, layer int, x matrix) matrix {
	return d.expert(role, layer, 0, x)
}

// norm is x where there is no such norm.
func (d *definition) norm(role arch.Role, layer int, x matrix) matrix {
	n, ok := d.places[place{role, layer, 0}].(*model.Norm)
	if !ok {
		return x
	}
	pair := d.norms[n]
	return normed(x, n.Group, pair[0], pair[1], float64(d.Spec.NormEps), d.Spec.LayerNorm)
}

// normed is a norm of each group of columns; w and b are one for all columns or for each group, or nil.
func normed(x matrix, group int, w, b []float64, eps float64, center bool) matrix {
	y := newMatrix(x.rows, x.cols)
	for i := range x.rows {
		for at := 0; at < x.cols; at += group {
			g := x.row(i)[at : at+group]
			mean, square := 0.0, 0.0
			for _, v := range g {
				mean += v / float64(group)
			}
			if !center {
				mean = 0
			}
			for _, v := range g {
				square += (v - mean) * (v - mean) / float64(group)
			}
			for j, v := range g {
				r := (v - mean) / math.Sqrt(square+eps)
				if w != nil {
					r *= w[(at+j)%len(w)]
				}
				if b != nil {
					r += b[(at+j)%len(b)]
				}
				y.row(i)[at+j] = r
			}
		}
	}
	return y
}

// loss is the sum of the cross entropies of all targets. Layers below from are as they were the last time.
func (d *definition) loss(from int) (sum float64) {
	for i, logits := range d.logits(from) {
		if target := d.batch.Targets[i]; target != batch.Ignore {
			at := logits[target]
			sum += softmax(logits) - at
		}
	}
	return sum + d.aux*d.balance()*float64(d.batch.TargetCount())
}

// balance is the mean load-balance loss of the layers that route.
func (d *definition) balance() (mean float64) {
	for _, loss := range d.balances {
		mean += loss / float64(len(d.balances))
	}
	return mean
}

// logits are those of all tokens.
func (d *definition) logits(from int) [][]float64 {
	if from < 0 || d.streams == nil {
		d.begin()
	}
	from = max(from, 0)
	x := d.streams[from]
	for i := from; i < len(d.Layers); i++ {
		d.streams[i] = x
		x = d.layer(i, x)
	}
	x = d.norm(arch.OutputNorm, -1, x)
	var all [][]float64
	for i := range x.rows {
		z := make([]float64, d.head.rows)
		for j := range z {
			z[j] = dot(x.row(i), d.head.row(j))
			if d.Bias != nil {
				z[j] += float64(d.Bias[j])
			}
			if s := d.Spec.LogitScale; s != 0 {
				z[j] *= float64(s)
			}
			z[j] = capped(z[j], d.Spec.LogitCap)
		}
		all = append(all, z)
	}
	return all
}

func capped(x float64, limit float32) float64 {
	if limit == 0 {
		return x
	}
	return float64(limit) * math.Tanh(x/float64(limit))
}

// begin is what is before the first layer.
func (d *definition) begin() {
	b, s := d.batch, &d.Spec
	x := newMatrix(len(b.IDs), s.Width)
	for i, id := range b.IDs {
		copy(x.row(i), d.embed.row(int(id)))
	}
	x = x.scaled(s.EmbeddingScale)
	if table := d.vector(arch.PositionEmbedding, -1); table != nil {
		for i, p := range b.Pos {
			for j := range x.row(i) {
				x.row(i)[j] += table[int(p)*s.Width+j]
			}
		}
	}
	x = d.norm(arch.EmbeddingNorm, -1, x)
	d.streams, d.shared, d.balances = make([]matrix, len(d.Layers)), map[int][2]matrix{}, map[int]float64{}
	d.streams[0], d.again = x, d.embedAgain(x)
}

// embedAgain is the second embedding of the tokens.
func (d *definition) embedAgain(x matrix) matrix {
	table, n := d.vector(arch.LayerEmbedding, -1), d.Spec.LayerEmbedding
	if n == 0 {
		return matrix{}
	}
	scale := 1 / math.Sqrt(float64(d.Spec.Width))
	y := d.linear(arch.LayerEmbeddingMap, -1, x).each(func(v float64) float64 { return scale * v })
	y = d.norm(arch.LayerEmbeddingNorm, -1, y)
	for i, id := range d.batch.IDs {
		for j := range y.row(i) {
			y.row(i)[j] = (y.row(i)[j] + math.Sqrt(float64(n))*table[int(id)*y.cols+j]) / math.Sqrt2
		}
	}
	return y
}

func (d *definition) layer(i int, x matrix) matrix {
	l := d.Spec.At(i)
	if l.Parallel {
		before, beforeFFN := arch.AttentionNorm, arch.FFNNorm
		if !d.has(before, i) {
			before = beforeFFN
		}
		if !d.has(beforeFFN, i) {
			beforeFFN = before
		}
		y := d.added(i, arch.FFNPostNorm, d.feed(i, x, d.norm(beforeFFN, i, x)))
		return d.finish(i, x.plus(y).plus(d.added(i, arch.AttentionPostNorm, d.mix(i, d.norm(before, i, x)))))
	}
	if l.Mixer != arch.NoMixer {
		x = x.plus(d.added(i, arch.AttentionPostNorm, d.mix(i, d.norm(arch.AttentionNorm, i, x))))
	}
	if l.FFN > 0 || l.Experts.Count > 0 {
		x = x.plus(d.added(i, arch.FFNPostNorm, d.feed(i, x, d.norm(arch.FFNNorm, i, x))))
	}
	return d.finish(i, x)
}

func (d *definition) added(i int, post arch.Role, y matrix) matrix {
	return d.norm(post, i, y).scaled(d.Spec.ResidualScale)
}

func (d *definition) finish(i int, x matrix) matrix {
	if n := d.Spec.LayerEmbedding; n > 0 {
		y := d.linear(arch.LayerEmbeddingGate, i, x).each(gelu).times(d.again.columns(1, i*n, (i+1)*n))
		x = x.plus(d.norm(arch.LayerEmbeddingPost, i, d.linear(arch.LayerEmbeddingUp, i, y)))
	}
	if scale := d.vector(arch.LayerScale, i); scale != nil {
		x = x.each(func(v float64) float64 { return scale[0] * v })
	}
	return x
}

func (d *definition) mix(i int, n matrix) matrix {
	switch d.Spec.At(i).Mixer {
	case arch.DeltaNet:
		return d.deltaNet(i, n)
	case arch.Mamba2:
		return d.mamba(i, n)
	case arch.ShortConv:
		return d.shortConv(i, n)
	}
	return d.attention(i, n)
}

func (d *definition) attention(i int, n matrix) matrix {
	l := d.Spec.At(i)
	var q, k, v, gate matrix
	query, key := l.QueryHeads*l.HeadDim, l.KeyHeads*l.HeadDim
	switch {
	case d.has(arch.QKV, i):
		all := d.linear(arch.QKV, i, n)
		q, k, v = all.columns(1, 0, query), all.columns(1, query, query+key), all.columns(1, query+key, all.cols)
	case d.has(arch.QueryDown, i):
		q = d.linear(arch.QueryUp, i, d.norm(arch.QueryDownNorm, i, d.linear(arch.QueryDown, i, n)))
	default:
		q = d.linear(arch.Query, i, n)
	}
	if l.GatedQuery {
		gate, q = q.columns(l.QueryHeads, l.HeadDim, 2*l.HeadDim), q.columns(l.QueryHeads, 0, l.HeadDim)
	} else if d.has(arch.AttentionGate, i) {
		gate = d.linear(arch.AttentionGate, i, n)
	}
	switch {
	case l.KeysFrom > 0:
		k, v = d.shared[l.KeysFrom-1][0], d.shared[l.KeysFrom-1][1]
	case l.Latent.Rank > 0:
		k, v = d.latent(i, n)
	default:
		if k.x == nil {
			k = d.linear(arch.Key, i, n)
			v = k
			if d.has(arch.Value, i) {
				v = d.linear(arch.Value, i, n)
			}
		}
		if l.NormValues {
			v = normed(v, l.Values(), nil, nil, float64(d.Spec.NormEps), false)
		}
		k, v = d.turned(i, arch.KeyNorm, clamped(l, k)), clamped(l, v)
	}
	d.shared[i] = [2]matrix{k, v}
	q = d.turned(i, arch.QueryNorm, clamped(l, q))
	if beta := l.Temperature.Beta; beta != 0 {
		for t, p := range d.batch.Pos {
			for j := range q.row(t) {
				q.row(t)[j] *= 1 + beta*math.Log(math.Floor(float64(p)/float64(l.Temperature.Length))+1)
			}
		}
	}
	y := d.attend(i, q, k, v)
	if gate.x != nil {
		for t := range y.rows {
			for j := range y.cols {
				y.row(t)[j] *= sigmoid(gate.row(t)[j/(y.cols/gate.cols)])
			}
		}
	}
	return d.linear(arch.AttentionOutput, i, d.norm(arch.AttentionSubNorm, i, y))
}

func clamped(l *arch.Layer, x matrix) matrix {
	if l.Clamp == 0 {
		return x
	}
	return x.each(func(v float64) float64 { return min(max(v, -float64(l.Clamp)), float64(l.Clamp)) })
}

// turned is queries or keys with their norm and rotation.
func (d *definition) turned(i int, norm arch.Role, x matrix) matrix {
	l := d.Spec.At(i)
	if l.NormAfterRope {
		return d.norm(norm, i, d.rotated(l, x, l.HeadDim, l.Rope.Offset))
	}
	return d.rotated(l, d.norm(norm, i, x), l.HeadDim, l.Rope.Offset)
}

// rotated is rotary position embedding of heads, from value number offset of each on.
func (d *definition) rotated(l *arch.Layer, x matrix, head, offset int) matrix {
	r := &l.Rope
	if r.Dim == 0 {
		return x
	}
	y := matrix{x.rows, x.cols, slices.Clone(x.x)}
	for s := range d.batch.Sequences() {
		d.rotateSequence(r, x, y, head, offset, int(d.batch.Bounds[s]), int(d.batch.Bounds[s+1]))
	}
	return y
}

// rotateSequence is rotated of the tokens of one sequence, into y.
func (d *definition) rotateSequence(r *arch.Rope, x, y matrix, head, offset, from, to int) {
	rope := autograd.Rope{Dim: r.Dim, Base: r.Base, Scale: r.Scale, Factors: r.Factors}
	if r.Factors == nil && r.Long != nil && to-from > r.Original {
		rope.Factors = r.Long
	} else if r.Factors == nil {
		rope.Factors = r.Short
	}
	if r.Yarn != nil {
		autograd.YaRN{Factor: 1 / r.Scale, Original: float64(r.Original), BetaFast: r.Yarn.BetaFast,
			BetaSlow: r.Yarn.BetaSlow, Share: 1}.Extend(&rope)
	}
	magnitude := 1.0
	if r.Magnitude != 0 {
		magnitude = r.Magnitude
	}
	for pair, angle := range rope.Angles() {
		a, b := 2*pair, 2*pair+1
		if r.Neox {
			a, b = pair, pair+r.Dim/2
		}
		for t := from; t < to; t++ {
			p := d.batch.Pos[t]
			sin, cos := math.Sincos(float64(p) * angle)
			for at := offset; at < x.cols; at += head {
				u, v := x.row(t)[at+a], x.row(t)[at+b]
				y.row(t)[at+a], y.row(t)[at+b] = magnitude*(u*cos-v*sin), magnitude*(u*sin+v*cos)
			}
		}
	}
}

// latent are keys and values of multi-head latent attention.
func (d *definition) latent(i int, n matrix) (k, v matrix) {
	l := d.Spec.At(i)
	s, heads := &l.Latent, l.QueryHeads
	down := d.linear(arch.KeyValueDown, i, n)
	c := d.norm(arch.KeyValueDownNorm, i, down.columns(1, 0, s.Rank))
	turning := d.rotated(l, down.columns(1, s.Rank, s.Rank+s.Rope), s.Rope, 0)
	still := newMatrix(n.rows, heads*s.Nope)
	v = newMatrix(n.rows, heads*s.Value)
	if d.has(arch.KeyValueUp, i) {
		both := d.linear(arch.KeyValueUp, i, c)
		still, v = both.columns(heads, 0, s.Nope), both.columns(heads, s.Nope, s.Nope+s.Value)
	} else {
		keyUp, valueUp := d.vector(arch.KeyUp, i), d.vector(arch.ValueUp, i)
		for t := range n.rows {
			for h := range heads {
				for r, latent := range c.row(t) {
					for j := range s.Nope {
						still.row(t)[h*s.Nope+j] += latent * keyUp[(h*s.Rank+r)*s.Nope+j]
					}
					for j := range s.Value {
						v.row(t)[h*s.Value+j] += latent * valueUp[(h*s.Value+j)*s.Rank+r]
					}
				}
			}
		}
	}
	k = newMatrix(n.rows, heads*(s.Nope+s.Rope))
	for t := range n.rows {
		for h := range heads {
			copy(k.row(t)[h*(s.Nope+s.Rope):], still.row(t)[h*s.Nope:(h+1)*s.Nope])
			copy(k.row(t)[h*(s.Nope+s.Rope)+s.Nope:], turning.row(t))
		}
	}
	return k, v
}

// attend is softmax(q·kᵀ)·v inside each sequence.
func (d *definition) attend(i int, q, k, v matrix) matrix {
	l := d.Spec.At(i)
	sinks := d.vector(arch.Sinks, i)
	dim, values, scale := l.HeadDim, l.Values(), 1/math.Sqrt(float64(l.HeadDim))
	if l.ScoreScale != 0 {
		scale = float64(l.ScoreScale)
	}
	y := newMatrix(q.rows, l.QueryHeads*values)
	for s := range d.batch.Sequences() {
		from, to := int(d.batch.Bounds[s]), int(d.batch.Bounds[s+1])
		for t := from; t < to; t++ {
			first := from
			if l.Window > 0 {
				first = max(from, t-l.Window+1)
			}
			for h := range l.QueryHeads {
				kh := h / (l.QueryHeads / l.KeyHeads)
				var scores []float64
				for u := first; u <= t; u++ {
					z := capped(scale*dot(q.row(t)[h*dim:(h+1)*dim], k.row(u)[kh*dim:(kh+1)*dim]), l.ScoreCap)
					scores = append(scores, z-slope(l, h)*float64(t-u))
				}
				if sinks != nil {
					scores = append(scores, sinks[h])
				}
				softmax(scores)
				for u := first; u <= t; u++ {
					for j := range values {
						y.row(t)[h*values+j] += scores[u-first] * v.row(u)[kh*values+j]
					}
				}
			}
		}
	}
	return y
}

// slope is what ALiBi takes off the score of a head for each token of distance.
func slope(l *arch.Layer, h int) float64 {
	if l.ALiBi == 0 {
		return 0
	}
	whole := 1
	for 2*whole <= l.QueryHeads {
		whole *= 2
	}
	if h < whole {
		return math.Pow(2, -float64(l.ALiBi)*float64(h+1)/float64(whole))
	}
	return math.Pow(2, -float64(l.ALiBi)/2*float64(2*(h-whole)+1)/float64(whole))
}

// gated is f(gate)·up of an activation; without up it is f(gate).
func gated(a arch.Activation, gate, up matrix) matrix {
	one := func(g, u float64) float64 { return silu(g) * u }
	switch a {
	case arch.GELU:
		one = func(g, u float64) float64 { return gelu(g) * u }
	case arch.ReLU2:
		one = func(g, u float64) float64 { return max(g, 0) * max(g, 0) * u }
	case arch.OAI:
		one = func(g, u float64) float64 {
			g, u = min(g, 7), min(max(u, -7), 7)
			return g * sigmoid(1.702*g) * (u + 1)
		}
	}
	y := newMatrix(gate.rows, gate.cols)
	for i, g := range gate.x {
		u := 1.0
		if up.x != nil {
			u = up.x[i]
		}
		y.x[i] = one(g, u)
	}
	return y
}

func gelu(x float64) float64 {
	return 0.5 * x * (1 + math.Tanh(0.79788456080286535588*x*(1+0.044715*x*x)))
}

func (d *definition) feed(i int, x, n matrix) matrix {
	l := d.Spec.At(i)
	switch {
	case l.Experts.Count == 0:
		return d.dense(i, n)
	case l.Experts.Beside:
		scale := slices.Clone(d.vector(arch.RouterScale, i))
		for j := range scale {
			scale[j] /= math.Sqrt(float64(len(scale)))
		}
		r := normed(x, x.cols, scale, nil, float64(d.Spec.NormEps), false)
		sparse := d.routed(i, r, d.norm(arch.ExpertsNorm, i, x))
		return d.norm(arch.FFNPostNorm1, i, d.dense(i, n)).plus(d.norm(arch.ExpertsPostNorm, i, sparse))
	}
	y := d.routed(i, n, n)
	if l.Experts.Shared > 0 {
		var inner matrix
		up := d.linear(arch.SharedUp, i, n)
		if d.has(arch.SharedGate, i) {
			inner = gated(l.Activation, d.linear(arch.SharedGate, i, n), up)
		} else {
			inner = gated(l.Activation, up, matrix{})
		}
		shared := d.linear(arch.SharedDown, i, inner)
		if d.has(arch.SharedRouter, i) {
			weight := d.linear(arch.SharedRouter, i, n)
			for t := range shared.rows {
				for j := range shared.row(t) {
					shared.row(t)[j] *= sigmoid(weight.x[t])
				}
			}
		}
		y = y.plus(shared)
	}
	return y
}

func (d *definition) dense(i int, n matrix) matrix {
	l := d.Spec.At(i)
	var y matrix
	switch {
	case d.has(arch.GateUp, i):
		both := d.linear(arch.GateUp, i, n)
		y = gated(l.Activation, both.columns(1, 0, both.cols/2), both.columns(1, both.cols/2, both.cols))
	case d.has(arch.Gate, i):
		y = gated(l.Activation, d.linear(arch.Gate, i, n), d.linear(arch.Up, i, n))
	default:
		y = gated(l.Activation, d.linear(arch.Up, i, n), matrix{})
	}
	return d.linear(arch.Down, i, d.norm(arch.FFNSubNorm, i, y))
}

// routed is what the experts that r chooses make of n.
func (d *definition) routed(i int, r, n matrix) matrix {
	l := d.Spec.At(i)
	m := &l.Experts
	logits := d.linear(arch.Router, i, r)
	bias, scales := d.vector(arch.SelectionBias, i), d.vector(arch.ExpertScale, i)
	y := newMatrix(n.rows, n.cols)
	share, mean := make([]float64, m.Count), make([]float64, m.Count)
	for t := range n.rows {
		chosen, weights := choose(m, logits.row(t), bias)
		all := slices.Clone(logits.row(t))
		softmax(all)
		for e, p := range all {
			mean[e] += p / float64(n.rows)
		}
		x := matrix{1, n.cols, n.row(t)}
		for k, e := range chosen {
			share[e] += 1 / float64(n.rows)
			var inner matrix
			if up := d.expert(arch.ExpertUp, i, e, x); d.places[place{arch.ExpertGate, i, e}] != nil {
				inner = gated(l.Activation, d.expert(arch.ExpertGate, i, e, x), up)
			} else {
				inner = gated(l.Activation, up, matrix{})
			}
			w := weights[k]
			if scales != nil {
				w *= scales[e]
			}
			for j, v := range d.expert(arch.ExpertDown, i, e, inner).x {
				y.row(t)[j] += w * v
			}
		}
	}
	d.balances[i] = float64(m.Count) * dot(share, mean)
	return y
}

// choose are the experts of a token and their weights.
func choose(m *arch.MoE, logits, bias []float64) (chosen []int, weights []float64) {
	p := slices.Clone(logits)
	switch m.Gating {
	case arch.Softmax:
		softmax(p)
	case arch.Sigmoid:
		for e := range p {
			p[e] = sigmoid(p[e])
		}
	case arch.SqrtSoftplus:
		for e := range p {
			p[e] = math.Sqrt(softplus(p[e]))
		}
	}
	score := slices.Clone(p)
	for e := range bias {
		score[e] += bias[e]
	}
	if size := m.Count / max(m.Groups, 1); m.Groups > 1 {
		sums := make([]float64, m.Groups)
		for g := range sums {
			group := slices.Sorted(slices.Values(score[g*size : (g+1)*size]))
			for _, v := range group[max(0, size-2):] {
				sums[g] += v
			}
		}
		kept := greatest(sums, m.GroupsUsed)
		for e := range score {
			if !slices.Contains(kept, e/size) {
				score[e] = math.Inf(-1)
			}
		}
	}
	chosen = greatest(score, m.Used)
	sum := 0.0
	for _, e := range chosen {
		weights = append(weights, p[e])
		sum += p[e]
	}
	if m.Gating == arch.SoftmaxOfChosen {
		softmax(weights)
	} else if m.Norm {
		for k := range weights {
			weights[k] /= sum
		}
	}
	for k := range weights {
		if m.Scale != 0 {
			weights[k] *= float64(m.Scale)
		}
	}
	return chosen, weights
}

// greatest are the indices of the n greatest numbers.
func greatest(x []float64, n int) []int {
	index := make([]int, len(x))
	for i := range index {
		index[i] = i
	}
	slices.SortStableFunc(index, func(a, b int) int {
		switch {
		case x[a] > x[b]:
			return -1
		case x[a] < x[b]:
			return 1
		}
		return 0
	})
	return index[:n]
}

// convolved is a causal convolution of each column inside each sequence, w (columns, taps).
func (d *definition) convolved(x matrix, w, bias []float64, taps int) matrix {
	y := newMatrix(x.rows, x.cols)
	for s := range d.batch.Sequences() {
		from := int(d.batch.Bounds[s])
		for t := from; t < int(d.batch.Bounds[s+1]); t++ {
			for c := range x.cols {
				if bias != nil {
					y.row(t)[c] = bias[c]
				}
				for j := range taps {
					if u := t - taps + 1 + j; u >= from {
						y.row(t)[c] += w[c*taps+j] * x.row(u)[c]
					}
				}
			}
		}
	}
	return y
}

func (d *definition) deltaNet(i int, n matrix) matrix {
	s := &d.Spec.At(i).Delta
	mixed := d.convolved(d.linear(arch.RecurrentQKV, i, n), d.vector(arch.RecurrentConv, i), nil, s.Taps).each(silu)
	keys := s.KeyHeads * s.KeyDim
	unit := func(x matrix) matrix { // of norm 1 in each head
		for at := 0; at < len(x.x); at += s.KeyDim {
			head := x.x[at : at+s.KeyDim]
			norm := math.Sqrt(dot(head, head) + float64(d.Spec.NormEps))
			for j := range head {
				head[j] /= norm
			}
		}
		return x
	}
	q, k := unit(mixed.columns(1, 0, keys)), unit(mixed.columns(1, keys, 2*keys))
	v := mixed.columns(1, 2*keys, mixed.cols)
	var beta, alpha matrix
	if d.has(arch.RecurrentBetaAlpha, i) {
		both, share := d.linear(arch.RecurrentBetaAlpha, i, n), s.ValueHeads/s.KeyHeads
		beta, alpha = both.columns(s.KeyHeads, 0, share), both.columns(s.KeyHeads, share, 2*share)
	} else {
		beta, alpha = d.linear(arch.RecurrentBeta, i, n), d.linear(arch.RecurrentAlpha, i, n)
	}
	time, decay := d.vector(arch.RecurrentTimeBias, i), d.vector(arch.RecurrentDecay, i)
	y := newMatrix(n.rows, s.ValueHeads*s.ValueDim)
	for seq := range d.batch.Sequences() {
		for h := range s.ValueHeads {
			key := h % s.KeyHeads
			if s.Grouped {
				key = h / (s.ValueHeads / s.KeyHeads)
			}
			state := newMatrix(s.ValueDim, s.KeyDim)
			for t := int(d.batch.Bounds[seq]); t < int(d.batch.Bounds[seq+1]); t++ {
				qt, kt := q.row(t)[key*s.KeyDim:(key+1)*s.KeyDim], k.row(t)[key*s.KeyDim:(key+1)*s.KeyDim]
				keep, write := math.Exp(decay[h]*softplus(alpha.row(t)[h]+time[h])), sigmoid(beta.row(t)[h])
				for r := range s.ValueDim {
					row := state.row(r)
					for c := range row {
						row[c] *= keep
					}
					change := write * (v.row(t)[h*s.ValueDim+r] - dot(row, kt))
					for c := range row {
						row[c] += change * kt[c]
					}
					y.row(t)[h*s.ValueDim+r] = dot(row, qt) / math.Sqrt(float64(s.KeyDim))
				}
			}
		}
	}
	z := d.linear(arch.RecurrentGate, i, n).each(silu)
	return d.linear(arch.RecurrentOut, i, z.times(d.norm(arch.RecurrentNorm, i, y)))
}

func (d *definition) mamba(i int, n matrix) matrix {
	s := &d.Spec.At(i).Mamba
	in := d.linear(arch.RecurrentIn, i, n)
	inner, channels, width := s.Inner(), s.Channels(), s.Groups*s.State
	mixed := d.convolved(in.columns(1, inner, inner+channels), d.vector(arch.RecurrentConv, i),
		d.vector(arch.RecurrentConvBias, i), s.Taps).each(silu)
	x, b := mixed.columns(1, 0, inner), mixed.columns(1, inner, inner+width)
	c, times := mixed.columns(1, inner+width, channels), in.columns(1, inner+channels, in.cols)
	bias, decay := d.vector(arch.RecurrentTimeBias, i), d.vector(arch.RecurrentDecay, i)
	skip := d.vector(arch.RecurrentSkip, i)
	y := newMatrix(n.rows, inner)
	for seq := range d.batch.Sequences() {
		for h := range s.Heads {
			group := h / (s.Heads / s.Groups)
			state := newMatrix(s.HeadDim, s.State)
			for t := int(d.batch.Bounds[seq]); t < int(d.batch.Bounds[seq+1]); t++ {
				bt, ct := b.row(t)[group*s.State:(group+1)*s.State], c.row(t)[group*s.State:(group+1)*s.State]
				dt := softplus(times.row(t)[h] + bias[h])
				for r := range s.HeadDim {
					row, v := state.row(r), x.row(t)[h*s.HeadDim+r]
					for j := range row {
						row[j] = math.Exp(dt*decay[h])*row[j] + dt*v*bt[j]
					}
					y.row(t)[h*s.HeadDim+r] = dot(row, ct) + skip[h]*v
				}
			}
		}
	}
	y = in.columns(1, 0, inner).each(silu).times(y)
	return d.linear(arch.RecurrentOut, i, d.norm(arch.RecurrentNorm, i, y))
}

func (d *definition) shortConv(i int, n matrix) matrix {
	in, width := d.linear(arch.ConvIn, i, n), d.Spec.Width
	b, c, x := in.columns(1, 0, width), in.columns(1, width, 2*width), in.columns(1, 2*width, 3*width)
	y := d.convolved(b.times(x), d.vector(arch.ConvKernel, i), nil, d.Spec.At(i).Taps)
	return d.linear(arch.ConvOut, i, c.times(y))
}

// example is a model of a case, its file, and a batch of two sequences: a short one, and one that is longer than a
// window and than a chunk of a recurrence.
func example(t *testing.T, write func(path string)) (*model.Model, *gguf.File) {
	t.Helper()
	path := t.TempDir() + "/model.gguf"
	write(path)
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	m, err := model.FromGGUF(f)
	if err != nil {
		t.Fatal(err)
	}
	return m, f
}

// sequence is n ids that repeat rarely.
func sequence(n, seed int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32((i*i*7 + i*3 + seed) % 61)
	}
	return ids
}

// lengths are those of the sequences of the tests.
var lengths = []int{11, 70}

// packed is a batch of sequences of these lengths.
func packed(lengths ...int) *batch.Batch {
	b := &batch.Batch{}
	for _, n := range lengths {
		b.Append(sequence(n, n), nil)
	}
	return b
}
