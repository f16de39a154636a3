package autograd

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/alloctest"
	"github.com/peftconv/peftconv/kernels"
)

// routers has each gating function with each option that changes its gradient.
func routers(experts int) map[string]Router {
	bias, scales := make([]float32, experts), make([]float32, experts)
	for e := range bias {
		bias[e], scales[e] = 0.3*float32(e%3), 0.5+float32(e)/4
	}
	all := map[string]Router{}
	for name, g := range map[string]Gating{"softmax": GateSoftmax, "sigmoid": GateSigmoid,
		"softmax of the chosen": GateSoftmaxOfChosen, "sqrt softplus": GateSqrtSoftplus} {
		for _, norm := range []bool{false, true} {
			r := Router{Gating: g, Used: 3, Norm: norm}
			name := fmt.Sprintf("%s, norm %v", name, norm)
			all[name] = r
			r.Scale, r.Bias = 2.5, bias
			all[name+", biased and scaled"] = r
			r.Groups, r.GroupsUsed, r.Scales = 4, 2, scales
			all[name+", in groups"] = r
		}
	}
	return all
}

func TestRouteGradients(t *testing.T) {
	var all []graph
	for name, r := range routers(8) {
		all = append(all, graph{name, [][2]int{{7, 8}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.Route(leaf(t, p[0]), r).Weights
		}})
	}
	small := Router{Gating: GateSoftmax, Used: 2, Norm: true, Bias: []float32{9, 9, 0, 0}}
	all = append(all, graph{"a sum below the floor", [][2]int{{3, 4}}, func(t *Tape, p []*Tensor) *Tensor {
		shift := NewParam(1, 4, []float32{-12, -12, 0, 0}, make([]float32, 4))
		return t.Scaled(t.Route(t.AddRow(leaf(t, p[0]), shift, 1, nil), small).Weights, 100)
	}})
	far := make([]float32, 64)
	far[10], far[20], far[30] = 8, 6, 4
	for _, norm := range []bool{false, true} {
		r := Router{Gating: GateSoftmax, Used: 2, Norm: norm}
		name := fmt.Sprintf("64 experts, norm %v", norm)
		all = append(all, graph{name, [][2]int{{3, 64}}, func(t *Tape, p []*Tensor) *Tensor {
			shift := NewParam(1, 64, far, make([]float32, 64))
			return t.Scaled(t.Route(t.AddRow(leaf(t, p[0]), shift, 1, nil), r).Weights, 10)
		}})
	}
	checkGradients(t, all)
}

func TestExpertGradients(t *testing.T) {
	r := Router{Gating: GateSigmoid, Used: 2}
	logits := dense(9, 5, 3) // choices that do not move
	route := func(t *Tape, tokens int) *Routing {
		return t.Route(NewConst(tokens, 5, logits.Data[:tokens*5]), r)
	}
	checkGradients(t, []graph{
		{"Gather", [][2]int{{9, 70}}, func(t *Tape, p []*Tensor) *Tensor {
			x, rt := leaf(t, p[0]), route(t, 9)
			y := t.MatMul(frozen(4, 9), x)
			for e := range 5 {
				part := t.Gather(x, rt, e)
				y = t.Add(y, t.MatMul(frozen(4, part.Rows), part))
			}
			return y
		}},
		{"Combine", [][2]int{{9, 70}, {9, 5}}, func(t *Tape, p []*Tensor) *Tensor {
			x, rt := leaf(t, p[0]), t.Route(leaf(t, p[1]), r)
			var outputs []*Tensor
			for e := range 5 {
				outputs = append(outputs, t.Scaled(t.Gather(x, rt, e), float32(e+1)))
			}
			return t.Combine(rt, outputs)
		}},
		{"Combine of outputs with another use", [][2]int{{9, 70}}, func(t *Tape, p []*Tensor) *Tensor {
			x, rt := leaf(t, p[0]), route(t, 9)
			var outputs []*Tensor
			for e := range 5 {
				outputs = append(outputs, t.Scaled(t.Gather(x, rt, e), float32(e+1)))
			}
			return t.Add(t.Combine(rt, outputs), t.Combine(rt, outputs))
		}},
		{"one token", [][2]int{{1, 70}}, func(t *Tape, p []*Tensor) *Tensor {
			x, rt := leaf(t, p[0]), route(t, 1)
			outputs := make([]*Tensor, 5)
			for e := range outputs {
				if len(rt.Tokens(e)) > 0 {
					outputs[e] = t.Activate(t.Gather(x, rt, e), Tanh)
				}
			}
			return t.Combine(rt, outputs)
		}},
	})
}

