package export

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/linalg"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft"
)

func init() {
	Register(&Form{
		Place: 10, Name: "gguf",
		About: "the file that llama.cpp's --lora takes (and Ollama's " +
			"ADAPTER, and LM Studio), for methods that change weights",
		Write: func(in Input, path string, opt Options) (*Report, error) {
			a, err := in.one(path)
			if err != nil {
				return nil, err
			}
			r, err := LoRA(a, in.Base, path, opt.LoRA)
			return &Report{LoRA: r}, err
		},
		Use: func(base, path string) []string { return []string{"llama-cli", "-m", base, "--lora", path} },
	})
}

// GGUF writes the adapter as a GGUF file that llama.cpp's --lora loads over the base, in float32.
//
// llama.cpp scales a pair of matrices by adapter.lora.alpha over the rank of that pair. Where that is what the adapter
// asks for everywhere, alpha is written; where it is not (rsLoRA, alphas of single modules), alpha is 0, which means no
// scaling, and the scale is multiplied into B.
func GGUF(a *peft.Adapter, b *peft.Base, path string) error {
	_, err := LoRA(a, b, path, LoRAOptions{})
	return err
}

// LoRA is GGUF for an adapter of any method that changes weight matrices, with the nearest low-rank matrices
// where the changes are not of low rank, and says how near that is.
func LoRA(a *peft.Adapter, b *peft.Base, path string, opt LoRAOptions) (*LoRAReport, error) {
	report, err := writeLoRA(handle.Adapter(a), handle.Base(b), path, opt)
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", path, err)
	}
	return report, nil
}

func writeLoRA(a *attach.Adapter, b *attach.Base, path string, opt LoRAOptions) (*LoRAReport, error) {
	if opt.Type != gguf.F32 && opt.Type != gguf.F16 {
		return nil, fmt.Errorf("type %v, expected F32 or F16", opt.Type)
	}
	if opt.Rank < 0 {
		return nil, fmt.Errorf("rank %d, expected 1 or more, or 0", opt.Rank)
	}
	pairs, report, err := pairsOf(a, b, opt)
	if err != nil {
		return nil, err
	}
	meta, err := exportMetadata(a, b, opt)
	if err != nil {
		return nil, err
	}
	return report, atomicfile.Write(path, func(w io.Writer) error {
		out := bufio.NewWriterSize(w, 1<<20)
		if err := writePairs(out, meta, pairs, opt.Type); err != nil {
			return err
		}
		return out.Flush()
	})
}

// tensorPair is a change of a tensor. Its scale is in B, or what the file says as alpha.
type tensorPair struct {
	tensor string // its name in a GGUF file
	lowrank.LowRank
	transposed bool // the file has A the other way round, a row for each token
}

// exportPairs lists the pairs in the order of the model, rows as GGUF stores them, scales where they belong.
func exportPairs(a *attach.Adapter, b *attach.Base) ([]tensorPair, error) {
	m, ok := a.Method.(*methods.LoRA)
	if !ok {
		return nil, fmt.Errorf("an adapter of method %s is no LoRA", a.Config.Method)
	}
	if err := exportable(m, b); err != nil {
		return nil, err
	}
	linears, err := m.Linears(b)
	if err != nil {
		return nil, err
	}
	byLinear := map[*model.Linear]methods.LoRAModule{}
	for i, l := range linears {
		byLinear[l] = m.Modules[i]
	}
	var pairs []tensorPair
	for _, l := range b.Model.Matrices() {
		mod, ok := byLinear[l]
		if !ok {
			continue
		}
		name, heads := b.Model.InGGUF(l)
		// llama.cpp reads that of the embedding table transposed
		pairs = append(pairs, tensorPair{name, pairOfModule(a, mod, heads), l.Role == arch.TokenEmbedding})
	}
	return pairs, nil
}

// exportable reports what a GGUF LoRA cannot hold.
func exportable(m *methods.LoRA, b *attach.Base) error {
	switch {
	case m.Config.DoRA:
		return errors.New("llama.cpp has no DoRA: its change is not of low rank; merge it")
	case !m.Extras.None():
		return fmt.Errorf("the adapter has more than pairs%s, which a GGUF LoRA cannot hold; merge it",
			m.Extras.Describe())
	case methods.StartsApart(m.Config.Init):
		return errors.New("it is the checkpoint of an unfinished run; finish or resume it first")
	case b.Model.Spec.Tied && slices.ContainsFunc(m.Modules,
		func(p methods.LoRAModule) bool { return attach.IsEmbedding(p.Name) }):
		return errors.New("llama.cpp would change the output head too, which is the embedding table in this base")
	}
	return nil
}

// pairOfModule is the pair of a module: a copy of B has its rows permuted and, where alpha cannot say it, the scale in
// it.
func pairOfModule(a *attach.Adapter, mod methods.LoRAModule, heads int) lowrank.LowRank {
	pair := lowrank.LowRank{
		Module: mod.Name, A: a.Tensors[mod.A].Data, B: slices.Clone(a.Tensors[mod.B].Data),
		Rank: mod.Rank, In: mod.In, Out: mod.Out, Scale: mod.Scale,
	}
	if heads > 0 {
		permute(&pair, heads)
	}
	if !a.Config.Plain() {
		kernels.Scale(float32(mod.Scale), pair.B)
		pair.Scale = 1
	}
	return pair
}

// exportMetadata is the metadata that llama.cpp needs of an adapter, and the adapter's origin.
func exportMetadata(a *attach.Adapter, b *attach.Base, opt LoRAOptions) (*gguf.Metadata, error) {
	alpha := float32(0)
	if exportsPairs(a, opt) && a.Config.Plain() {
		alpha = float32(a.Config.Alpha)
	}
	meta := &gguf.Metadata{}
	var failed error
	set := func(key string, value any) { failed = errors.Join(failed, meta.Set(key, value)) }
	set("general.type", "adapter")
	set("general.architecture", b.Architecture())
	set("adapter.type", "lora")
	set("adapter.lora.alpha", alpha)
	if b.GGUF != nil {
		if name, ok := b.GGUF.Meta.String("general.name"); ok {
			set("general.base_model.count", uint32(1))
			set("general.base_model.0.name", name)
		}
	}
	set("peftconv.version", attach.Version)
	if sum := a.Origin.BaseSHA256; sum != "" {
		set(attach.MetaBaseSHA256, sum)
	}
	return meta, failed
}

// writePairs writes the file.
func writePairs(out io.Writer, meta *gguf.Metadata, pairs []tensorPair, t gguf.Type) error {
	var table []gguf.Tensor
	for _, p := range pairs {
		a := []int64{int64(p.In), int64(p.Rank)}
		if p.transposed {
			slices.Reverse(a)
		}
		table = append(table,
			gguf.Tensor{Name: p.tensor + ".lora_a", Shape: a, Type: t},
			gguf.Tensor{Name: p.tensor + ".lora_b", Shape: []int64{int64(p.Rank), int64(p.Out)}, Type: t})
	}
	w, err := gguf.NewWriter(out, meta, table)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		a, cols := p.A, p.In
		if p.transposed {
			a, cols = linalg.Transpose(p.A, p.Rank, p.In), p.Rank
		}
		if err := w.WriteTensor(p.tensor+".lora_a", floats.Encode(t, a, cols)); err != nil {
			return err
		}
		if err := w.WriteTensor(p.tensor+".lora_b", floats.Encode(t, p.B, p.Rank)); err != nil {
			return err
		}
	}
	return w.Close()
}
