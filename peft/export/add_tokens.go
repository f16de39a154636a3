package export

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/quant"
)

// AddTokens writes a base with more tokens at the end of its vocabulary, for method.LoRA.TokenIDs to be trained:
// markers of turns, tools, languages. Texts have them as one token then. The rows of a new token in the embedding table
// and the output head are the means of those of the tokens that its text was read as before; all other bytes are the
// base's. Errors: a base that is not GGUF or has no tokenizer, a text that is a token already, or empty, or given
// twice.
func AddTokens(b *peft.Base, tokens []string, path string) (err error) {
	defer mapped.Guard(&err)()
	if err := addTokens(handle.Base(b), tokens, path); err != nil {
		return fmt.Errorf("add tokens: %w", err)
	}
	return nil
}

func addTokens(b *attach.Base, tokens []string, path string) error {
	switch {
	case len(tokens) == 0:
		return errors.New("none is given")
	case b.GGUF == nil:
		return fmt.Errorf("%s is not a GGUF file", b.Path)
	case b.Tokenizer == nil:
		return fmt.Errorf("%s has no tokenizer", b.Path)
	case attach.SameFile(path, b.Path):
		return errors.New("the result would replace its base: choose another name")
	}
	pieces := make([][]int32, len(tokens))
	for i, token := range tokens {
		pieces[i] = b.Tokenizer.Encode(token, true)
		switch _, there := b.Tokenizer.ID(token); {
		case there:
			return fmt.Errorf("%q is a token of %s already", token, b.Path)
		case slices.Contains(tokens[:i], token):
			return fmt.Errorf("%q is given twice", token)
		case len(pieces[i]) == 0:
			return fmt.Errorf("%q is no text", token)
		}
	}
	f := &modelFile{meta: b.GGUF.Meta.Clone()}
	if err := f.addTokens(b, tokens); err != nil {
		return err
	}
	ends := map[string]*model.Linear{}
	for _, l := range b.Model.Ends() {
		ends[l.Tensor] = l
	}
	for _, t := range b.GGUF.Tensors {
		if l := ends[t.Name]; l != nil {
			f.tensors = append(f.tensors, wider(t, meanRows(l.W, pieces)))
		} else {
			f.tensors = append(f.tensors, copied(t))
		}
	}
	return atomicfile.Write(path, func(w io.Writer) error {
		out := bufio.NewWriterSize(w, 1<<20)
		if err := f.writeTo(out); err != nil {
			return err
		}
		return out.Flush()
	})
}

// meanRows has for each list the mean of these rows of a matrix.
func meanRows(w quant.Matrix, lists [][]int32) []float32 {
	means := make([]float32, len(lists)*w.Cols)
	row := make([]float32, w.Cols)
	for i, rows := range lists {
		mean := means[i*w.Cols : (i+1)*w.Cols]
		for _, r := range rows {
			w.Row(row, int(r))
			kernels.Axpy(1/float32(len(rows)), row, mean)
		}
	}
	return means
}
