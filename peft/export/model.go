package export

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/quant"
)

// Kinds of errors of Model.
var (
	ErrOnlyState   = errors.New("the adapter can be exported as a state") // by State
	ErrOnlyWeights = errors.New("the adapter changes weights")            // merge it, or LoRA exports it
)

func init() {
	Register(&Form{
		Place: 20, Name: "model",
		About: "a GGUF model with the adapter in it that every llama.cpp runs, for methods that add to the network: " +
			"parallel adapters make its FFN wider, serial-pfeiffer ones become layers of the architecture deci; " +
			"virtual tokens of prompt-tuning and p-tuning join the vocabulary, and its chat template begins with them",
		Write: func(in Input, path string, _ Options) (*Report, error) {
			a, err := in.one(path)
			if err != nil {
				return nil, err
			}
			r, err := Model(a, in.Base, path)
			if err != nil {
				return nil, err
			}
			return &Report{Note: r.Note, Prompt: r.Prompt}, nil
		},
		Use: func(_, path string, r *Report) [][]string {
			if r.Prompt != "" {
				return [][]string{{"llama-completion", "-m", path, "-no-cnv", "-p", r.Prompt + "…"}}
			}
			return [][]string{{"llama-cli", "-m", path}}
		},
	})
}

// modelFile is a GGUF model that is to be written.
type modelFile struct {
	meta    *gguf.Metadata
	tensors []modelTensor
	note    string // what of the adapter is rounded, "" for nothing
	prompt  string // see ModelReport.Prompt
}

// modelTensor is one of its tensors and what writes the bytes.
type modelTensor struct {
	gguf.Tensor
	write func(w io.Writer) error
}

// copied is a tensor of the base as it is.
func copied(t *gguf.Tensor) modelTensor {
	return modelTensor{gguf.Tensor{Name: t.Name, Shape: t.Shape, Type: t.Type}, func(w io.Writer) error {
		_, err := w.Write(t.Bytes())
		return err
	}}
}

// floatTensor is a tensor in float32; shape has the fastest dimension first.
func floatTensor(name string, x []float32, shape ...int64) modelTensor {
	return modelTensor{gguf.Tensor{Name: name, Shape: shape, Type: gguf.F32}, func(w io.Writer) error {
		_, err := w.Write(floats.LittleEndian(x))
		return err
	}}
}

// ModelReport says what Model wrote.
type ModelReport struct {
	Tensors int    `json:"tensors"`
	Note    string `json:"note,omitempty"` // what of the adapter is rounded in the file
	// Prompt is what every prompt has to begin with, "" where the file's chat template begins with it, or nothing has to.
	Prompt string `json:"prompt,omitempty"`
}

// Model writes a GGUF model that an unmodified llama.cpp runs, and that computes what the base does with the adapter.
// Parallel bottleneck adapters become part of a wider feed-forward network; serial-pfeiffer ones become layers of their
// own, in the architecture deci. Everything of the base is copied byte for byte. Errors: an adapter that no llama.cpp
// graph can express, a base that is not GGUF.
func Model(a *peft.Adapter, b *peft.Base, path string) (_ *ModelReport, err error) {
	defer mapped.Guard(&err)()
	r, err := writeModel(handle.Adapter(a), handle.Base(b), path)
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", path, err)
	}
	return r, nil
}

func writeModel(a *attach.Adapter, b *attach.Base, path string) (*ModelReport, error) {
	switch {
	case b.GGUF == nil:
		return nil, fmt.Errorf("%s is not a GGUF file", b.Path)
	case attach.SameFile(path, b.Path):
		return nil, errors.New("it would replace its base: choose another name")
	}
	bound, err := a.Bind(b)
	if err != nil {
		return nil, err
	}
	m, err := modelOf(a, b, attach.Views(a.Tensors, bound.Values))
	if err != nil {
		return nil, err
	}
	if err := m.record(a, b); err != nil {
		return nil, err
	}
	err = atomicfile.Write(path, func(w io.Writer) error {
		out := bufio.NewWriterSize(w, 1<<20)
		if err := m.writeTo(out); err != nil {
			return err
		}
		return out.Flush()
	})
	return &ModelReport{Tensors: len(m.tensors), Note: m.note, Prompt: m.prompt}, err
}