// frozen is a tensor of random numbers that needs no gradient.
func frozen(rows, cols int) *Tensor { return NewConst(rows, cols, dense(rows, cols, 7).Data) }

// TestRouting compares the choices and their order with sorting.
func TestRouting(t *testing.T) {
	const tokens, experts = 200, 12
	for name, r := range routers(experts) {
		logits := dense(tokens, experts, 5)
		for i := range 40 { // equal ones, of which the first come first
			logits.Data[i*experts+3+i%5] = logits.Data[i*experts]
		}
		if r.Bias == nil {
			for i := range experts {
				logits.Data[experts*50+i] = 1
			}
		}
		rt := NewTape().Route(NewConst(tokens, experts, logits.Data), r)
		at := int32(0)
		for e := range experts {
			if rt.Offsets[e] != at || !slices.IsSorted(rt.Tokens(e)) {
				t.Fatalf("%s: the rows of expert %d are wrong", name, e)
			}
			at += int32(len(rt.Tokens(e)))
		}
		if at != tokens*int32(r.Used) {
			t.Fatalf("%s: %d rows", name, at)
		}
		for i := range tokens {
			chosen := rt.Chosen[i*r.Used : (i+1)*r.Used]
			_, want := plainRoute(r, logits.Data[i*experts:(i+1)*experts])
			if !slices.Equal(chosen, want) {
				t.Fatalf("%s: token %d uses %v, want %v", name, i, chosen, want)
			}
			for j := range r.Used {
				if e, row := rt.row(i*r.Used + j); int32(e) != chosen[j] || rt.Tokens(e)[row] != int32(i) {
					t.Fatalf("%s: token %d is not where its choice %d says", name, i, j)
				}
			}
		}
	}
}

// TestRouteOfNaN wants different experts whatever the logits.
func TestRouteOfNaN(t *testing.T) {
	nan := float32(math.NaN())
	for _, logits := range [][]float32{{nan, nan, nan, nan}, {0, nan, 1, nan}, {nan, 1, 2, 3}} {
		for _, g := range []Gating{GateSoftmax, GateSigmoid, GateSoftmaxOfChosen, GateSqrtSoftplus} {
			chosen := NewTape().Route(NewConst(1, 4, logits), Router{Gating: g, Used: 3}).Chosen
			slices.Sort(chosen)
			if len(slices.Compact(chosen)) != 3 || chosen[0] < 0 || chosen[2] > 3 {
				t.Errorf("gating %d chooses %v of %v", g, chosen, logits)
			}
		}
	}
}

// plainRoute is the definition, in float64 but for the scores, which are rounded as they are compared.
func plainRoute[T float32 | float64](r Router, logits []T) (weights []float64, chosen []int32) {
	p := make([]float64, len(logits))
	sum := 0.0
	for e, l := range logits {
		p[e] = float64(l)
		sum += math.Exp(float64(l))
	}
	for e, l := range p {
		switch r.Gating {
		case GateSoftmax:
			p[e] = math.Exp(l) / sum
		case GateSigmoid:
			p[e] = 1 / (1 + math.Exp(-l))
		case GateSqrtSoftplus:
			p[e] = math.Sqrt(math.Log(1 + math.Exp(l)))
		}
	}
	score := make([]float32, len(p))
	order := make([]int32, len(p))
	for e, v := range p {
		score[e], order[e] = float32(v), int32(e)
		if r.Bias != nil {
			score[e] += r.Bias[e]
		}
	}
	descending := func(a, b int32) int { return cmp.Compare(score[b], score[a]) }
	if r.Groups > 1 {
		size := len(p) / r.Groups
		sums := make([]float32, r.Groups)
		groups := make([]int, r.Groups)
		for g := range sums {
			members := slices.Sorted(slices.Values(score[g*size : (g+1)*size]))
			sums[g], groups[g] = members[size-1]+members[size-2], g
		}
		slices.SortStableFunc(groups, func(a, b int) int { return cmp.Compare(sums[b], sums[a]) })
		order = slices.DeleteFunc(order, func(e int32) bool {
			return !slices.Contains(groups[:r.GroupsUsed], int(e)/size)
		})
	}
	slices.SortStableFunc(order, descending)
	chosen = order[:r.Used]
	sum = 0
	for _, e := range chosen {
		w := p[e]
		if r.Gating == GateSoftmaxOfChosen {
			w = math.Exp(w)
		}
		weights, sum = append(weights, w), sum+w
	}
	for j, e := range chosen {
		if r.Norm || r.Gating == GateSoftmaxOfChosen {
			weights[j] /= max(sum, normFloor)
		}
		weights[j] *= float64(r.scale(e))
	}
	return weights, chosen
}

