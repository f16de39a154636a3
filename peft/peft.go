// Package peft fine-tunes a frozen language model: it makes adapters over a GGUF file or a Hugging Face directory, and
// saves and loads them in PEFT's layout.
//
// A [Base] is the frozen model: [OpenBase] maps its files, so that it has to stay open as long as anything made from it
// is in use. An [Adapter] is a configuration and its tensors: [New] makes one by the options of package peft/method,
// [Load] reads one. [LoadData] reads text or JSONL to train and evaluate on. The packages below this one
// use them:
//
//   - train: training, and comparing methods
//   - eval, generate: loss and perplexity, text, importance matrices
//   - merge, export: a model with the adapter merged in, files for llama.cpp
//   - algebra: combining, resizing and extracting LoRAs
//   - search: prompts of words
//
// Every file is written under a temporary name, synced and renamed: a process that is killed leaves the old file or
// none. The same seed gives the same bytes whatever the number of threads.
package peft

import (
	"errors"
	"io/fs"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/errkind"
)

// Version is the version of this library; files that it writes record it.
const Version = attach.Version

// Kinds of errors, for errors.Is.
var (
	ErrUnsupported error = errors.ErrUnsupported           // what a file asks for is not supported
	ErrWrongBase   error = attach.ErrWrongBase             // the adapter belongs to another base
	ErrNeedsBase   error = attach.ErrNeedsBase             // a GGUF adapter is loaded without its base
	ErrNoMaster    error = attach.ErrNoMaster              // the original weights of a quantized base are missing
	ErrBadFile     error = errors.New("file is malformed") // a file is damaged, or not of the kind that was expected
)

// ofFile is an error of reading a file, as ErrBadFile unless it is of another kind or comes from the system.
func ofFile(err error) error {
	var system *fs.PathError
	if errors.Is(err, ErrUnsupported) || errors.Is(err, ErrWrongBase) || errors.Is(err, ErrNeedsBase) ||
		errors.Is(err, fs.ErrNotExist) || errors.As(err, &system) {
		return err
	}
	return errkind.Errorf(ErrBadFile, "%w", err)
}

// SelectTargets lists the linear maps of a base that targets choose in the given layers (nil is all), by their Hugging
// Face names and in the order of the model. A target is one of
//
//	all-linear              every linear map of the layers
//	attention, ffn          those of the attention, of the feed-forward network
//	q_proj, mlp.up_proj     a name or its last dotted parts, as in PEFT
//	attn_q, blk.0.attn_q    the same in GGUF's names
//	*.self_attn.?_proj      a glob over the whole name; * also matches dots
//	re:.*[qv]_proj          a regular expression for the whole name, as PEFT's target_modules string
//	embed_tokens, lm_head   the embedding table and the output head, which no other target chooses
//
// A target that chooses nothing is an error that lists what there is.
func SelectTargets(b *Base, targets []string, layers []int) ([]string, error) {
	return attach.SelectTargets(b.base, targets, layers)
}

// ParseLayers reads a choice among n layers: "all" or "" (nil, every layer), "first:4", "last:8", single numbers and
// ranges from 0 such as "3-7,9", or several of these with commas. The result is sorted, each layer once.
func ParseLayers(spec string, n int) ([]int, error) { return attach.ParseLayers(spec, n) }