// modelOf describes a GGUF model that computes what the base does with an adapter, whose tensors are params.
func modelOf(a *attach.Adapter, b *attach.Base, params []attach.Param) (*modelFile, error) {
	switch m := a.Method.(type) {
	case embeddingMethod:
		return tokensModel(a, m, b, params)
	case *methods.BottleneckMethod:
		return bottleneckModel(m, b, params)
	}
	if a.VirtualTokens() > 0 {
		return nil, errkind.Errorf(ErrOnlyState, "an adapter of method "+
			"%s is keys and values, which no model holds: export its state", a.Config.Method)
	}
	return nil, errkind.Errorf(ErrOnlyWeights, "an adapter of method %s does not become part of a model this way: "+
		"merge it, or export it as a LoRA", a.Config.Method)
}

// record notes in the metadata what was put into the model.
func (m *modelFile) record(a *attach.Adapter, b *attach.Base) error {
	sum, err := b.SHA256()
	if err != nil {
		return err
	}
	hash, err := attach.HashAdapter(a)
	if err != nil {
		return err
	}
	return errors.Join(m.meta.Set(attach.MergeVersion, attach.Version), m.meta.Set(attach.MergeBaseSHA256, sum),
		m.meta.Set(attach.MergeMethods, []string{a.Config.Method}), m.meta.Set(attach.MergeAdapters, []string{hash}))
}

func (m *modelFile) writeTo(out io.Writer) error {
	table := make([]gguf.Tensor, len(m.tensors))
	for i, t := range m.tensors {
		table[i] = t.Tensor
	}
	w, err := gguf.NewWriter(out, m.meta, table)
	if err != nil {
		return err
	}
	for _, t := range m.tensors {
		if err := w.Begin(t.Name); err != nil {
			return err
		}
		if err := t.write(w); err != nil {
			return err
		}
	}
	return w.Close()
}

// wider is a matrix of the base with more rows: its blocks as they are, then rows (n, cols) in its type.
func wider(t *gguf.Tensor, rows []float32) modelTensor {
	cols := int(t.Cols())
	shape := []int64{t.Cols(), t.Rows() + int64(len(rows)/cols)}
	return modelTensor{gguf.Tensor{Name: t.Name, Shape: shape, Type: t.Type}, func(w io.Writer) error {
		if _, err := w.Write(t.Bytes()); err != nil {
			return err
		}
		_, err := w.Write(inType(t.Type, rows, cols))
		return err
	}}
}

// longer is a matrix of the base with more columns: after the blocks of each row those of cols (rows, n) in its type.
func longer(t *gguf.Tensor, cols []float32) modelTensor {
	rows := int(t.Rows())
	n := len(cols) / rows
	shape := []int64{t.Cols() + int64(n), t.Rows()}
	return modelTensor{gguf.Tensor{Name: t.Name, Shape: shape, Type: t.Type}, func(w io.Writer) error {
		added := inType(t.Type, cols, n)
		old, size := len(t.Bytes())/rows, len(added)/rows
		for r := range rows {
			if _, err := w.Write(t.Bytes()[r*old : (r+1)*old]); err != nil {
				return err
			}
			if _, err := w.Write(added[r*size : (r+1)*size]); err != nil {
				return err
			}
		}
		return nil
	}}
}

// inType is rows of cols columns in a type's blocks.
func inType(t gguf.Type, x []float32, cols int) []byte {
	dst := make([]byte, len(x)/t.BlockLen()*t.BlockSize())
	quant.Quantize(t, dst, x, cols, nil)
	return dst
}
