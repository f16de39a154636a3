package eval

import (
	"context"

	"github.com/peftconv/peftconv/gguf/imatrix"
	"github.com/peftconv/peftconv/internal/calibrate"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/peft"
)

// DefaultWindow is the number of tokens of a window where the options do not say.
const DefaultWindow = 512

// ImportanceOptions says how Importance measures. The zero value takes all of the text, in windows of 512 tokens.
type ImportanceOptions struct {
	Ctx    int  // tokens of a window; 0: DefaultWindow
	Chunks int  // the most windows; 0: all of the text
	Head   bool // measure the output head, too

	// ExactActivations multiplies quantized weights with activations as they are. Otherwise activations are rounded as
	// llama.cpp's CPU backend rounds them.
	ExactActivations bool

	// Progress, which may be nil, is called after each batch of windows.
	Progress func(done, windows int)
}

// Importance measures an importance matrix: it runs a base over windows of a text, whose tokens are ids, and adds up
// the squares of the inputs of each linear map, as llama-imatrix does. BOS and windows are as for Perplexity. The
// result names no dataset.
func Importance(ctx context.Context, b *peft.Base, ids []int32, opt ImportanceOptions) (_ *imatrix.Matrix, err error) {
	defer mapped.Guard(&err)()
	base := handle.Base(b)
	o := calibrate.Options{
		Ctx: opt.Ctx, Chunks: opt.Chunks, Head: opt.Head, ExactActivations: opt.ExactActivations,
		Progress: opt.Progress,
	}
	if o.Ctx == 0 {
		o.Ctx = DefaultWindow
	}
	ids, bos, ok := withBOS(base.Tokenizer, ids)
	if ok {
		o.BOS = &bos
	}
	return calibrate.Collect(ctx, base.Model, ids, o)
}
