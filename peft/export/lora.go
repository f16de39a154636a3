package export

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/lorafile"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/modelcard"
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
		Use: func(base, path string, _ *Report) [][]string {
			return [][]string{{"llama-cli", "-m", ggufOf(base), "--lora", path}}
		},
	})
}

// GGUF writes the adapter as a GGUF file that llama.cpp's --lora loads over the base, in float32.
//
// llama.cpp scales a pair of matrices by adapter.lora.alpha over the rank of that pair. Where one alpha gives what the
// adapter asks for everywhere, it is written (for rsLoRA of one rank it is alpha times the root of the rank); where
// none does (ranks of rsLoRA or alphas of single modules, several maps in one tensor), alpha is 0, which means no
// scaling, and the scale is multiplied into B.
func GGUF(a *peft.Adapter, b *peft.Base, path string) error {
	_, err := LoRA(a, b, path, LoRAOptions{})
	return err
}

// LoRA is GGUF for an adapter of any method that changes weight matrices, with the nearest low-rank matrices
// where the changes are not of low rank, and says how near that is.
func LoRA(a *peft.Adapter, b *peft.Base, path string, opt LoRAOptions) (_ *LoRAReport, err error) {
	defer mapped.Guard(&err)()
	report, err := writeLoRA(handle.Adapter(a), handle.Base(b), path, opt)
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", path, err)
	}
	return report, nil
}

func writeLoRA(a *attach.Adapter, b *attach.Base, path string, opt LoRAOptions) (*LoRAReport, error) {
	if !slices.Contains(loraTypes, opt.Type) {
		return nil, fmt.Errorf("type %v, expected F32, F16, BF16 or Q8_0", opt.Type)
	}
	if opt.Rank < 0 {
		return nil, fmt.Errorf("rank %d, expected 1 or more, or 0", opt.Rank)
	}
	file, err := pairsOf(a, b, opt)
	if err != nil {
		return nil, err
	}
	alpha := file.alpha()
	if alpha == 0 {
		file.scale()
		if opt.exact {
			opt.Type = gguf.F32
		}
	}
	table := file.table(opt.Type)
	meta, err := exportMetadata(a, b, alpha, opt.card, table)
	if err != nil {
		return nil, err
	}
	report := file.report()
	report.Alpha, report.Type = alpha, opt.Type.String()
	return report, atomicfile.Write(path, func(w io.Writer) error {
		out := bufio.NewWriterSize(w, 1<<20)
		if err := file.write(out, meta, table); err != nil {
			return err
		}
		return out.Flush()
	})
}

// loraTypes are the types that LoRAOptions.Type may be.
var loraTypes = []gguf.Type{gguf.F32, gguf.F16, gguf.BF16, gguf.Q8_0}

// exportPairs are the pairs of a LoRA in the order of the model, or in that of its own file.
func exportPairs(a *attach.Adapter, b *attach.Base, inOrder bool) (*loraFile, error) {
	m, ok := methods.AsLoRA(a.Method)
	if !ok {
		return nil, fmt.Errorf("an adapter of method %s is no LoRA", a.Config.Method)
	}
	if err := exportable(m, b); err != nil {
		return nil, err
	}
	pairs, err := m.Pairs(b, a.Tensors)
	if err != nil {
		return nil, err
	}
	saved, err := savedPairs(a, m, b)
	if err != nil {
		return nil, err
	}
	pairs = append(pairs, saved...)
	if !inOrder {
		at := map[*model.Linear]int{}
		for i, l := range b.Model.Matrices() {
			at[l] = i
		}
		slices.SortFunc(pairs, func(x, y methods.LinearPair) int { return at[x.Linear] - at[y.Linear] })
	}
	file := newLoRAFile(b)
	for _, p := range pairs {
		if err := runs(b, p.Linear); err != nil {
			return nil, err
		}
		file.add(p.Linear, p.LowRank, true, pairSums{})
	}
	if inOrder {
		file.byLast()
	}
	return file, nil
}

// runs reports a linear map whose pair llama.cpp loads and does not compute.
func runs(b *attach.Base, l *model.Linear) error {
	if slices.Contains(b.Model.Arch.PairsUnread, l.Role) {
		return fmt.Errorf("llama.cpp does not compute what a LoRA changes of %s (%s) in %s models: merge it", l.Module,
			l.Role, b.Architecture())
	}
	return nil
}

// exportable reports what a GGUF LoRA cannot hold.
func exportable(m *methods.LoRA, b *attach.Base) error {
	switch {
	case m.Config.DoRA:
		return errors.New("llama.cpp has no DoRA: its change is not of low rank; merge it")
	case m.Extras.Vectors():
		return fmt.Errorf("the adapter has more than matrices%s, and a GGUF LoRA cannot hold norms and biases; merge it",
			m.Extras.Describe())
	case b.Model.Spec.Tied && m.Extras.Whole():
		return errTied
	case methods.StartsApart(m.Config.Init):
		return errors.New("it is the checkpoint of an unfinished run; finish or resume it first")
	case b.Model.Spec.Tied && slices.ContainsFunc(m.Modules,
		func(p methods.LoRAModule) bool { return b.Canonical(p.Name) == b.Canonical(b.Model.Ends()[0].Module) }):
		return errTied
	}
	return nil
}

// errTied is the error of a change of an embedding table that is the output head too.
var errTied = errors.New("llama.cpp would change the output head too, which is the embedding table in this base; " +
	"merge it")

// exportMetadata is the metadata that llama.cpp needs of an adapter, and what else there is to say of it: what its card
// says, or its base and origin.
func exportMetadata(a *attach.Adapter, b *attach.Base, alpha float64, card *modelcard.Card,
	table []gguf.Tensor) (*gguf.Metadata, error) {
	meta := &gguf.Metadata{}
	var failed error
	set := func(key string, value any) { failed = errors.Join(failed, meta.Set(key, value)) }
	set(lorafile.ArchitectureKey, b.Architecture())
	set(lorafile.TypeKey, lorafile.Type)
	set(lorafile.KindKey, lorafile.Kind)
	if card != nil {
		failed = errors.Join(failed, card.Set(meta, modelcard.Count(table)))
	} else if b.GGUF != nil {
		if name, ok := b.GGUF.Meta.String("general.name"); ok {
			set("general.base_model.count", uint32(1))
			set("general.base_model.0.name", name)
		}
	}
	set(lorafile.AlphaKey, float32(alpha))
	if ids := a.Config.Invocation; len(ids) > 0 {
		tokens := make([]uint32, len(ids))
		for i, id := range ids {
			tokens[i] = uint32(id)
		}
		set(lorafile.InvocationKey, tokens)
	}
	set("general.quantization_version", uint32(2))
	if card != nil {
		return meta, failed
	}
	set("peftconv.version", attach.Version)
	if sum := a.Origin.BaseSHA256; sum != "" {
		set(attach.MetaBaseSHA256, sum)
	}
	return meta, failed
}
