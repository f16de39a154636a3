package virtual

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/quant"
)

// ScoreTensor is PEFT's name of a classifier, (labels, D), over the last token.
const ScoreTensor = "base_model.score.weight"

// classifier is a head that takes the place of the base's: its targets are classes.
type classifier struct {
	weight *autograd.Tensor
	grad   *autograd.Tensor // nil unless training
	matrix quant.Matrix
}

func newClassifier(values, grads []attach.Param, i int) *classifier {
	c := &classifier{weight: attach.Leaf(values, grads, i)}
	c.matrix = quant.Matrix{Type: gguf.F32, Rows: c.weight.Rows, Cols: c.weight.Cols}
	if grads != nil {
		c.grad = c.weight
	}
	return c
}

// stepped takes over new values.
func (at *prefixAttachment) stepped(int, int) {
	if c := at.classifier; c != nil {
		c.matrix.Data = floats.LittleEndian(c.weight.Data)
	}
}

// Head is the classifier in the place of the base's head.
func (at *prefixAttachment) Head(_ *autograd.Tape, _ *autograd.Tensor, head model.Head) model.Head {
	if c := at.classifier; c != nil {
		head.W, head.Grad = &c.matrix, c.grad
	}
	return head
}
