package autograd

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/alloctest"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/kernels"
)

// graph is a differentiable function of parameters with one result.
type graph struct {
	name   string
	params [][2]int // shapes
	build  func(t *Tape, p []*Tensor) *Tensor
}

// weigh seeds the gradient of Σ y·c for fixed pseudo-random c and gives that sum.
func weigh(t *Tape, y *Tensor) float64 {
	rng := rand.New(rand.NewPCG(3, 4))
	c := make([]float32, len(y.Data))
	sum := 0.0
	for i := range c {
		c[i] = float32(rng.NormFloat64())
		sum += float64(c[i]) * float64(y.Data[i])
	}
	copy(t.grad(y), c)
	return sum
}

func randomParams(shapes [][2]int, seed uint64) []*Tensor {
	rng := rand.New(rand.NewPCG(seed, 1))
	var params []*Tensor
	for _, s := range shapes {
		data := make([]float32, s[0]*s[1])
		for i := range data {
			data[i] = float32(rng.NormFloat64())
		}
		params = append(params, NewParam(s[0], s[1], data, make([]float32, len(data))))
	}
	return params
}

// leaf makes a tensor of the tape that copies a parameter, so that in-place operations leave the parameter alone.
func leaf(t *Tape, p *Tensor) *Tensor {
	return t.Add(p, NewConst(p.Rows, p.Cols, make([]float32, len(p.Data))))
}

func dense(rows, cols int, seed uint64) kernels.Dense {
	rng := rand.New(rand.NewPCG(seed, 2))
	w := kernels.Dense{Rows: rows, Cols: cols, Data: make([]float32, rows*cols)}
	for i := range w.Data {
		w.Data[i] = float32(rng.NormFloat64())
	}
	return w
}

var (
	testBounds = []int32{0, 3, 4, 9}
	testPos    = []int32{0, 1, 2, 0, 0, 1, 2, 3, 4}
)

var graphs = []graph{
	{"Linear", [][2]int{{5, 8}}, func(t *Tape, p []*Tensor) *Tensor { return t.Linear(p[0], dense(6, 8, 7)) }},
	{"Linear twice", [][2]int{{5, 8}}, func(t *Tape, p []*Tensor) *Tensor {
		x := leaf(t, p[0])
		return t.Add(t.Linear(x, dense(6, 8, 7)), t.Linear(x, dense(6, 8, 8)))
	}},
	{"TapWeight", [][2]int{{5, 8}, {6, 8}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.TapWeight(t.Linear(p[0], kernels.Dense{Rows: 6, Cols: 8, Data: p[1].Data}), p[0], p[1])
	}},
	{"AddBias", [][2]int{{5, 8}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.AddBias(t.Linear(p[0], dense(2, 8, 7)), []float32{1, 2})
	}},
	{"LoRA", [][2]int{{5, 8}, {3, 8}, {6, 3}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.LoRA(t.Linear(p[0], dense(6, 8, 7)), p[0], p[1], p[2], 0.7, 0)
	}},
	{"LoRA with dropout", [][2]int{{5, 8}, {3, 8}, {6, 3}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.LoRA(t.Linear(p[0], dense(6, 8, 7)), p[0], p[1], p[2], 0.7, 0.5)
	}},
	{"RMSNorm", [][2]int{{5, 70}, {1, 70}}, func(t *Tape, p []*Tensor) *Tensor { return t.RMSNorm(p[0], p[1], 1e-5) }},
	{"SwiGLU", [][2]int{{5, 19}, {5, 19}}, func(t *Tape, p []*Tensor) *Tensor { return t.SwiGLU(p[0], p[1]) }},
	{"Add", [][2]int{{5, 8}, {5, 8}}, func(t *Tape, p []*Tensor) *Tensor { return t.Add(t.Add(p[0], p[1]), p[0]) }},
	{"Rope neighbours", [][2]int{{9, 16}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.Rope(leaf(t, p[0]), testPos, 8, NewRopeTable(Rope{Dim: 6, Base: 100, Scale: 1}))
	}},
	{"Rope halves", [][2]int{{9, 16}}, func(t *Tape, p []*Tensor) *Tensor {
		table := NewRopeTable(Rope{Dim: 8, Base: 100, Scale: 0.5, Factors: []float32{1, 2, 1, 1}, Neox: true})
		return t.Rope(leaf(t, p[0]), testPos, 8, table)
	}},
	{"Attention", [][2]int{{9, 16}, {9, 8}, {9, 8}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.Attention(p[0], p[1], p[2], testBounds, Heads{Queries: 4, Keys: 2, Dim: 4, Scale: 0.5})
	}},
	{"Attention over two blocks", [][2]int{{100, 4}, {100, 2}, {100, 2}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.Attention(p[0], p[1], p[2], []int32{0, 100}, Heads{Queries: 2, Keys: 1, Dim: 2, Scale: 0.5})
	}},
	{"Embedding", [][2]int{{6, 4}}, func(t *Tape, p []*Tensor) *Tensor {
		ids := []int32{2, 5, 2}
		return t.TapEmbedding(t.Embedding(ids, kernels.Dense{Rows: 6, Cols: 4, Data: p[0].Data}), ids, p[0])
	}},
	{"Checkpoint", [][2]int{{5, 8}, {3, 8}, {8, 3}}, func(t *Tape, p []*Tensor) *Tensor {
		x := leaf(t, p[0])
		for seed := range uint64(3) {
			x = t.Checkpoint(x, func(x *Tensor) *Tensor {
				return t.Add(x, t.LoRA(t.Linear(x, dense(8, 8, seed)), x, p[1], p[2], 0.1, 0.25))
			})
		}
		return x
	}},
}