// plainBalance is transformers' load_balancing_loss_func of one layer.
func plainBalance(logits *Tensor, chosen []int32) (loss float64) {
	share, mean := make([]float64, logits.Cols), make([]float64, logits.Cols)
	for _, e := range chosen {
		share[e] += 1 / float64(logits.Rows)
	}
	for i := range logits.Rows {
		sum := 0.0
		for _, l := range logits.Row(i) {
			sum += math.Exp(float64(l))
		}
		for e, l := range logits.Row(i) {
			mean[e] += math.Exp(float64(l)) / sum / float64(logits.Rows)
		}
	}
	for e := range share {
		loss += float64(logits.Cols) * share[e] * mean[e]
	}
	return loss
}

func TestBalance(t *testing.T) {
	const tokens, experts, width, aux = 50, 8, 20, 3
	x := frozen(tokens, width)
	for name, r := range routers(experts) {
		logits := randomParams([][2]int{{tokens, experts}}, 5)[0]
		for i := range tokens {
			logits.Row(i)[1] += 3 // which all tokens choose
			logits.Row(i)[2] += 3
			logits.Row(i)[3] += 3
		}
		r.AuxLoss, r.Groups = aux, 0
		tape := NewTape()
		run := func(record bool) float64 {
			tape.Reset(1)
			tape.Record(record)
			rt := tape.Route(leaf(tape, logits), r)
			if want := plainBalance(logits, rt.Chosen); math.Abs(rt.Balance-want) > 1e-5*want {
				t.Fatalf("%s: balance %g, want %g", name, rt.Balance, want)
			}
			var outputs []*Tensor
			for e := range experts {
				outputs = append(outputs, tape.Scaled(tape.Gather(x, rt, e), float32(e)))
			}
			return weigh(tape, tape.Combine(rt, outputs)) + aux*rt.Balance
		}
		was := slices.Clone(NewTape().Route(logits, r).Chosen)
		run(true)
		tape.Backward()
		checkDirection(t, 0, logits, func() float64 { return run(false) })

		// The loss alone, of weights that nothing uses.
		clear(logits.Grad)
		tape.Reset(1)
		tape.Record(true)
		tape.Route(leaf(tape, logits), r)
		tape.Backward()
		checkDirection(t, 0, logits, func() float64 { return aux * NewTape().Route(logits, r).Balance })
		if !slices.Equal(was, NewTape().Route(logits, r).Chosen) {
			t.Errorf("%s: the choices moved", name)
		}
	}
}

// expertBlock is a mixture of experts with a low-rank map on every matrix.
type expertBlock struct {
	router         Router
	logits         kernels.Weights
	gate, up, down []kernels.Weights // of each expert
	low            [][3]LowRank      // of gate, up and down
	outputs        []*Tensor
}

func (b *expertBlock) run(t *Tape, x *Tensor) *Tensor {
	rt := t.Route(t.Linear(x, b.logits), b.router)
	b.outputs = b.outputs[:0]
	for e := range b.gate {
		b.outputs = append(b.outputs, nil)
		if len(rt.Tokens(e)) == 0 {
			continue
		}
		xe, low := t.Gather(x, rt, e), b.low[e]
		h := t.SwiGLU(t.LinearLoRA(xe, b.gate[e], low[0]), t.LinearLoRA(xe, b.up[e], low[1]))
		b.outputs[e] = t.LinearLoRA(h, b.down[e], low[2])
	}
	return t.Combine(rt, b.outputs)
}

// newExpertBlock makes a block of random weights in float32, and its trained tensors.
func newExpertBlock(r Router, experts, width, ffn, rank int) (*expertBlock, []*Tensor) {
	b := &expertBlock{router: r, logits: scaled(dense(experts, width, 1), 1)}
	var params []*Tensor
	add := func(out, in int) LowRank {
		p := randomParams([][2]int{{rank, in}, {out, rank}}, uint64(len(params)+9))
		for _, x := range p {
			kernels.Scale(float32(0.5/math.Sqrt(float64(x.Cols))), x.Data)
		}
		params = append(params, p...)
		return LowRank{p[0], p[1], 2}
	}
	for e := range experts {
		seed := uint64(10 * e)
		b.gate = append(b.gate, scaled(dense(ffn, width, seed+1), 1))
		b.up = append(b.up, scaled(dense(ffn, width, seed+2), 1))
		b.down = append(b.down, scaled(dense(width, ffn, seed+3), 1))
		b.low = append(b.low, [3]LowRank{add(ffn, width), add(ffn, width), add(width, ffn)})
	}
	return b, params
}

