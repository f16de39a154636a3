package model

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/testdata"
)

// story is what stories260K.gguf continues "Once upon a time" with (ids of llama.cpp, greedy).
var (
	storyPrompt = []int32{1, 403, 407, 261, 378}
	story       = []int32{432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426, 338, 401, 396, 267, 337, 410, 408, 419,
		292, 411, 322, 265, 282, 295, 433, 426, 385, 328, 432, 358, 394, 261, 370, 432, 352, 266, 268, 388, 426}
)

func openStories(t *testing.T) *Model {
	t.Helper()
	f, err := gguf.Open(testdata.Shared(t, "models/stories260K.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	m, err := FromGGUF(f)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func argmax(x []float32) int32 {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return int32(best)
}

// TestStory continues a text greedily, token by token, as llama.cpp does.
func TestStory(t *testing.T) {
	s := openStories(t).NewSession(64)
	logits, err := s.Append(storyPrompt, NoHooks{})
	for i := 0; i < len(story) && err == nil; i++ {
		if got := argmax(logits); got != story[i] {
			t.Fatalf("token %d is %d, want %d", i, got, story[i])
		}
		logits, err = s.Append(story[i:i+1], NoHooks{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestSessionEqualsBatch compares the logits of a session with those of one packed forward of two sequences.
func TestSessionEqualsBatch(t *testing.T) {
	m := openStories(t)
	ids := slices.Concat(storyPrompt, story)
	var b batch.Batch
	b.Append(ids[:7], nil)
	b.Append(ids, nil)
	tape := autograd.NewTape()
	rows := []int{6, 7 + 20, 7 + len(ids) - 1}
	want := m.Logits(tape, &b, NoHooks{}, rows)
	s := m.NewSession(len(ids))
	at := 0
	for i, n := range []int{7, 21, len(ids)} {
		logits, err := s.Append(ids[at:n], NoHooks{})
		if err != nil {
			t.Fatal(err)
		}
		at = n
		for j, v := range logits {
			if math.Abs(float64(v-want.Row(i)[j])) > 1e-4 {
				t.Fatalf("row %d, logit %d: %g in a session, %g in a batch", i, j, v, want.Row(i)[j])
			}
		}
	}
	if _, err := s.Append(ids[:1], NoHooks{}); err == nil {
		t.Error("a full session took another token")
	}
	if _, err := m.NewSession(4).Append([]int32{int32(m.Spec.Vocab)}, NoHooks{}); err == nil ||
		!strings.Contains(err.Error(), "512") {
		t.Errorf("an id beyond the vocabulary gives %v", err)
	}
}

// tap trains every linear map in full: its gradient is what the test looks at.
type tap struct {
	NoHooks
	params map[string]*autograd.Tensor
}

func (h tap) Linear(t *autograd.Tape, l *Linear, x, y *autograd.Tensor) *autograd.Tensor {
	return t.TapWeight(y, x, h.params[l.Module])
}

// TestGradientOfWeights moves one weight matrix a little against its gradient and wants the loss to fall by
// what the gradient says.
func TestGradientOfWeights(t *testing.T) {
	m := tinyModel(t)
	h := tap{params: map[string]*autograd.Tensor{}}
	live := map[string][]float32{}
	for _, l := range m.Linears() {
		live[l.Module] = make([]float32, l.W.Rows*l.W.Cols)
		for r := range l.W.Rows {
			l.W.Row(live[l.Module][r*l.W.Cols:][:l.W.Cols], r)
		}
		h.params[l.Module] = autograd.NewParam(l.W.Rows, l.W.Cols, live[l.Module], make([]float32, l.W.Rows*l.W.Cols))
		l.W.Type, l.W.Data = gguf.F32, float32Bytes(live[l.Module])
	}
	var b batch.Batch
	b.Append([]int32{1, 5, 2, 8, 3, 3, 1}, nil)
	b.Append([]int32{4, 9, 7}, []bool{false, false, true})
	tape := autograd.NewTape()
	loss := func(record bool) float64 {
		tape.Reset(0)
		tape.Record(record)
		sum, n := m.Loss(tape, &b, h, 1)
		if n != 7 {
			t.Fatalf("%d targets, want 7", n)
		}
		return sum
	}
	loss(true)
	tape.Backward()
	for module, p := range h.params {
		norm := 0.0
		for _, g := range p.Grad {
			norm += float64(g) * float64(g)
		}
		at := func(step float64) float64 {
			for i, g := range p.Grad {
				live[module][i] += float32(step * float64(g) / math.Sqrt(norm))
			}
			for i, l := range m.Linears() {
				if l.Module == module {
					m.Linears()[i].W.Data = float32Bytes(live[module])
				}
			}
			return loss(false)
		}
		up := at(1e-2)
		down := at(-2e-2)
		at(1e-2)
		if slope := (up - down) / 2e-2; math.Abs(slope-math.Sqrt(norm)) > 1e-2*math.Sqrt(norm) {
			t.Errorf("%s: slope %g along the gradient, its norm is %g", module, slope, math.Sqrt(norm))
		}
	}
}

// TestLogitsOfLlamaCpp compares logits with those of llama.cpp 0.5.0 (float32 cache, weights converted to F32).
func TestLogitsOfLlamaCpp(t *testing.T) {
	ids := []int32{1, 2, 3, 40, 50, 6}
	cases := []struct {
		file        string
		first, last map[int]float32 // logits after the first and the last id
	}{
		{"quant/files/tiny-llama-f16.gguf",
			map[int]float32{386: 2.378368, 242: 2.126249, 155: 2.006218, 325: 1.880842, 215: 1.818687, 78: 1.556460},
			map[int]float32{445: 2.527201, 390: 2.285901, 325: 2.152524, 336: 1.981975, 269: 1.902175, 500: 1.890038}},
		{"quant/files/tiny-qwen2-f16.gguf",
			map[int]float32{252: 3.350994, 91: 2.128860, 48: 2.107164, 232: 1.923262, 319: 1.762565, 267: 1.680602},
			map[int]float32{252: 2.424763, 48: 2.108102, 267: 1.956390, 469: 1.635304, 219: 1.625959, 450: 1.611550}},
	}
	for _, c := range cases {
		t.Run(c.file, func(t *testing.T) {
			f, err := gguf.Open(testdata.Shared(t, c.file))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			m, err := FromGGUF(f)
			if err != nil {
				t.Fatal(err)
			}
			var b batch.Batch
			b.Append(ids, nil)
			logits := m.Logits(autograd.NewTape(), &b, NoHooks{}, []int{0, len(ids) - 1})
			for i, want := range []map[int]float32{c.first, c.last} {
				for id, v := range want {
					if got := logits.Row(i)[id]; math.Abs(float64(got-v)) > 2e-5 {
						t.Errorf("row %d, id %d: %g, want %g", i, id, got, v)
					}
				}
			}
		})
	}
}

// TestSingleLayers: layers run one by one give the stream that they give together.
func TestSingleLayers(t *testing.T) {
	m := tinyModel(t)
	var b batch.Batch
	b.Append([]int32{1, 5, 2, 8, 3, 3, 1}, nil)
	b.Append([]int32{4, 9, 7}, nil)
	tape := autograd.NewTape()
	tape.Record(false)
	want := slices.Clone(m.Hidden(tape, &b, NoHooks{}).Data)
	tape.Reset(0)
	x := m.Embedded(tape, &b, NoHooks{})
	for i := range m.Layers {
		x = m.RunLayer(tape, &b, NoHooks{}, i, x)
	}
	if got := tape.RMSNorm(x, m.Norm.W, m.Spec.NormEps).Data; !slices.Equal(got, want) {
		t.Errorf("one by one %v, together %v", got[:4], want[:4])
	}
}