// run computes the sum of a graph and, when asked, the gradients of its parameters.
func run(g graph, t *Tape, params []*Tensor, backward bool) float64 {
	t.Reset(11)
	t.Record(backward)
	y := g.build(t, params)
	sum := weigh(t, y)
	if backward {
		t.Backward()
	}
	return sum
}

// TestGradients compares every operation's backward with central differences along random directions.
func TestGradients(t *testing.T) { checkGradients(t, graphs) }

func checkGradients(t *testing.T, graphs []graph) {
	for _, g := range graphs {
		t.Run(g.name, func(t *testing.T) {
			tape, params := NewTape(), randomParams(g.params, 5)
			run(g, tape, params, true)
			for i, p := range params {
				checkDirection(t, i, p, func() float64 { return run(g, tape, params, false) })
			}
		})
	}
}

// checkDirection moves p along a random direction and compares the change of f with p.Grad.
func checkDirection(t *testing.T, i int, p *Tensor, f func() float64) {
	t.Helper()
	const step = 1e-2
	rng := rand.New(rand.NewPCG(uint64(i), 9))
	origin, direction := slices.Clone(p.Data), make([]float32, len(p.Data))
	want := 0.0
	for j := range direction {
		direction[j] = float32(rng.NormFloat64() / math.Sqrt(float64(len(direction))))
		want += float64(direction[j]) * float64(p.Grad[j])
	}
	at := func(h float32) float64 {
		for j := range p.Data {
			p.Data[j] = origin[j] + h*direction[j]
		}
		return f()
	}
	got := (8*(at(step)-at(-step)) - (at(2*step) - at(-2*step))) / (12 * step)
	copy(p.Data, origin)
	norm := 0.0
	for _, g := range p.Grad {
		norm += float64(g) * float64(g)
	}
	if norm == 0 {
		t.Errorf("parameter %d: gradient is zero everywhere", i)
	}
	if math.Abs(got-want) > 2e-3*(math.Abs(want)+math.Sqrt(norm/float64(len(p.Grad)))) {
		t.Errorf("parameter %d: slope %g along a direction, gradient says %g", i, got, want)
	}
}

