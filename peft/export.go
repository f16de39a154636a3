package peft

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/atomicfile"
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
	err := a.exportGGUF(b, path, t)
	if err != nil {
		return fmt.Errorf("export %s: %w", path, err)
	}
	return nil
}

func (a *Adapter) exportGGUF(b *Base, path string, t gguf.Type) error {
	if t != gguf.F32 && t != gguf.F16 {
		return fmt.Errorf("type %v, expected F32 or F16", t)
	}
	pairs, err := a.exportPairs(b)
	if err != nil {
		return err
	}
	meta, err := a.exportMetadata(b)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, func(w io.Writer) error {
		out := bufio.NewWriterSize(w, 1<<20)
		if err := writePairs(out, meta, pairs, t); err != nil {
			return err
		}
		return out.Flush()
	})
}

// exportPair is a pair of matrices under the name of the tensor that they change.
type exportPair struct {
	tensor  string
	a, b    []float32 // (rank, in), (out, rank)
	rank    int
	in, out int
}

// exportPairs lists the pairs in the order of the model, rows as GGUF stores them, scales where they belong.
func (a *Adapter) exportPairs(b *Base) ([]exportPair, error) {
	m, ok := a.method.(*lora)
	if !ok {
		return nil, fmt.Errorf("an adapter of method %s is no LoRA", a.Config.Method)
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
	for _, l := range b.Model.Linears() {
		mod, ok := byLinear[l]
		if !ok {
			continue
		}
		name, heads := b.Model.InGGUF(l)
		pairs = append(pairs, exportPair{
			tensor: name, a: a.params[mod.a].Data, b: a.exportB(mod, heads), rank: mod.rank, in: mod.in, out: mod.out,
		})
	}
	return pairs, nil
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
func (a *Adapter) exportMetadata(b *Base) (*gguf.Metadata, error) {
	alpha := float32(0)
	if a.Config.plain() {
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
			gguf.Tensor{Name: p.tensor + ".lora_a", Shape: []int64{int64(p.in), int64(p.rank)}, Type: t},
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