// scaled is w such that products have about the size of their input, times a factor.
func scaled(w kernels.Dense, factor float64) kernels.Dense {
	kernels.Scale(float32(factor/math.Sqrt(float64(w.Cols))), w.Data)
	return w
}

// plain is the block's definition in float64 for one token, and which experts it takes; the tensors have copies in
// float64 that may differ from them.
func (b *expertBlock) plain(x []float64, values map[*Tensor][]float64) ([]float64, []int32) {
	linear := func(w kernels.Weights, low LowRank, x []float64) []float64 {
		d := w.(kernels.Dense)
		u := times(values[low.A], x)
		y, change := make([]float64, d.Rows), times(values[low.B], u)
		for i := range y {
			for j, v := range x {
				y[i] += float64(d.Data[i*d.Cols+j]) * v
			}
			y[i] += float64(low.Scale) * change[i]
		}
		return y
	}
	d := b.logits.(kernels.Dense)
	logits := make([]float64, d.Rows)
	for e := range logits {
		for j, v := range x {
			logits[e] += float64(d.Data[e*d.Cols+j]) * v
		}
	}
	weights, chosen := plainRoute(b.router, logits)
	y := make([]float64, len(x))
	for j, e := range chosen {
		low := b.low[e]
		h, up := linear(b.gate[e], low[0], x), linear(b.up[e], low[1], x)
		for i, g := range h {
			h[i] = g / (1 + math.Exp(-g)) * up[i]
		}
		for i, v := range linear(b.down[e], low[2], h) {
			y[i] += weights[j] * v
		}
	}
	return y, chosen
}

// times is the product of a row-major matrix, whose columns are as many as x has numbers, and x.
func times(m, x []float64) []float64 {
	y := make([]float64, len(m)/len(x))
	for i := range y {
		for j, v := range x {
			y[i] += m[i*len(x)+j] * v
		}
	}
	return y
}

// TestExpertBlock compares the block, its gradient to the input, and those of its low-rank maps, with a loop over the
// tokens in float64 and its differences.
func TestExpertBlock(t *testing.T) {
	const width, ffn, rank = 8, 6, 2
	type blockCase struct {
		r               Router
		tokens, experts int
	}
	cases := map[string]blockCase{
		"one token":          {Router{Gating: GateSoftmax, Used: 2}, 1, 8},
		"one expert":         {Router{Gating: GateSigmoid, Used: 1}, 5, 1},
		"all experts":        {Router{Gating: GateSoftmax, Used: 8}, 5, 8},
		"all to one expert":  {Router{Gating: GateSigmoid, Used: 1, Bias: []float32{0, 0, 9, 0}}, 20, 4},
		"some without rows":  {Router{Gating: GateSoftmax, Used: 2, Bias: []float32{0, 9, 0, 9, 8, 0}}, 20, 6},
		"more than 16 a row": {Router{Gating: GateSoftmaxOfChosen, Used: 3}, 45, 4},
	}
	for name, r := range routers(8) {
		cases[name] = blockCase{r, 9, 8}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			block, params := newExpertBlock(c.r, c.experts, width, ffn, rank)
			x := randomParams([][2]int{{c.tokens, width}}, 3)[0]
			tape := NewTape()
			y := block.run(tape, leaf(tape, x))
			weigh(tape, y)
			coefficients := slices.Clone(y.Grad)
			tape.Backward()

			values := map[*Tensor][]float64{}
			for _, p := range append(params, x) {
				for _, v := range p.Data {
					values[p] = append(values[p], float64(v))
				}
			}
			var chosen []int32
			plain := func() (all []float64, sum float64) {
				chosen = chosen[:0]
				for i := range c.tokens {
					row, experts := block.plain(values[x][i*width:(i+1)*width], values)
					all, chosen = append(all, row...), append(chosen, experts...)
				}
				for i, v := range all {
					sum += v * float64(coefficients[i])
				}
				return all, sum
			}
			want, _ := plain()
			expectClose(t, "result", y.Data, want)
			was := slices.Clone(chosen)
			for k, p := range append(params, x) {
				gradient := make([]float64, len(p.Data))
				for i := range gradient {
					const h = 1e-5
					v := values[p][i]
					values[p][i] = v + h
					_, above := plain()
					values[p][i] = v - h
					_, below := plain()
					values[p][i], gradient[i] = v, (above-below)/(2*h)
				}
				expectClose(t, fmt.Sprintf("gradient of tensor %d", k), p.Grad, gradient)
			}
			if !slices.Equal(was, chosen) {
				t.Fatal("the choices moved")
			}
		})
	}
}