// TestCrossEntropy checks values and gradients, of rows all at once and some at a time.
func TestCrossEntropy(t *testing.T) {
	defer func(n int) { logitFloats = n }(logitFloats)
	for _, vocab := range []int{7, 300, 3000} {
		logitFloats = 400 * vocab
		params := randomParams([][2]int{{1500, 4}, {vocab, 4}}, 5)
		h, w := params[0], params[1]
		if vocab < 3000 {
			h = NewParam(6, 4, h.Data[:24], h.Grad[:24])
		}
		targets := make([]int32, h.Rows)
		for i := range targets {
			targets[i] = int32(i * 31 % vocab)
		}
		targets[1], targets[4] = batch.Ignore, batch.Ignore
		tape := NewTape()
		loss := func(record bool) float64 {
			tape.Reset(0)
			tape.Record(record)
			sum := 0.0
			matrix := kernels.Dense{Rows: vocab, Cols: 4, Data: w.Data}
			for _, l := range tape.CrossEntropy(h, matrix, w, targets, 0.5, Logits{}) {
				sum += float64(l)
			}
			return 0.5 * sum
		}
		if got, want := loss(true), 0.5*plainCrossEntropy(h, w, targets); math.Abs(got-want) > 1e-5*math.Abs(want) {
			t.Errorf("vocabulary %d: loss %g, want %g", vocab, got, want)
		}
		tape.Backward()
		checkDirection(t, 0, h, func() float64 { return loss(false) })
		checkDirection(t, 1, w, func() float64 { return loss(false) })
	}
}

func plainCrossEntropy(h, w *Tensor, targets []int32) (total float64) {
	for i, target := range targets {
		if target == batch.Ignore {
			continue
		}
		sum, hit := 0.0, 0.0
		for v := range w.Rows {
			logit := 0.0
			for j, x := range h.Row(i) {
				logit += float64(x) * float64(w.Row(v)[j])
			}
			sum += math.Exp(logit)
			if v == int(target) {
				hit = logit
			}
		}
		total += math.Log(sum) - hit
	}
	return total
}

// TestCrossEntropyIsNotKept wants no memory for logits after the loss, and none for gradients on a tape that does not
// record.
func TestCrossEntropyIsNotKept(t *testing.T) {
	const vocab, rows, cols = 512, 32, 16
	p := randomParams([][2]int{{rows, cols}}, 5)
	for _, record := range []bool{true, false} {
		tape := NewTape()
		tape.Record(record)
		tape.CrossEntropy(p[0], dense(vocab, cols, 1), nil, make([]int32, rows), 1, Logits{})
		at, most := tape.arena.at, rows+2*rows*cols
		if !record {
			most = rows + rows*cols
		}
		if floats := at.chunk*chunkFloats + at.offset; floats != most {
			t.Errorf("recording %v: %d floats are held, want %d", record, floats, most)
		}
	}
}

// TestStepAllocatesNothing wants a step like the one before to find all memory that it needs.
func TestStepAllocatesNothing(t *testing.T) {
	const rows, width = 64, 32
	p := randomParams([][2]int{{rows, width}, {4, width}, {width, 4}}, 5)
	w, norm := kernels.Weights(dense(width, width, 1)), NewConst(1, width, make([]float32, width))
	heads := Heads{Queries: 4, Keys: 2, Dim: 8, Scale: 0.5}
	pos, targets, bounds := make([]int32, rows), make([]int32, rows), []int32{0, 20, rows}
	table := NewRopeTable(Rope{Dim: 8, Base: 100, Scale: 1, Neox: true})
	tape := NewTape()
	layer := func(x *Tensor) *Tensor {
		n := tape.RMSNorm(x, norm, 1e-5)
		q := tape.LoRA(tape.Linear(n, w), n, p[1], p[2], 1, 0)
		q, v := tape.Rope(q, pos, 8, table), tape.AddBias(tape.Linear(n, w), norm.Data)
		k := tape.Tensor(rows, width/2)
		clear(k.Data)
		x = tape.Add(x, tape.Attention(q, k, k, bounds, heads))
		return tape.Add(x, tape.SwiGLU(tape.Linear(x, w), v))
	}
	step := func() {
		tape.Reset(1)
		x := p[0]
		for range 3 {
			x = tape.Checkpoint(x, layer)
		}
		tape.CrossEntropy(x, w, nil, targets, 1, Logits{})
		tape.Backward()
	}
	defer kernels.SetThreads(0)
	for _, keep := range []bool{false, true} {
		for _, threads := range []int{1, 3} {
			kernels.SetThreads(threads)
			tape.Keep(keep)
			if n := alloctest.Steady(20, step); n > 0 {
				t.Errorf("keep %v, %d threads: a step allocates %g times", keep, threads, n)
			}
		}
	}
}

