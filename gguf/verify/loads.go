package verify

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/imatrix"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/lorafile"
	"github.com/peftconv/peftconv/internal/tokenizer"
	"github.com/peftconv/peftconv/internal/weights"
	"github.com/peftconv/peftconv/peft/train"
)

// model opens the files as the base of an adapter, at a path, and looks at what of it is odd.
func (r *Report) model(f *weights.File, path string) {
	if f.Len() == 0 {
		r.problem("", "there is no tensor in it: a model has some")
		return
	}
	b, err := attach.OfStore(path, f.Store)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		r.note("", "shapes were not checked against the architecture: %v", err)
	case err != nil:
		r.problem("", "%v", err)
	default:
		r.Architecture = b.Architecture()
		r.oddModel(b)
	}
}

// adapter loads an adapter of safetensors, and of a training run's checkpoint the state too.
func (r *Report) adapter(f *weights.File) {
	a, err := attach.Load(f.Path)
	if errors.Is(err, errors.ErrUnsupported) {
		r.note("", "the tensors were not checked against the configuration: %v", err)
		r.adapterPairs(f)
		return
	}
	if err != nil {
		r.problem("", "%v", err)
		return
	}
	if _, ok := f.Safetensors.Metadata[attach.MetaCheckpoint]; ok {
		if err := train.CheckCheckpoint(f.Path); err != nil {
			r.problem("", "%v", err)
		}
	}
	r.oddAdapter(a)
}

// loraFile checks a GGUF LoRA as far as that needs no base.
func (r *Report) loraFile(g *gguf.File) {
	if err := lorafile.CheckAlone(g); err != nil {
		r.problem("", "%v", err)
		return
	}
	if alpha, ok := g.Meta.Float(lorafile.AlphaKey); !ok || alpha == 0 {
		r.note("", "there is no %s: the products of the pairs are not scaled", lorafile.AlphaKey)
	}
}

// importance reads an importance matrix.
func (r *Report) importance(path string) {
	if _, err := imatrix.Open(path); err != nil {
		r.problem("", "%v", err)
	}
}

// Contexts and epsilons beyond which a model is not a usual one.
const (
	shortContext = 16
	longContext  = 1 << 24
	largeEpsilon = 0.1
)

// oddModel notes what a model is loaded with all the same.
func (r *Report) oddModel(b *attach.Base) {
	spec := &b.Model.Spec
	switch n := spec.Context; {
	case n == 0:
		r.note("", "the files do not say for how many tokens the model was made: commands need --ctx or --seq-len")
	case n < shortContext || n > longContext:
		r.note("", "the context of %d tokens is unusual", n)
	}
	if spec.NormEps > largeEpsilon {
		r.note("", "the epsilon of the norms is %g, which is large", spec.NormEps)
	}
	if unused := b.Model.Unused; len(unused) > 0 {
		r.note("", "%d tensors are not used by the architecture: %s", len(unused), some(unused))
	}
	for _, err := range b.CheckTemplates() {
		r.note("", "%v", err)
	}
	if b.Tokenizer == nil {
		return
	}
	if n := b.Tokenizer.Size(); n > spec.Vocab {
		r.note("", "the tokenizer has %d tokens, but the embedding table rows for %d", n, spec.Vocab)
	}
	if b.GGUF != nil {
		r.oddTokens(b.GGUF.Meta)
	}
}

// oddTokens notes what is odd about the vocabulary of a GGUF file.
func (r *Report) oddTokens(meta *gguf.Metadata) {
	const keys = "tokenizer.ggml."
	kind, _ := meta.String(keys + "model")
	if _, ok := meta.Get(keys + "scores"); !ok && (kind == tokenizer.ScoredBPE || kind == tokenizer.Unigram) {
		r.note("", "%sscores is missing, by which a vocabulary of the kind %q joins tokens", keys, kind)
	}
	types, ok := meta.Ints(keys + "token_type")
	if !ok {
		r.note("", "%stoken_type is missing: no token is marked as a control token", keys)
		return
	}
	const control, user = 3, 4
	for _, name := range []string{"bos", "eos"} {
		key := keys + name + "_token_id"
		id, ok := meta.Int(key)
		if ok && 0 <= id && id < int64(len(types)) && types[id] != control && types[id] != user {
			r.note("", "%s is %d, which is no control token by %stoken_type", key, id, keys)
		}
	}
}

// oddAdapter notes what an adapter is loaded with all the same.
func (r *Report) oddAdapter(a *attach.Adapter) {
	if a.Config.Method == attach.MethodLoRA && a.Config.Alpha <= 0 {
		r.note("", "lora_alpha is %g, expected a positive number", a.Config.Alpha)
	}
	var zero []string
	for _, p := range a.Params() {
		isZero := !slices.ContainsFunc(p.Data, func(x float32) bool { return x != 0 })
		if isZero && strings.Contains(p.Name, "lora_A") {
			zero = append(zero, p.Name)
		}
	}
	if zero != nil {
		r.note("", "all values are zero in %d tensors, which training then cannot change: %s", len(zero), some(zero))
	}
}

// some are the first of a list of names.
func some(names []string) string {
	const most = 3
	text := strings.Join(names[:min(most, len(names))], ", ")
	if n := len(names) - most; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}
