package heal

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/convert"
	"github.com/peftconv/peftconv/gguf/imatrix"
	"github.com/peftconv/peftconv/gguf/quantize"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/eval"
	"github.com/peftconv/peftconv/peft/merge"
)

// Recipe says how Quantize makes a quantized model of a base in floats and adapters.
type Recipe struct {
	Type    quantize.FileType // of the file
	Text    []int32           // tokens that the importance matrix is measured on, in windows of Options.Ctx
	Options Options           // of healing towards the merged model
	// Eval is what the loss is measured on after each stage; nil: nothing is measured.
	Eval map[string]*peft.Data
	// Measured is called after each stage; may be nil.
	Measured func(Losses)
}

// Losses are those of one stage.
type Losses struct {
	Stage string             `json:"stage"` // StageFloats, StageAdapter, StageMerged, StageQuantized, StageHealed
	Of    map[string]float64 `json:"loss"`  // by the names of Recipe.Eval
	Bytes int64              `json:"bytes,omitempty"`
}

// The stages of a recipe.
const (
	StageFloats    = "base"
	StageAdapter   = "adapter"
	StageMerged    = "merged"
	StageQuantized = "quantized"
	StageHealed    = "healed"
)

// TemporaryPaths are the files that Quantize makes beside out and removes in the end: a directory as a GGUF file, the
// merged model, and what is quantized and not yet healed.
func TemporaryPaths(out string) []string {
	return []string{beside(out, "base"), beside(out, "merged"), beside(out, "quantized")}
}

// CheckRecipe refuses a base that Quantize does not take: a directory that no GGUF file can be made of.
func CheckRecipe(b *peft.Base) error {
	if b.IsGGUF() {
		return nil
	}
	plan, err := convert.NewPlan(b.Path(), convert.Options{Type: "f32"})
	if err != nil {
		return fmt.Errorf("no GGUF file can be made of the base, as by peftconv convert: %w", err)
	}
	return plan.Close()
}

// asGGUF gives a base as a GGUF file: itself, or for a directory a file of float32 weights at path, which a function
// removes.
func asGGUF(ctx context.Context, b *peft.Base, path string) (_ *peft.Base, remove func() error, err error) {
	if b.IsGGUF() {
		return b, func() error { return nil }, nil
	}
	plan, err := convert.NewPlan(b.Path(), convert.Options{Type: "f32"})
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(plan.Write(ctx, path, nil), plan.Close()); err != nil {
		return nil, nil, errors.Join(err, removed(path))
	}
	made, err := peft.OpenBase(path)
	if err != nil {
		return nil, nil, errors.Join(err, removed(path))
	}
	return made, func() error { return errors.Join(made.Close(), removed(path)) }, nil
}

// Quantize merges adapters into a base in floats, a GGUF file or a Hugging Face directory, as float32, quantizes the
// result with an importance matrix, heals it towards the merged model, and writes it to out: what is tuned in floats,
// in few bits. data is the text to heal with, best what the adapters were trained on and what is to be retained.
func Quantize(ctx context.Context, b *peft.Base, adapters []peft.Scaled, data *peft.Data, out string,
	r Recipe) (_ *Result, stages []Losses, err error) {
	if err := CheckRecipe(b); err != nil {
		return nil, nil, err
	}
	measure := func(stage string, b *peft.Base, adapters []peft.Scaled, path string) error {
		if len(r.Eval) == 0 {
			return nil
		}
		l := Losses{Stage: stage, Of: map[string]float64{}}
		if path != "" {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			if !info.IsDir() {
				l.Bytes = info.Size()
			}
		}
		for name, set := range r.Eval {
			found, err := eval.Loss(ctx, b, adapters, set, 0)
			if err != nil {
				return err
			}
			l.Of[name] = found.Loss
		}
		if stages = append(stages, l); r.Measured != nil {
			r.Measured(l)
		}
		return nil
	}
	if err := errors.Join(measure(StageFloats, b, nil, b.Path()), measure(StageAdapter, b, adapters, "")); err != nil {
		return nil, nil, err
	}
	mergedPath, plainPath := beside(out, "merged"), beside(out, "quantized")
	floats, remove, err := asGGUF(ctx, b, beside(out, "base"))
	if err != nil {
		return nil, nil, err
	}
	// The adapters are those of the directory, whose hash is another.
	_, err = merge.Run(ctx, floats, adapters, mergedPath, merge.Options{Type: "F32", Force: floats != b})
	if err := errors.Join(err, remove()); err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, removed(mergedPath)) }()
	merged, err := peft.OpenBase(mergedPath)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, merged.Close()) }()
	if err := measure(StageMerged, merged, nil, mergedPath); err != nil {
		return nil, nil, err
	}
	matrix, err := eval.Importance(ctx, merged, r.Text, eval.ImportanceOptions{Ctx: r.Options.Ctx})
	if err != nil {
		return nil, nil, fmt.Errorf("importance matrix: %w", err)
	}
	if err := quantizeTo(ctx, mergedPath, plainPath, r.Type, matrix); err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, removed(plainPath)) }()
	plain, err := peft.OpenBase(plainPath)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	if err := measure(StageQuantized, plain, nil, plainPath); err != nil {
		return nil, nil, err
	}
	result, err := Run(ctx, plain, merged, data, out, r.Options)
	if err != nil {
		return nil, nil, err
	}
	healed, err := peft.OpenBase(out)
	if err != nil {
		return nil, nil, err
	}
	return result, stages, errors.Join(measure(StageHealed, healed, nil, out), healed.Close())
}

// quantizeTo writes a model in other types.
func quantizeTo(ctx context.Context, in, out string, to quantize.FileType, m *imatrix.Matrix) (err error) {
	f, err := gguf.Open(in)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	plan, err := quantize.NewPlan(f, quantize.Options{Type: to, Imatrix: m})
	if err != nil {
		return err
	}
	return plan.Write(ctx, out, nil)
}