// TestCheckpointChangesNothing compares a graph with and without checkpoints, and with checkpoints that are kept.
func TestCheckpointChangesNothing(t *testing.T) {
	gradients := func(checkpoint, keep bool) []float32 {
		tape, p := NewTape(), randomParams([][2]int{{5, 8}, {3, 8}, {8, 3}}, 5)
		tape.Keep(keep)
		x := leaf(tape, p[0])
		for seed := range uint64(4) {
			block := func(x *Tensor) *Tensor {
				if seed == 1 {
					return x
				}
				return tape.Add(x, tape.LoRA(tape.Linear(x, dense(8, 8, seed)), x, p[1], p[2], 0.1, 0.25))
			}
			if checkpoint {
				x = tape.Checkpoint(x, block)
			} else {
				x = block(x)
			}
		}
		weigh(tape, x)
		tape.Backward()
		return slices.Concat(p[0].Grad, p[1].Grad, p[2].Grad)
	}
	plain, recomputed, kept := gradients(false, false), gradients(true, false), gradients(true, true)
	for i := range plain {
		if math.Abs(float64(plain[i]-recomputed[i])) > 1e-5*(1+math.Abs(float64(plain[i]))) {
			t.Fatalf("gradient %d is %g, with checkpoints %g", i, plain[i], recomputed[i])
		}
		if kept[i] != recomputed[i] {
			t.Fatalf("gradient %d is %g with the checkpoints kept, %g without", i, kept[i], recomputed[i])
		}
	}
}

// TestFrozenCheckpointIsNotKept wants no memory for the inside of a sub-graph that nothing trains.
func TestFrozenCheckpointIsNotKept(t *testing.T) {
	tape := NewTape()
	tape.Keep(true)
	x := tape.Tensor(64, 64)
	clear(x.Data)
	tape.Checkpoint(x, func(x *Tensor) *Tensor { return tape.Linear(x, dense(64, 64, 1)) })
	at := tape.arena.at
	if floats := at.chunk*chunkFloats + at.offset; floats != 2*64*64 || len(tape.ops) != 0 {
		t.Errorf("%d floats and %d operations are kept, want %d and none", floats, len(tape.ops), 2*64*64)
	}
}

// TestThreads wants the same bits from one thread and from several.
func TestThreads(t *testing.T) {
	defer kernels.SetThreads(0)
	for _, g := range slices.Concat(graphs, normGraphs, gateGraphs, columnGraphs, ropeGraphs) {
		var first []float32
		for _, threads := range []int{1, 2, 3} {
			kernels.SetThreads(threads)
			params := randomParams(g.params, 5)
			tape := NewTape()
			tape.Reset(11)
			y := g.build(tape, params)
			weigh(tape, y)
			result := slices.Clone(y.Data)
			tape.Backward()
			for _, p := range params {
				result = append(result, p.Grad...)
			}
			if first == nil {
				first = result
			}
			if !slices.Equal(first, result) {
				t.Errorf("%s: %d threads give other bits than 1", g.name, threads)
			}
		}
	}
}

