package autograd

import (
	"math"
	"slices"

	"github.com/peftconv/peftconv/kernels"
)

// Gating is the function that makes a router's probabilities of its logits, by the number that GGUF gives it.
type Gating int

// The gating functions.
const (
	GateSoftmax         Gating = iota + 1 // over all experts
	GateSigmoid                           // of each expert
	GateSoftmaxOfChosen                   // the logits choose, and the weights are a softmax over the chosen
	GateSqrtSoftplus                      // sqrt(log(1+exp(l))) of each expert
)

// MaxExperts is the most experts that Route can choose from, as in llama.cpp.
const MaxExperts = 1024

// normFloor is the least sum by which the weights of a token are divided, as in llama.cpp.
const normFloor = 6.103515625e-5

// Router says how the experts of a token are chosen and weighed, as llama.cpp's mixture of experts does.
type Router struct {
	Gating     Gating
	Used       int       // experts of a token
	Bias       []float32 // (E) added to the probabilities where experts are chosen, not to their weights; nil: none
	Groups     int       // equal groups of neighbouring experts, of which GroupsUsed may be chosen from; 0, 1: no groups
	GroupsUsed int
	Norm       bool      // the weights of a token are divided by their sum
	Scale      float32   // of the weights; 0 and 1: none
	Scales     []float32 // (E) of the weights of each expert, after all else; nil: none
	// AuxLoss times Routing.Balance is added to the loss that is trained: the model's coefficient over the number of
	// layers that route, times the scale of the batch's loss. 0: none.
	AuxLoss float32
}

// Routing says which experts (E of them) compute which of T tokens. It lives as long as the tape's tensors.
type Routing struct {
	Weights *Tensor // (T, Used) of the chosen experts, the best first
	Chosen  []int32 // (T·Used) those experts
	// Offsets is where the rows of each expert begin and end (E+1) if all experts' rows are put end to end, and Rows the
	// token of each (T·Used), ascending within an expert.
	Offsets, Rows []int32
	place         []int32 // (T·Used) index in Rows of what Chosen has
	// Balance is E·Σ_e f_e·P_e, f being the share of the tokens that an expert computes and P the mean of its softmax
	// probability: Used if all experts are equal. Where Router.AuxLoss is 0 it is not computed.
	//
	// That is the loss of Switch (Fedus et al. 2021) as transformers' load_balancing_loss_func has it, of one layer.
	// transformers takes f and P over the tokens of all layers put together, so that what one layer has too much of
	// another may lack. The mean over layers of Balance wants each layer balanced, and usually is the larger number.
	// Under a checkpoint that is not kept, backward routes a second time: Balance is the same again.
	Balance float64
}

// Experts is E.
func (r *Routing) Experts() int { return len(r.Offsets) - 1 }

// Tokens are the tokens of an expert, ascending.
func (r *Routing) Tokens(expert int) []int32 { return r.Rows[r.Offsets[expert]:r.Offsets[expert+1]] }

// row is the row of an expert's matrices that belongs to choice k of all T·Used.
func (r *Routing) row(k int) (expert, row int) {
	e := r.Chosen[k]
	return int(e), int(r.place[k] - r.Offsets[e])
}

// sort makes Offsets, Rows and place of Chosen, by counting.
func (r *Routing) sort(used int) {
	clear(r.Offsets)
	for _, e := range r.Chosen {
		r.Offsets[e+1]++
	}
	for e := 1; e < len(r.Offsets); e++ {
		r.Offsets[e] += r.Offsets[e-1]
	}
	for k, e := range r.Chosen { // moves the beginning of each expert to its end
		at := r.Offsets[e]
		r.place[k], r.Rows[at] = at, int32(k/used)
		r.Offsets[e]++
	}
	copy(r.Offsets[1:], r.Offsets)
	r.Offsets[0] = 0
}

// routeOp is the choice of experts from logits.
type routeOp struct {
	Router
	logits  *Tensor
	routing *Routing
	gating  softmaxes // of the weights' softmax
	sum     []float32 // (T) what Norm divides by
	all     softmaxes // of Balance
	share   []float32 // (E) f of Balance
	balance []float32 // (T) Σ_e f_e·p_e
	fresh   bool      // the gradient of logits is new
}

