package pretrain

import (
	"bytes"
	"context"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/demo/tale"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/tokenizer"
	"github.com/peftconv/peftconv/kernels"
)

// small is a recipe that takes a second.
func small() Recipe {
	return Recipe{
		Seed: 3, Tokens: 448, VocabDocuments: 100,
		Layers: 2, Width: 64, FFN: 96, QueryHeads: 4, KeyHeads: 2, Context: 128, RopeBase: 10000, NormEps: 1e-5,
		Steps: 12, BatchTokens: 512, Warmup: 2, LR: 5e-3, MinLR: 1e-3, Beta2: 0.98, WeightDecay: 0.1, Clip: 1,
		Type: gguf.Q8_0, Exam: Exam{Seed: 5, Documents: 10, Probes: 5},
	}
}

func train(t *testing.T, r Recipe) (*Trained, []float64) {
	t.Helper()
	var losses []float64
	trained, err := Train(context.Background(), r, func(p Progress) { losses = append(losses, p.Loss) })
	if err != nil {
		t.Fatal(err)
	}
	return trained, losses
}

func TestTrainLearns(t *testing.T) {
	trained, losses := train(t, small())
	first, last := losses[0], losses[len(losses)-1]
	if want := math.Log(448); math.Abs(first-want) > 0.3 {
		t.Errorf("first loss %.3f, expected about %.3f, the logarithm of the vocabulary", first, want)
	}
	if last > first-1 {
		t.Errorf("loss fell from %.3f to %.3f only", first, last)
	}
	if trained.tokens < 10*400 || trained.documents < 20 {
		t.Errorf("trained on %d tokens of %d documents", trained.tokens, trained.documents)
	}
}

func TestTrainGivesTheSameBytesWithAnyNumberOfThreads(t *testing.T) {
	defer kernels.SetThreads(0)
	var files [][]byte
	for _, threads := range []int{1, 3} {
		kernels.SetThreads(threads)
		r := small()
		r.Steps = 4
		trained, _ := train(t, r)
		_, data, err := trained.weights.open(trained.meta, gguf.Q8_0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, data)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("one thread and three threads give different models")
	}
}

func TestTrainStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Train(ctx, small(), func(p Progress) {
		if p.Step == 3 {
			cancel()
		}
	})
	if err == nil || !strings.Contains(err.Error(), "after 3 of 12 steps") {
		t.Errorf("error %v", err)
	}
}

// The gradient that the tape collects of every kind of tensor is the slope of the loss.
func TestGradients(t *testing.T) {
	r := small()
	v, _, err := r.Vocabulary()
	if err != nil {
		t.Fatal(err)
	}
	meta, err := r.metadata(v)
	if err != nil {
		t.Fatal(err)
	}
	trained := &Trained{recipe: r, meta: meta, weights: newWeights(&r)}
	m, tok, err := trained.live()
	if err != nil {
		t.Fatal(err)
	}
	b := &batch.Batch{}
	b.Append(append([]int32{1}, tok.Encode(tale.Document(1, 0, false), false)...), nil)
	loss := func() float64 {
		tape := autograd.NewTape()
		tape.Record(false)
		sum, _ := m.Loss(tape, b, trained.weights, 1)
		return sum
	}
	tape := autograd.NewTape()
	m.Loss(tape, b, trained.weights, 1)
	tape.Backward()
	for _, w := range trained.weights.list {
		checkSlope(t, w, loss)
	}
}

// checkSlope moves a tensor along its gradient and compares the change of the loss.
func checkSlope(t *testing.T, w *weight, loss func() float64) {
	t.Helper()
	x, g := w.tensor.Data, w.tensor.Grad
	norm := math.Sqrt(kernels.SumSquares(g))
	if norm == 0 {
		t.Errorf("%s has no gradient", w.name)
		return
	}
	saved := append([]float32(nil), x...)
	const step = 5e-3
	move := func(by float64) float64 {
		for i := range x {
			x[i] = saved[i] + float32(by/norm)*g[i]
		}
		defer copy(x, saved)
		return loss()
	}
	if slope := (move(step) - move(-step)) / (2 * step); math.Abs(slope-norm) > 0.02*norm {
		t.Errorf("%s: moving along the gradient changes the loss by %.4f a unit, expected its norm %.4f", w.name, slope, norm)
	}
}

func TestFinishWritesHowItWasMade(t *testing.T) {
	r := small()
	r.Steps = 2
	trained, _ := train(t, r)
	data, marks, err := trained.Finish(gguf.Q8_0)
	if err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := model.FromGGUF(f); err != nil {
		t.Fatal(err)
	}
	if n, _ := f.Meta.Uint(KeyDocuments); n != trained.documents {
		t.Errorf("%s is %d, expected %d", KeyDocuments, n, trained.documents)
	}
	if p, _ := f.Meta.Float(KeyPerplexity); math.Abs(p-marks.Perplexity) > 1e-2 {
		t.Errorf("%s is %g, expected %g", KeyPerplexity, p, marks.Perplexity)
	}
	if got := f.Tensor("blk.1.ffn_down.weight").Type; got != gguf.Q8_0 {
		t.Errorf("a matrix has type %v", got)
	}
	if got := f.Tensor("blk.1.ffn_norm.weight").Type; got != gguf.F32 {
		t.Errorf("a norm has type %v", got)
	}
}

func TestReaderDealsEveryDocumentOnce(t *testing.T) {
	r := small()
	v, _, err := r.Vocabulary()
	if err != nil {
		t.Fatal(err)
	}
	meta, _ := r.metadata(v)
	tok, err := tokenizer.FromGGUF(meta)
	if err != nil {
		t.Fatal(err)
	}
	text, b := &reader{recipe: &r, tok: tok}, &batch.Batch{}
	next := uint64(0)
	for range 20 {
		text.fill(b)
		if b.Tokens() > r.BatchTokens || b.Tokens() < r.BatchTokens/2 {
			t.Errorf("a batch has %d tokens, expected up to %d", b.Tokens(), r.BatchTokens)
		}
		for s := range b.Sequences() {
			ids := b.IDs[b.Bounds[s]:b.Bounds[s+1]]
			got := tok.Decode(ids)
			want := tale.Document(r.Seed, next, false)
			if !strings.HasPrefix(want, got) && !strings.HasPrefix(got, want) {
				t.Fatalf("a sequence begins\n%s\nexpected document %d\n%s", got, next, want)
			}
			next += 1 + uint64(windows(got, r.Seed, next))
		}
	}
}

// windows counts the documents that a sequence holds after its first.
func windows(text string, seed, first uint64) int {
	n, whole := 0, tale.Document(seed, first, false)
	for len(whole) < len(text) {
		n++
		whole += "\n\n" + tale.Document(seed, first+uint64(n), false)
	}
	return n
}

// The recipe of the built-in model, cut short: with PEFTCONV_LONG=1 only, it takes minutes.
func TestBuiltinRecipeLearns(t *testing.T) {
	if os.Getenv("PEFTCONV_LONG") == "" {
		t.Skip("takes minutes; set PEFTCONV_LONG=1")
	}
	r := Builtin()
	r.Steps = 150
	trained, _ := train(t, r)
	marks, err := trained.examine(gguf.Q8_0)
	if err != nil {
		t.Fatal(err)
	}
	if marks.Perplexity > 4 {
		t.Errorf("held-out perplexity %.3f after %d steps, expected below 4", marks.Perplexity, r.Steps)
	}
}