// TestDropout wants masks that keep the share they should, repeat for a seed and change with it.
func TestDropout(t *testing.T) {
	x, y := make([]float32, 10000), make([]float32, 10000)
	for i := range x {
		x[i] = 1
	}
	kept := func(key uint64, row int, p float32) (n int) {
		dropRow(y, x, key, row, p)
		for _, v := range y {
			if v != 0 {
				n++
			}
		}
		return n
	}
	for _, p := range []float32{0.1, 0.5, 0.9} {
		if n := kept(1, 2, p); math.Abs(float64(n)/10000-float64(1-p)) > 0.02 {
			t.Errorf("dropout %g keeps %d of 10000", p, n)
		}
	}
	first, again := kept(1, 2, 0.5), kept(1, 2, 0.5)
	if first != again {
		t.Error("the same mask differs from itself")
	}
	if first == kept(2, 2, 0.5) && first == kept(1, 3, 0.5) {
		t.Error("masks do not depend on key and row")
	}
}

// TestCachedAttention compares token-by-token attention over a cache with attention over the whole sequence.
func TestCachedAttention(t *testing.T) {
	heads := Heads{Queries: 4, Keys: 2, Dim: 4, Scale: 0.5}
	p := randomParams([][2]int{{9, 16}, {9, 8}, {9, 8}}, 5)
	tape := NewTape()
	want := slices.Clone(tape.Attention(p[0], p[1], p[2], []int32{0, 9}, heads).Data)
	var got []float32
	for _, n := range []int{4, 1, 3, 1} {
		past := len(got) / 16
		q := NewConst(n, 16, p[0].Data[past*16:(past+n)*16])
		got = append(got, cachedAttention(tape, q, p[1].Data, p[2].Data, past, heads).Data...)
	}
	for i := range want {
		if math.Abs(float64(want[i]-got[i])) > 1e-5 {
			t.Fatalf("value %d is %g over the cache, %g at once", i, got[i], want[i])
		}
	}
}

// TestArena reuses memory after release and Reset, whatever the sizes.
func TestArena(t *testing.T) {
	tape := NewTape()
	for range 3 {
		tape.Reset(0)
		keep := tape.Tensor(10, 10)
		keep.Data[99] = 7
		start := tape.mark()
		for _, n := range []int{5, chunkFloats, 3, 2 * chunkFloats, 1} {
			x := tape.Tensor(1, n)
			x.Data[0], x.Data[n-1] = 1, 1
		}
		tape.release(start)
		if again := tape.Tensor(1, 4*chunkFloats); len(again.Data) != 4*chunkFloats || keep.Data[99] != 7 {
			t.Fatal("memory handed out after release is wrong")
		}
	}
	held := tape.Bytes()
	tape.Reset(0)
	tape.Tensor(10, 10)
	if tape.Bytes() != held {
		t.Errorf("a repeated step grew the tape from %d to %d bytes", held, tape.Bytes())
	}
}

// cachedAttention is AttendCached of float32 keys and values, in a tensor of the tape.
func cachedAttention(tape *Tape, q *Tensor, keys, values []float32, past int, heads Heads) *Tensor {
	y := tape.Tensor(q.Rows, heads.Queries*heads.valueDim())
	AttendCached(y.Data, q.Data, Cached{Floats: keys}, Cached{Floats: values}, past, q.Rows, heads)
	return y
}

// TestArenaOfVaryingBatches wants memory to stay what one batch takes when batches of other lengths follow.
func TestArenaOfVaryingBatches(t *testing.T) {
	var a arena
	pass := func(tokens int) {
		a.reset()
		for range 20 {
			for _, width := range []int{2048, 2048, 256, 256, 2048, 5632, 5632, 2048, 16} {
				a.alloc(tokens * width)
			}
		}
	}
	pass(512)
	first := a.bytes()
	for tokens := 300; tokens <= 512; tokens += 7 {
		pass(tokens)
	}
	if after := a.bytes(); after > first*23/20 {
		t.Errorf("an arena of %d MB has %d MB after batches of other lengths", first>>20, after>>20)
	}
	if needed := int64(20 * 512 * 19984 * 4); first > needed*4/3 {
		t.Errorf("an arena has %d MB for %d MB", first>>20, needed>>20)
	}
}