// expectClose wants differences of at most a few millionths of the largest number.
func expectClose(t *testing.T, name string, got []float32, want []float64) {
	t.Helper()
	size := 1e-3
	for _, v := range want {
		size = max(size, math.Abs(v))
	}
	for i, v := range want {
		if d := math.Abs(float64(got[i]) - v); !(d < 5e-6*size) {
			t.Errorf("%s: number %d is %g, want %g", name, i, got[i], v)
			return
		}
	}
}

// TestExpertThreads wants the same bits from any number of threads, and from a checkpoint that is kept or not.
func TestExpertThreads(t *testing.T) {
	defer kernels.SetThreads(0)
	var first []float32
	for _, threads := range []int{1, 2, 3} {
		for _, keep := range []bool{false, true} {
			kernels.SetThreads(threads)
			block, params := newExpertBlock(Router{Gating: GateSoftmax, Used: 3, AuxLoss: 0.1}, 16, 128, 96, 4)
			x := randomParams([][2]int{{300, 128}}, 5)[0]
			tape := NewTape()
			tape.Keep(keep)
			in := leaf(tape, x)
			for range 2 {
				in = tape.Checkpoint(in, func(x *Tensor) *Tensor { return tape.Add(x, block.run(tape, x)) })
			}
			weigh(tape, in)
			result := slices.Clone(in.Data)
			tape.Backward()
			result = append(result, x.Grad...)
			for _, p := range params {
				result = append(result, p.Grad...)
			}
			if first == nil {
				first = result
			}
			if !slices.Equal(first, result) {
				t.Errorf("%d threads, keep %v: other bits", threads, keep)
			}
		}
	}
}

// TestExpertStepAllocatesNothing wants a step like the one before to find all memory that it needs, also where other
// experts have rows.
func TestExpertStepAllocatesNothing(t *testing.T) {
	defer kernels.SetThreads(0)
	r := Router{Gating: GateSigmoid, Used: 2, Norm: true, Groups: 4, GroupsUsed: 2, Bias: make([]float32, 8), AuxLoss: 1}
	block, _ := newExpertBlock(r, 8, 32, 32, 4)
	x := randomParams([][2]int{{100, 32}}, 5)[0]
	head, targets := kernels.Weights(dense(32, 32, 1)), make([]int32, 100)
	for _, threads := range []int{1, 3} {
		kernels.SetThreads(threads)
		tape := NewTape()
		graph := func(x *Tensor) *Tensor { return tape.Add(x, block.run(tape, x)) }
		step := func() {
			tape.Reset(1)
			tape.CrossEntropy(tape.Checkpoint(tape.Checkpoint(x, graph), graph), head, nil, targets, 1, Logits{})
			tape.Backward()
		}
		if n := alloctest.Steady(10, step); n > 0 {
			t.Errorf("%d threads: a step allocates %g times", threads, n)
		}
	}
}

// TestExpertsInBytes wants products of bytes to be near those of floats, whatever the number of rows.
func TestExpertsInBytes(t *testing.T) {
	const width, ffn, most = 256, 128, 70
	gradients := func(p kernels.Precision, tokens int) [][]float32 {
		block, _ := newExpertBlock(Router{Gating: GateSoftmax, Used: 2}, 2, width, ffn, 4)
		for e, w := range block.gate { // as bytes only go into products with weights that are not dense
			block.gate[e], block.up[e], block.down[e] = other{w}, other{block.up[e]}, other{block.down[e]}
		}
		rng := rand.New(rand.NewPCG(5, 6))
		data := make([]float32, tokens*width)
		for i := range data {
			data[i] = float32(rng.NormFloat64())
		}
		x := NewParam(tokens, width, data, make([]float32, len(data)))
		tape := NewTape()
		tape.Precision(p)
		y := block.run(tape, leaf(tape, x))
		weigh(tape, y)
		tape.Backward()
		return [][]float32{y.Data, x.Grad, block.low[0][0].A.Grad, block.low[0][2].B.Grad}
	}
	for tokens := 1; tokens <= most; tokens += 3 {
		exact := gradients(kernels.F32, tokens)
		for i, x := range gradients(kernels.Int8, tokens) {
			if d := largest(x, exact[i]); !(d < 0.05) {
				t.Errorf("%d tokens: result %d is off by %v", tokens, i, d)
			}
		}
	}
}

// other hides what weights are.
type other struct{ kernels.Weights }
