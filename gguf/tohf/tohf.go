package tohf

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/store"
	"github.com/peftconv/peftconv/quant"
	"github.com/peftconv/peftconv/safetensors"
)

// Options says how a directory is written. The zero value is the usual way.
type Options struct {
	// DType is the type of the tensors: "f32", "f16" or "bf16". "" keeps floats as they are, and makes bf16 of quantized
	// ones. In a file of one of the other types, a tensor of F32 gets it too where its values fit it exactly, and stays
	// F32 otherwise. Where DType is given, this is so for tensors of one dimension alone.
	DType string
	// ShardBytes is the most bytes of tensors that a file has; 0: 5 GB.
	ShardBytes int64
	// RopeScaling is the value of rope_scaling for a file with factors of rotary position embedding of which it is not
	// known what makes them. nil: they are made as is known, or the file is refused. Whole numbers in it are int or
	// json.Number: a float64 is written with its point.
	RopeScaling map[string]any
	// Force replaces a directory that exists.
	Force bool
	// Files, where it is not nil, makes further files, such as those of the tokenizer.
	Files func(create func(name string, data []byte) error) error
}

// Report is what was written.
type Report struct {
	Class   string // in architectures of config.json
	DType   string // of most tensors: "F32", "F16" or "BF16"
	Tensors int
	Bytes   int64    // of all tensors
	Files   []string // of tensors, without the directory
	Assumed []string // what the file does not say, and was taken to be
	LeftOut []string // tensors of the file that nothing computes with
	Rounded []Rounding
}

// Rounding is what a tensor lost because its new type cannot hold its values exactly.
type Rounding struct {
	Tensor string // its name in the directory
	From   string // the type in the file
	To     string
	Max    float64 // the largest difference
	RMS    float64 // the root of the mean square of the differences, as a share of that of the values
}

const defaultShard = 5_000_000_000

// types are the types that tensors get by their names in Options.
var types = map[string]gguf.Type{"f32": gguf.F32, "f16": gguf.F16, "bf16": gguf.BF16}

// dtypes are their names in safetensors files.
var dtypes = map[gguf.Type]safetensors.DType{
	gguf.F32: safetensors.F32, gguf.F16: safetensors.F16, gguf.BF16: safetensors.BF16,
}

// Write writes the model of a GGUF file as a Hugging Face directory. progress, which may be nil, is called with the
// bytes of tensors that have been written, and those of all.
//
// Errors: an architecture that has no class of Hugging Face which is known here, or a setting that the class does not
// have; a tensor that is missing, has another shape than the metadata say, or has no place in the class; a value that
// is not finite or beyond the type; a directory that exists. Nothing is left then. The context ends it too.
func Write(ctx context.Context, f *gguf.File, dir string, o Options, progress func(done, all int64)) (_ *Report,
	err error) {
	defer mapped.Guard(&err)()
	if _, ok := types[o.DType]; !ok && o.DType != "" {
		return nil, fmt.Errorf("the type %q: expected f32, f16 or bf16", o.DType)
	}
	s := store.OfGGUF(f)
	config, err := arch.ConfigFor(s, o.RopeScaling)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	source := arch.ByName(config.Source())
	blocks := o.DType == "" && keepsBlocks(f, source, config.Spec)
	p := &planner{file: s, source: source, config: config, spec: *config.Spec, blocks: blocks,
		used: map[string]bool{}, joints: map[string]*joint{}}
	outputs, err := p.plan()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	w := &writer{ctx: ctx, file: f, outputs: outputs, leftOut: p.ignored, given: o.DType != "", progress: progress}
	if w.main = types[o.DType]; !w.given {
		w.main = mainType(f)
	}
	if err := w.chooseTypes(); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	config.Values["torch_dtype"] = torchNames[w.main]
	if blocks {
		config.KeepBlocks()
	}
	text, err := encodeJSON(config.Values)
	if err == nil {
		err = check(config, text, o.RopeScaling != nil)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	return w.directory(dir, o, config, text)
}

// torchNames are the names of the types in config.json.
var torchNames = map[gguf.Type]string{gguf.F32: "float32", gguf.F16: "float16", gguf.BF16: "bfloat16"}

// mainType is the type of the largest part of the file's matrices, as a float.
func mainType(f *gguf.File) gguf.Type {
	elements := map[gguf.Type]int64{}
	for _, t := range f.Tensors {
		typ := t.Type
		if _, float := dtypes[typ]; !float {
			typ = gguf.BF16
		}
		if len(t.Shape) > 1 {
			elements[typ] += t.Elements()
		}
	}
	best := gguf.F32
	for _, t := range []gguf.Type{gguf.F16, gguf.BF16} {
		if elements[t] > elements[best] {
			best = t
		}
	}
	return best
}

// directory writes all files.
func (w *writer) directory(dir string, o Options, config *arch.Config, configText []byte) (*Report, error) {
	if err := checkDir(dir, o.Force); err != nil {
		return nil, err
	}
	st, err := atomicfile.CreateDir(dir, store.IsPart)
	if err != nil {
		return nil, err
	}
	defer st.Abort()
	create := func(name string, data []byte) error { return createIn(st.Path(), name, data) }
	limit := o.ShardBytes
	if limit == 0 {
		limit = defaultShard
	}
	files, err := w.tensors(filepath.Join(st.Path(), "model.safetensors"), limit)
	if err != nil {
		return nil, err
	}
	if err := create("config.json", configText); err != nil {
		return nil, err
	}
	if card := modelCard(w.file.Meta); card != nil {
		if err := create("README.md", card); err != nil {
			return nil, err
		}
	}
	if o.Files != nil {
		if err := o.Files(create); err != nil {
			return nil, err
		}
	}
	if err := w.ctx.Err(); err != nil {
		return nil, err
	}
	report := &Report{Class: config.Class.Class, DType: string(dtypes[w.main]), Tensors: len(w.outputs), Bytes: w.all,
		Files: files, Assumed: config.Assumed, LeftOut: w.leftOut, Rounded: w.rounded}
	return report, st.Commit()
}

// loses reports whether a type cannot hold all values of another.
func loses(from, to gguf.Type) bool { return to != gguf.F32 && from != to }

// encode writes values in a type.
func encode(t gguf.Type, dst []byte, x []float32) { quant.Quantize(t, dst, x, len(x), nil) }
