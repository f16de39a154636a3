package model_test

import (
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/kernels"
)

// trainer trains all weights of a model by AdamW.
type trainer struct {
	*trainAll
	model   *model.Model
	tape    *autograd.Tape
	moments map[*autograd.Tensor][2][]float32
	steps   int
}

func newTrainer(m *model.Model) *trainer {
	tr := &trainer{newTrainAll(m), m, autograd.NewTape(), map[*autograd.Tensor][2][]float32{}, 0}
	m.Embed = model.FloatMatrix(tr.embed.Rows, tr.embed.Cols, tr.embed.Data)
	m.Head = model.FloatMatrix(tr.head.Rows, tr.head.Cols, tr.head.Data)
	if m.Spec.Tied { // embeddings near 1 would be logits near √D
		kernels.Scale(float32(1/math.Sqrt(float64(m.Spec.Width))), tr.embed.Data)
		m.Head = m.Embed
	}
	return tr
}

// step is one step on a batch; it gives the mean loss before it.
func (tr *trainer) step(b *batch.Batch) float64 {
	tr.tape.Reset(0)
	tr.tape.Record(true)
	sum, n := tr.model.Loss(tr.tape, b, tr, 1/float32(b.TargetCount()))
	tr.tape.Backward()
	tr.steps++
	if tr.model.Spec.Tied {
		kernels.Add(tr.embed.Grad, tr.head.Grad)
		clear(tr.head.Grad)
	} else {
		tr.update(tr.head)
	}
	tr.update(tr.embed)
	for l, p := range tr.maps {
		tr.update(p)
		l.W = model.FloatMatrix(p.Rows, p.Cols, p.Data) // where it was a view of the file
	}
	for n, p := range tr.norms {
		tr.update(p)
		if n.B != nil {
			tr.update(n.B)
		}
	}
	return sum / float64(n)
}

// update moves a tensor, and clears its gradient.
func (tr *trainer) update(p *autograd.Tensor) {
	m, ok := tr.moments[p]
	if !ok {
		m = [2][]float32{make([]float32, len(p.Data)), make([]float32, len(p.Data))}
		tr.moments[p] = m
	}
	o := kernels.AdamW{LR: 3e-3, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8, Step: tr.steps}
	o.Update(p.Data, p.Grad, m[0], m[1])
	clear(p.Grad)
}

// grown is a case with some million weights and a vocabulary of bytes.
func grown(c archtest.Model, ffn int) archtest.Model {
	c.Vocab, c.Fields = 256, maps.Clone(c.Fields)
	c.Fields["embedding_length"] = 256
	if c.Arch == "bloom" {
		c.Fields["embedding_length"] = 384
	}
	if c.Fields["feed_forward_length"] == 0 { // there is nothing but mixers
		c.Fields["ssm.inner_size"], c.Fields["ssm.time_step_rank"] = 4*ffn, ffn/4
		return c
	}
	for key, per := range map[string]int{"feed_forward_length": 96, "expert_feed_forward_length": 192,
		"expert_shared_feed_forward_length": 96} {
		switch n := c.Fields[key].(type) {
		case int:
			c.Fields[key] = ffn * 96 / per
		case []int:
			list := make([]int, len(n))
			for i := range n {
				list[i] = min(n[i], 1) * ffn
			}
			c.Fields[key] = list
		}
	}
	return c
}

// TestPretrain trains a model of some million weights of each architecture from nothing on bytes of a text, and wants
// the loss to come well below that of a guess by how often each byte is there, or close.
func TestPretrain(t *testing.T) {
	if os.Getenv("PEFTCONV_LONG") == "" {
		t.Skip("minutes; set PEFTCONV_LONG")
	}
	text, err := os.ReadFile(testdata.Shared(t, "text/tinyshakespeare.txt"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, c := range archtest.All() {
		if seen[c.Arch] {
			continue
		}
		seen[c.Arch] = true
		t.Run(c.Arch, func(t *testing.T) {
			var m *model.Model
			for _, ffn := range []int{256, 512, 1024, 2048} {
				g := grown(c, ffn)
				m, _ = example(t, func(path string) { g.Write(t, path) })
				if m.Parameters() >= 2e6 {
					break
				}
			}
			tr, random := newTrainer(m), rand.New(rand.NewPCG(1, 2))
			const steps, last = 40, 5
			first, end := 0.0, 0.0
			for i := range steps {
				b := &batch.Batch{}
				for range 4 {
					at, ids := random.IntN(len(text)-64), make([]int32, 64)
					for j := range ids {
						ids[j] = int32(text[at+j])
					}
					b.Append(ids, nil)
				}
				loss := tr.step(b)
				if i == 0 {
					first = loss
				}
				if i >= steps-last {
					end += loss / last
				}
			}
			t.Logf("%.1f million weights: %.3f to %.3f", float64(m.Parameters())/1e6, first, end)
			if !(end < 3.4 && end < 0.75*first) || math.IsNaN(first) {
				t.Errorf("the loss went from %.3f to %.3f", first, end)
			}
			if n := m.Parameters(); n < 2e6 || n > 5e6 {
				t.Errorf("%d weights", n)
			}
		})
	}
}
