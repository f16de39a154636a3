package peft

import (
	"fmt"
	"strings"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/dataset"
	"github.com/peftconv/peftconv/internal/mapped"
)

// Base is a frozen model, mapped from its files. Everything that is made from it is valid until Close.
type Base struct{ base *attach.Base }

// OpenBase opens a model: a GGUF file, or a Hugging Face directory with config.json and safetensors, whole or sharded.
// Errors: ErrUnsupported for an architecture that is not known, ErrBadFile for a file that is damaged or no model.
func OpenBase(path string) (_ *Base, err error) {
	defer mapped.Guard(&err)()
	b, err := attach.OpenBase(path)
	if err != nil {
		return nil, ofFile(err)
	}
	return &Base{b}, nil
}

// FindBase is the path of the base that an adapter was trained over: that in its origin, else a file of the same name
// in the adapter's own directory or in the working directory, else the repository of that name in the cache of the
// Hugging Face Hub. adapterPath is what the adapter was loaded from.
func FindBase(a *Adapter, adapterPath string) (string, error) {
	return attach.FindBase(a.adapter, adapterPath)
}

// OpenRecorded opens the base that an adapter was trained over: the first that has the weights which the adapter
// records, at a path that is known from elsewhere ("": none) or in the places of FindBase. Only regular files and
// directories of such are opened. An adapter that records no weights takes the first that there is.
func OpenRecorded(a *Adapter, adapterPath, known string) (*Base, error) {
	b, err := attach.OpenRecorded(a.adapter, adapterPath, known)
	if err != nil {
		return nil, ofFile(err)
	}
	return &Base{b}, nil
}

// CheckBase reports, as ErrWrongBase, a base whose weights are not those that the adapter was trained over. An adapter
// that does not say over which it was fits any.
func CheckBase(a *Adapter, b *Base) (err error) {
	defer mapped.Guard(&err)()
	return attach.CheckBase(a.adapter, b.base)
}

// Close unmaps the files.
func (b *Base) Close() error { return b.base.Close() }

// OpenMaster opens the model that the base was quantized from, for quantization-aware adapters that start from its
// weights: a GGUF file, a safetensors file or a directory of such. It is closed with the base.
func (b *Base) OpenMaster(path string) (err error) {
	defer mapped.Guard(&err)()
	return b.base.OpenMaster(path)
}

// Path is the path that was opened.
func (b *Base) Path() string { return b.base.Path }

// IsGGUF reports whether the base is a GGUF file; otherwise it is a Hugging Face directory.
func (b *Base) IsGGUF() bool { return b.base.GGUF != nil }

// SHA256 says which weights a model has, whatever its metadata and its division into files: the SHA-256, in
// hexadecimal, of a line for each tensor, by name: the SHA-256 of its data, its type, shape (rows first) and name. The
// weights are read once.
func (b *Base) SHA256() (_ string, err error) {
	defer mapped.Guard(&err)()
	return b.base.SHA256()
}

// Architecture is the name that GGUF has for the model's architecture (general.architecture).
func (b *Base) Architecture() string { return b.base.Architecture() }

// Layers is the number of layers.
func (b *Base) Layers() int { return len(b.base.Model.Layers) }

// Width is the number of values of a token in the stream.
func (b *Base) Width() int { return b.base.Model.Spec.Width }

// VocabSize is the number of tokens of the vocabulary.
func (b *Base) VocabSize() int { return b.base.Model.Spec.Vocab }

// ContextLength is the number of tokens that the model was made for, 0 where the files do not say.
func (b *Base) ContextLength() int { return b.base.Model.Spec.Context }

// Parameters is the number of weights.
func (b *Base) Parameters() int64 { return int64(b.base.Model.Parameters()) }

// HasTokenizer reports whether the files have a tokenizer.
func (b *Base) HasTokenizer() bool { return b.base.Tokenizer != nil }

// Tokenize reads a text in the base's vocabulary. Control tokens that are written out in it count as such; no BOS is
// put in front. A base without tokenizer is an error.
func (b *Base) Tokenize(text string) (_ []int32, err error) {
	defer mapped.Guard(&err)()
	if b.base.Tokenizer == nil {
		return nil, fmt.Errorf("%s has no tokenizer", b.base.Path)
	}
	return b.base.Tokenizer.Encode(text, true), nil
}

// TokenizeFile is the tokens of a text file, plain or compressed (.gz, .zst), without BOS.
func (b *Base) TokenizeFile(path string) (_ []int32, err error) {
	defer mapped.Guard(&err)()
	return b.TokenizeData(path, DataOptions{})
}

// TokenizeData is the tokens of a text, without BOS: of a file, of those of a split of a directory, or of standard
// input ("-"). Of the options only Format, Split and Stdin count.
func (b *Base) TokenizeData(path string, opt DataOptions) (_ []int32, err error) {
	defer mapped.Guard(&err)()
	tok := b.base.Tokenizer
	if tok == nil {
		return nil, fmt.Errorf("%s has no tokenizer", b.base.Path)
	}
	ids, err := dataset.Text(path, tok, opt.split(), opt.files())
	if bos, ok := tok.BOS(); ok && tok.AddBOS() && len(ids) > 0 && ids[0] == bos {
		ids = ids[1:]
	}
	return ids, err
}

// Pieces is the text of tokens as a part of a longer text: special tokens as the vocabulary spells them, virtual tokens
// as [P]. A base without tokenizer gives the ids.
func (b *Base) Pieces(ids []int32) string {
	var text strings.Builder
	for _, id := range ids {
		switch {
		case id < 0:
			text.WriteString("[P]")
		case b.base.Tokenizer == nil:
			fmt.Fprintf(&text, "%d ", id)
		default:
			text.WriteString(b.base.Tokenizer.Piece(id))
		}
	}
	return text.String()
}

// Detokenize is the text of tokens. A base without tokenizer is an error.
func (b *Base) Detokenize(ids []int32) (string, error) {
	if b.base.Tokenizer == nil {
		return "", fmt.Errorf("%s has no tokenizer", b.base.Path)
	}
	return b.base.Tokenizer.Decode(ids), nil
}
