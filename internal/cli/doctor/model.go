package doctor

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/report"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/train"
	"github.com/peftconv/peftconv/quant"
)

// Model is what was found of a model.
type Model struct {
	File         string `json:"file"`
	Architecture string `json:"architecture"`
	Size         int64  `json:"size_bytes"`
	Parameters   int64  `json:"parameters"`
	Types        []Type `json:"types"`
	Problem      string `json:"problem,omitempty"` // why it cannot be trained or run
	Layers       int    `json:"layers,omitempty"`
	Width        int    `json:"width,omitempty"`
	Vocabulary   int    `json:"vocabulary,omitempty"`
	Tokenizer    bool   `json:"tokenizer"`
	Context      int    `json:"context,omitempty"` // that it was made for; 0: the file does not say
	Training     []Plan `json:"training,omitempty"`
	Epoch        *Epoch `json:"epoch,omitempty"`
}

// Type is a type of a model's tensors.
type Type struct {
	Name     string `json:"name"`
	Tensors  int    `json:"tensors"`
	Bytes    int64  `json:"bytes"`
	Computed bool   `json:"computed"` // there are products with its blocks
}

// Plan is what training with some flags needs.
type Plan struct {
	Flags  string `json:"flags"` // beside --base and --data; "": none
	Memory int64  `json:"memory_bytes"`
	Fits   bool   `json:"fits"` // in what is available, where that is known
}

// Epoch is what one pass over a file takes with the default flags.
type Epoch struct {
	Data string `json:"data"`
	*train.Trial
}

// Read is what a model's file itself says.
func Read(file string) (*Model, error) {
	found, closer, err := report.OpenInspection(file)
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	m := &Model{
		File: file, Architecture: found.Architecture, Size: found.Size, Parameters: found.Parameters, Types: []Type{},
	}
	for _, t := range found.Types {
		kind, err := gguf.ParseType(t.Type)
		m.Types = append(m.Types, Type{t.Type, t.Tensors, t.Bytes, err == nil && quant.Supported(kind)})
	}
	return m, nil
}

// Opened adds what is known once the model is open.
func (m *Model) Opened(b *peft.Base) {
	m.Architecture, m.Layers, m.Width = b.Architecture(), b.Layers(), b.Width()
	m.Parameters, m.Context = b.Parameters(), b.ContextLength()
	m.Vocabulary, m.Tokenizer = b.VocabSize(), b.HasTokenizer()
}

// plan notes what the default flags need, and flags that need less.
func (m *Model) plan(needed func(change func(*train.Options)) (*train.Memory, error)) error {
	for _, p := range []struct {
		flags  string
		change func(*train.Options)
	}{
		{"", func(*train.Options) {}},
		{"--recompute always", func(t *train.Options) { t.Recompute = train.RecomputeAlways }},
		{"--recompute always --micro-batch-tokens 256", func(t *train.Options) {
			t.Recompute, t.MicroBatch = train.RecomputeAlways, 256
		}},
	} {
		needs, err := needed(p.change)
		if err != nil {
			return err
		}
		if n := len(m.Training); n == 0 || needs.Total() < m.Training[n-1].Memory {
			m.Training = append(m.Training, Plan{p.flags, needs.Total(), !needs.Short()})
		}
	}
	return nil
}

// Fails says whether the model cannot be trained here with the default flags.
func (m *Model) Fails() bool {
	return m.Problem != "" || len(m.Training) > 0 && !m.Training[0].Fits
}