// softmaxes are what remains of a softmax for each of T rows.
type softmaxes struct{ top, inverse []float32 } // the largest number, and one over the sum of exp(x-top)

func (t *Tape) softmaxes(rows int) softmaxes {
	return softmaxes{t.arena.alloc(rows), t.arena.alloc(rows)}
}

// set replaces x by its softmax, which is that of row i.
func (s softmaxes) set(x []float32, i int) {
	s.top[i] = kernels.Max(x)
	s.inverse[i] = 1 / kernels.ExpSum(x, s.top[i])
	kernels.Scale(s.inverse[i], x)
}

// repeat sets p to the softmax that set made of x.
func (s softmaxes) repeat(p, x []float32, i int) {
	copy(p, x)
	kernels.ExpSum(p, s.top[i])
	kernels.Scale(s.inverse[i], p)
}

// Route chooses the experts of each token from its logits (T, E): the ones of the greatest probability plus bias, the
// lower number first where two are equal, within the best groups (a group's score is the sum of its two greatest). The
// gradient of the weights goes to the logits; the choice is a constant.
func (t *Tape) Route(logits *Tensor, r Router) *Routing {
	r.check(logits.Cols)
	tokens, experts, n := logits.Rows, logits.Cols, logits.Rows*r.Used
	rt := t.routings.next()
	*rt = Routing{Weights: t.Tensor(tokens, r.Used), Chosen: t.arena.ints(n), Offsets: t.arena.ints(experts + 1),
		Rows: t.arena.ints(n), place: t.arena.ints(n)}
	op := t.pools.route.take()
	*op = routeOp{Router: r, logits: logits, routing: rt}
	if r.Gating == GateSoftmax || r.Gating == GateSoftmaxOfChosen {
		op.gating = t.softmaxes(tokens)
	}
	if r.Norm {
		op.sum = t.arena.alloc(tokens)
	}
	t.rows(tokens, routeWork*experts, op)
	rt.sort(r.Used)
	if r.AuxLoss != 0 {
		op.measureBalance(t)
	}
	t.lap(PartElementwise)
	rt.Weights.needs = logits.needs
	t.keep(op, logits.needs)
	return rt
}

// routeWork is about what a logit takes, in additions of a number.
const routeWork = 8

// check panics where the router does not fit that many experts.
func (r *Router) check(experts int) {
	switch {
	case experts > MaxExperts:
		panic("autograd: Route: too many experts")
	case r.Used < 1 || r.Used > experts:
		panic("autograd: Route: a token cannot use that many experts")
	case r.Bias != nil && len(r.Bias) != experts || r.Scales != nil && len(r.Scales) != experts:
		panic("autograd: Route: bias or scales and experts differ")
	case r.Gating < GateSoftmax || r.Gating > GateSqrtSoftplus:
		panic("autograd: Route: unknown gating")
	case r.Groups > 1 && (experts%r.Groups != 0 || r.GroupsUsed < 1 || r.GroupsUsed*(experts/r.Groups) < r.Used):
		panic("autograd: Route: groups do not fit the experts")
	}
}

// rows chooses and weighs the experts of tokens.
func (op *routeOp) rows(from, to int) {
	var buffer [2 * MaxExperts]float32
	experts := op.logits.Cols
	p, score := buffer[:experts], buffer[MaxExperts:][:experts]
	for i := from; i < to; i++ {
		op.probabilities(p, i)
		copy(score, p)
		if op.Bias != nil {
			kernels.Add(score, op.Bias)
		}
		if op.Groups > 1 {
			op.dropGroups(score)
		}
		best(op.chosen(i), score)
		op.weigh(i, p)
	}
}

// chosen are the experts of a token.
func (op *routeOp) chosen(i int) []int32 { return op.routing.Chosen[i*op.Used : (i+1)*op.Used] }

