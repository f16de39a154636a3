package peft

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/linalg"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// ExportGGUF writes the adapter as a GGUF file that llama.cpp's --lora loads over the base, in float32.
//
// llama.cpp scales a pair of matrices by adapter.lora.alpha over the rank of that pair. Where that is what the adapter
// asks for everywhere, alpha is written; where it is not (rsLoRA, alphas of single modules), alpha is 0, which means no
// scaling, and the scale is multiplied into B.
func (a *Adapter) ExportGGUF(b *Base, path string) error { return a.ExportGGUFAs(b, path, gguf.F32) }

// ExportGGUFAs is ExportGGUF with the matrices in another type: F32 or F16.
func (a *Adapter) ExportGGUFAs(b *Base, path string, t gguf.Type) error {
	_, err := a.ExportLoRA(b, path, ExportOptions{Type: t})
	return err
}

// ExportLoRA is ExportGGUF for an adapter of any method that changes weight matrices, with the nearest low-rank matrices
// where the changes are not of low rank, and says how near that is.
func (a *Adapter) ExportLoRA(b *Base, path string, opt ExportOptions) (*ExportReport, error) {
	report, err := a.exportLoRA(b, path, opt)
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", path, err)
	}
	return report, nil
}

func (a *Adapter) exportLoRA(b *Base, path string, opt ExportOptions) (*ExportReport, error) {
	if opt.Type != gguf.F32 && opt.Type != gguf.F16 {
		return nil, fmt.Errorf("type %v, expected F32 or F16", opt.Type)
	}
	if opt.Rank < 0 {
		return nil, fmt.Errorf("rank %d, expected 1 or more, or 0", opt.Rank)
	}
	pairs, report, err := a.pairs(b, opt)
	if err != nil {
		return nil, err
	}
	meta, err := a.exportMetadata(b, opt)
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

// exportPair is a pair of matrices under the name of the tensor that they change.
type exportPair struct {
	tensor  string
	a, b    []float32 // (aRows, in), (out, rank)
	aRows   int       // the rank, but for an embedding table
	rank    int
	in, out int
}

// exportPairs lists the pairs in the order of the model, rows as GGUF stores them, scales where they belong.
func (a *Adapter) exportPairs(b *Base) ([]exportPair, error) {
	m, ok := a.method.(*lora)
	if !ok {
		return nil, fmt.Errorf("an adapter of method %s is no LoRA", a.Config.Method)
	}
	if err := m.exportable(b); err != nil {
		return nil, err
	}
	linears, err := m.linears(b)
	if err != nil {
		return nil, err
	}
	byLinear := map[*model.Linear]loraModule{}
	for i, l := range linears {
		byLinear[l] = m.modules[i]
	}
	var pairs []exportPair
	for _, l := range b.Model.Matrices() {
		mod, ok := byLinear[l]
		if !ok {
			continue
		}
		name, heads := b.Model.InGGUF(l)
		if l.Role == arch.TokenEmbedding {
			pairs = append(pairs, a.exportEmbedding(name, mod))
			continue
		}
		pairs = append(pairs, exportPair{
			tensor: name, a: a.params[mod.a].Data, b: a.exportB(mod, heads), aRows: mod.rank, rank: mod.rank, in: mod.in, out: mod.out,
		})
	}
	return pairs, nil
}

// exportable says what a GGUF LoRA cannot hold, where there is such.
func (m *lora) exportable(b *Base) error {
	switch {
	case m.config.DoRA:
		return errors.New("llama.cpp has no DoRA: its change is not of low rank; merge it")
	case !m.extras.none():
		return fmt.Errorf("the adapter has more than pairs%s, which a GGUF LoRA cannot hold; merge it", m.extras.describe())
	case startsApart(m.config.Init):
		return errors.New("it is the checkpoint of an unfinished run; finish or resume it first")
	case b.Model.Spec.Tied && slices.ContainsFunc(m.modules, func(p loraModule) bool { return p.name == model.EmbedModule }):
		return errors.New("llama.cpp would change the output head too, which is the embedding table in this base")
	}
	return nil
}

// exportEmbedding is the pair of the embedding table, which llama.cpp wants the other way round: a row of lora_a for each
// token.
func (a *Adapter) exportEmbedding(name string, mod loraModule) exportPair {
	pair := exportPair{
		tensor: name, a: linalg.Transpose(a.params[mod.a].Data, mod.rank, mod.in), b: slices.Clone(a.params[mod.b].Data),
		aRows: mod.in, rank: mod.rank, in: mod.rank, out: mod.out,
	}
	if !a.Config.plain() {
		kernels.Scale(float32(mod.scale), pair.b)
	}
	return pair
}

// exportB is a copy of B with its rows permuted and, where alpha cannot say it, the scale in it.
func (a *Adapter) exportB(mod loraModule, heads int) []float32 {
	src := a.params[mod.b : mod.b+1]
	dst := views(src, make([]float32, len(src[0].Data)))
	var perms []permutation
	if heads > 0 {
		perms = []permutation{{0, heads}}
	}
	toBase(dst, src, perms)
	if !a.Config.plain() {
		kernels.Scale(float32(mod.scale), dst[0].Data)
	}
	return dst[0].Data
}

// exportMetadata is the header that llama.cpp asks of an adapter, and where it comes from.
func (a *Adapter) exportMetadata(b *Base, opt ExportOptions) (*gguf.Metadata, error) {
	alpha := float32(0)
	if a.exportsPairs(opt) && a.Config.plain() {
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
	set("peftconv.version", Version)
	if sum := a.Origin.BaseSHA256; sum != "" {
		set(metaBaseSHA256, sum)
	}
	return meta, failed
}

// writePairs writes the file.
func writePairs(out io.Writer, meta *gguf.Metadata, pairs []exportPair, t gguf.Type) error {
	var table []gguf.Tensor
	for _, p := range pairs {
		table = append(table,
			gguf.Tensor{Name: p.tensor + ".lora_a", Shape: []int64{int64(p.in), int64(p.aRows)}, Type: t},
			gguf.Tensor{Name: p.tensor + ".lora_b", Shape: []int64{int64(p.rank), int64(p.out)}, Type: t})
	}
	w, err := gguf.NewWriter(out, meta, table)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		if err := w.WriteTensor(p.tensor+".lora_a", encode(t, p.a, p.in)); err != nil {
			return err
		}
		if err := w.WriteTensor(p.tensor+".lora_b", encode(t, p.b, p.rank)); err != nil {
			return err
		}
	}
	return w.Close()
}

// encode is a matrix with so many columns as bytes of a type without blocks.
func encode(t gguf.Type, x []float32, cols int) []byte {
	dst := make([]byte, len(x)*t.BlockSize())
	quant.Quantize(t, dst, x, cols, nil)
	return dst
}