// probabilities sets p (E) to the gating function of a token's logits.
func (op *routeOp) probabilities(p []float32, i int) {
	copy(p, op.logits.Row(i))
	switch op.Gating {
	case GateSoftmax:
		op.gating.set(p, i)
	case GateSigmoid:
		kernels.Scale(-1, p)
		kernels.ExpSum(p, 0)
		for e, v := range p {
			p[e] = 1 / (1 + v)
		}
	case GateSqrtSoftplus:
		for e, v := range p {
			p[e] = float32(math.Sqrt(softplus(float64(v))))
		}
	}
}

// softplus is log(1+exp(x)).
func softplus(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

// dropGroups sets the scores of all but the best groups to -Inf.
func (op *routeOp) dropGroups(score []float32) {
	var sums [MaxExperts]float32
	var kept [MaxExperts]int32
	size := len(score) / op.Groups
	for g := range op.Groups {
		first, second := float32(math.Inf(-1)), float32(0)
		for i, v := range score[g*size : (g+1)*size] {
			switch {
			case v > first && i > 0:
				first, second = v, first
			case v > first:
				first = v
			case i == 1 || v > second:
				second = v
			}
		}
		sums[g] = first + second
	}
	best(kept[:op.GroupsUsed], sums[:op.Groups])
	for g := range op.Groups {
		for i := g * size; i < (g+1)*size && !slices.Contains(kept[:op.GroupsUsed], int32(g)); i++ {
			score[i] = float32(math.Inf(-1))
		}
	}
}

// best sets index to where the greatest scores are, in descending order; of equal ones the first come first.
func best(index []int32, score []float32) {
	n := 0
	for i, v := range score {
		if n == len(index) && !(v > score[index[n-1]]) {
			continue
		}
		n = min(n+1, len(index))
		at := n - 1
		for ; at > 0 && v > score[index[at-1]]; at-- {
			index[at] = index[at-1]
		}
		index[at] = int32(i)
	}
}

// weigh sets the weights of a token's experts from all probabilities.
func (op *routeOp) weigh(i int, p []float32) {
	w, chosen := op.routing.Weights.Row(i), op.chosen(i)
	for j, e := range chosen {
		w[j] = p[e]
	}
	switch {
	case op.Gating == GateSoftmaxOfChosen:
		op.gating.set(w, i)
	case op.Norm:
		var sum float32
		for _, v := range w {
			sum += v
		}
		op.sum[i] = max(sum, normFloor)
		for j := range w {
			w[j] /= op.sum[i]
		}
	}
	for j, e := range chosen {
		w[j] *= op.scale(e)
	}
}

// scale is the factor of an expert's weights.
func (r *Router) scale(expert int32) float32 {
	s := float32(1)
	if r.Scale != 0 {
		s = r.Scale
	}
	if r.Scales != nil {
		s *= r.Scales[expert]
	}
	return s
}

// measureBalance computes Balance and what its gradient needs.
func (op *routeOp) measureBalance(t *Tape) {
	rt, tokens := op.routing, op.logits.Rows
	op.all, op.share, op.balance = t.softmaxes(tokens), t.arena.alloc(rt.Experts()), t.arena.alloc(tokens)
	for e := range op.share {
		op.share[e] = float32(len(rt.Tokens(e))) / float32(tokens)
	}
	t.rows(tokens, routeWork*rt.Experts(), (*routeBalance)(op))
	for _, v := range op.balance {
		rt.Balance += float64(v)
	}
	rt.Balance *= float64(rt.Experts()) / float64(tokens)
}

// routeBalance sums up the softmax probabilities of each token by the shares of the experts.
type routeBalance routeOp

func (op *routeBalance) rows(from, to int) {
	var buffer [MaxExperts]float32
	p := buffer[:op.logits.Cols]
	for i := from; i < to; i++ {
		copy(p, op.logits.Row(i))
		op.all.set(p, i)
		op.balance[i] = kernels.Dot(p, op.share)
	}
}

func (op *routeOp) backward(t *Tape) {
	if op.routing.Weights.Grad == nil && op.AuxLoss == 0 {
		return
	}
	op.fresh = t.startGrad(op.logits)
	t.rows(op.logits.Rows, routeWork*op.logits.Cols, (*routeBackward)(op))
}

// routeBackward adds the gradients of logits.
type routeBackward routeOp

func (op *routeBackward) rows(from, to int) {
	var buffer [MaxExperts]float32
	p := buffer[:op.logits.Cols]
	r := (*routeOp)(op)
	for i := from; i < to; i++ {
		dl := freshRow(op.logits, i, op.fresh)
		if op.routing.Weights.Grad != nil {
			r.addWeightGrad(dl, i, p)
		}
		if op.AuxLoss != 0 {
			r.addBalanceGrad(dl, i, p)
		}
	}
}

// addWeightGrad adds what comes through the weights of token i. It overwrites their gradient; p is for E numbers.
func (op *routeOp) addWeightGrad(dl []float32, i int, p []float32) {
	chosen, l, dp := op.chosen(i), op.logits.Row(i), op.routing.Weights.gradRow(i)
	for j, e := range chosen {
		dp[j] *= op.scale(e)
	}
	if op.Norm && op.Gating != GateSoftmaxOfChosen {
		op.backNorm(dp, i)
	}
	var mean float64 // Σ_S p·dp
	for j, e := range chosen {
		value, slope := op.gate(l[e], i)
		mean += value * float64(dp[j])
		dl[e] += float32(slope * float64(dp[j]))
	}
	switch {
	case op.Gating == GateSoftmaxOfChosen:
		for _, e := range chosen {
			value, _ := op.gate(l[e], i)
			dl[e] -= float32(mean * value)
		}
	case op.Gating == GateSoftmax && !op.relative(i): // else mean is 0
		op.gating.repeat(p, l, i)
		kernels.Axpy(-float32(mean), p, dl)
	}
}

// gate is the probability of a logit of token i and its derivative; of a softmax without that of its sum.
func (op *routeOp) gate(logit float32, i int) (p, slope float64) {
	x := float64(logit)
	sigmoid := 1 / (1 + math.Exp(-x))
	switch op.Gating {
	case GateSigmoid:
		return sigmoid, sigmoid * (1 - sigmoid)
	case GateSqrtSoftplus:
		p = math.Sqrt(softplus(x))
		if p == 0 {
			return 0, 0
		}
		return p, sigmoid / (2 * p)
	}
	p = math.Exp(x-float64(op.gating.top[i])) * float64(op.gating.inverse[i])
	return p, p
}

// relative says whether the weights of token i are divided by their sum: it was not too small.
func (op *routeOp) relative(i int) bool { return op.Norm && op.sum[i] > normFloor }

// backNorm goes back through the division by the sum: dp = (dw - Σ w·dw)/sum.
func (op *routeOp) backNorm(dw []float32, i int) {
	l, sum := op.logits.Row(i), float64(op.sum[i])
	var mean float64
	if op.relative(i) {
		for j, e := range op.chosen(i) {
			p, _ := op.gate(l[e], i)
			mean += p / sum * float64(dw[j])
		}
	}
	for j := range dw {
		dw[j] = float32((float64(dw[j]) - mean) / sum)
	}
}

// addBalanceGrad adds the gradient of AuxLoss·Balance: dl_e += AuxLoss·E/T·p_e·(f_e - Σ f·p).
func (op *routeOp) addBalanceGrad(dl []float32, i int, p []float32) {
	op.all.repeat(p, op.logits.Row(i), i)
	c := op.AuxLoss * float32(len(p)) / float32(op.logits.Rows)
	for e, v := range p {
		dl[e] += c * v * (op.share[e] - op.balance[i])
	}
}

// gatherOp is y = some rows of x.
type gatherOp struct {
	x, y   *Tensor
	tokens []int32 // (n) row of x, ascending
}

// Gather is y (n, D): the rows of x (T, D) that an expert computes, of which there may be none.
func (t *Tape) Gather(x *Tensor, rt *Routing, expert int) *Tensor {
	if x.Rows != rt.Weights.Rows {
		panic("autograd: Gather: rows of x and tokens differ")
	}
	op := t.pools.gather.take()
	*op = gatherOp{x: x, tokens: rt.Tokens(expert)}
	y := t.Tensor(len(op.tokens), x.Cols)
	op.y = y
	t.rows(y.Rows, y.Cols, op)
	t.lap(PartElementwise)
	y.needs = x.needs
	t.keep(op, y.needs)
	return y
}

func (op *gatherOp) rows(from, to int) {
	for i := from; i < to; i++ {
		copy(op.y.Row(i), op.x.Row(int(op.tokens[i])))
	}
}

func (op *gatherOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	t.grad(op.x)
	t.rows(op.y.Rows, op.y.Cols, (*gatherBackward)(op))
}

// gatherBackward adds rows of gradients. No two are the same row of x.
type gatherBackward gatherOp

func (op *gatherBackward) rows(from, to int) {
	for i := from; i < to; i++ {
		kernels.Add(op.x.gradRow(int(op.tokens[i])), op.y.gradRow(i))
	}
}

// combineOp is y = Σ weight·output of each token's experts.
type combineOp struct {
	routing *Routing
	outputs []*Tensor
	fresh   []bool // the gradient of an output is new
	y       *Tensor
	first   bool // the gradient of the weights is new
}

// Combine is y (T, D): for each token the sum of what its experts computed, times their weights, the best expert
// first. outputs has for each expert the results (n, D) for the rows that Gather gives it; those of an expert without
// rows may be nil. Gradients reach the outputs and the weights.
func (t *Tape) Combine(rt *Routing, outputs []*Tensor) *Tensor {
	var some *Tensor
	needs := rt.Weights.needs
	if len(outputs) != rt.Experts() {
		panic("autograd: Combine: outputs and experts differ")
	}
	for e, x := range outputs {
		switch n := len(rt.Tokens(e)); {
		case n == 0:
			continue
		case x == nil || x.Rows != n || some != nil && x.Cols != some.Cols:
			panic("autograd: Combine: an output does not fit")
		}
		some, needs = x, needs || x.needs
	}
	if some == nil {
		panic("autograd: Combine: there are no tokens")
	}
	y := t.Tensor(rt.Weights.Rows, some.Cols)
	op := t.pools.combine.take()
	*op = combineOp{routing: rt, outputs: append(op.outputs[:0], outputs...), fresh: op.fresh[:0], y: y}
	t.rows(y.Rows, rt.Weights.Cols*y.Cols, op)
	t.lap(PartElementwise)
	y.needs = needs
	t.keep(op, needs)
	return y
}

func (op *combineOp) rows(from, to int) {
	used := op.routing.Weights.Cols
	for i := from; i < to; i++ {
		y := op.y.Row(i)
		clear(y)
		for j, w := range op.routing.Weights.Row(i) {
			e, row := op.routing.row(i*used + j)
			kernels.Axpy(w, op.outputs[e].Row(row), y)
		}
	}
}

func (op *combineOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	for e, x := range op.outputs {
		fresh := false
		if len(op.routing.Tokens(e)) > 0 && x.needs {
			fresh = t.startGrad(x)
		}
		op.fresh = append(op.fresh, fresh)
	}
	if op.routing.Weights.needs {
		op.first = t.startGrad(op.routing.Weights)
	}
	t.rows(op.y.Rows, 2*op.routing.Weights.Cols*op.y.Cols, (*combineBackward)(op))
}

// combineBackward passes the gradients of tokens on: to rows of outputs that are no other token's, and to its weights.
type combineBackward combineOp

func (op *combineBackward) rows(from, to int) {
	weights := op.routing.Weights
	for i := from; i < to; i++ {
		dy := op.y.gradRow(i)
		for j, w := range weights.Row(i) {
			e, row := op.routing.row(i*weights.Cols + j)
			x := op.outputs[e]
			if weights.needs {
				addTo(&weights.gradRow(i)[j], kernels.Dot(dy, x.Row(row)), op.first)
			}
			if x.needs {
				kernels.Axpy(w, dy, freshRow(x, row, op.fresh[e]))
			}
		}
	}
}

// addTo is dst += x, or dst = x for a new dst.
func addTo(dst *float32, x float32, fresh bool) {
	if fresh {
		*dst = x
		return
	}
	*dst += x
}
