package pretrain

import (
	"bytes"
	"fmt"
	"io"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/demo/vocab"
	"github.com/peftconv/peftconv/internal/tokenizer"
	"github.com/peftconv/peftconv/quant"
)

// metadata describes a model of the recipe that has not been trained: architecture and vocabulary.
func (r *Recipe) metadata(v *vocab.Vocabulary) (*gguf.Metadata, error) {
	m := &setter{meta: &gguf.Metadata{}}
	m.set("general.architecture", arch.Llama)
	m.set("general.type", "model")
	m.set("general.name", "Valley Tales")
	m.set("general.description",
		"A small model of the tales of one little valley, made by peftconv from text that it writes itself.")
	m.set("general.license", "apache-2.0")
	m.set("general.languages", []string{"en"})
	m.set(arch.Llama+".block_count", uint32(r.Layers))
	m.set(arch.Llama+".context_length", uint32(r.Context))
	m.set(arch.Llama+".embedding_length", uint32(r.Width))
	m.set(arch.Llama+".feed_forward_length", uint32(r.FFN))
	m.set(arch.Llama+".attention.head_count", uint32(r.QueryHeads))
	m.set(arch.Llama+".attention.head_count_kv", uint32(r.KeyHeads))
	m.set(arch.Llama+".attention.layer_norm_rms_epsilon", r.NormEps)
	m.set(arch.Llama+".rope.dimension_count", uint32(r.Width/r.QueryHeads))
	m.set(arch.Llama+".rope.freq_base", r.RopeBase)
	m.set(arch.Llama+".vocab_size", uint32(len(v.Tokens)))
	m.set("tokenizer.ggml.model", tokenizer.ScoredBPE)
	m.set("tokenizer.ggml.pre", "default")
	m.set("tokenizer.ggml.tokens", v.Tokens)
	m.set("tokenizer.ggml.scores", v.Scores)
	m.set("tokenizer.ggml.token_type", v.Types)
	m.set("tokenizer.ggml.bos_token_id", uint32(vocab.BOS))
	m.set("tokenizer.ggml.eos_token_id", uint32(vocab.EOS))
	m.set("tokenizer.ggml.unknown_token_id", uint32(vocab.UNK))
	m.set("tokenizer.ggml.add_bos_token", true)
	m.set("tokenizer.ggml.add_eos_token", false)
	m.set("tokenizer.ggml.add_space_prefix", false)
	return m.meta, m.err
}

// setter sets metadata and keeps the first error.
type setter struct {
	meta *gguf.Metadata
	err  error
}

func (s *setter) set(key string, v any) {
	if err := s.meta.Set(key, v); err != nil && s.err == nil {
		s.err = err
	}
}

// fileTypes are the general.file_type numbers of the types that matrices may be written in.
var fileTypes = map[gguf.Type]uint32{
	gguf.F32: 0, gguf.F16: 1, gguf.Q4_0: 2, gguf.Q4_1: 3, gguf.Q8_0: 7, gguf.Q5_0: 8, gguf.Q5_1: 9,
	gguf.Q4_K: 14, gguf.Q5_K: 16, gguf.Q6_K: 18,
}

// write writes the weights with matrices of type t; norms stay float32.
func (w *weights) write(out io.Writer, meta *gguf.Metadata, t gguf.Type) error {
	s := &setter{meta: meta.Clone()}
	number, ok := fileTypes[t]
	if !ok {
		return fmt.Errorf("write model: matrices of type %v are not known here", t)
	}
	s.set("general.file_type", number)
	if t != gguf.F32 && t != gguf.F16 {
		s.set("general.quantization_version", uint32(2))
	}
	if s.err != nil {
		return s.err
	}
	file, err := gguf.NewWriter(out, s.meta, w.tensors(t))
	if err != nil {
		return err
	}
	for _, weight := range w.list {
		if err := file.WriteTensor(weight.name, weight.encode(t)); err != nil {
			return err
		}
	}
	return file.Close()
}

func (w *weights) tensors(t gguf.Type) []gguf.Tensor {
	list := make([]gguf.Tensor, len(w.list))
	for i, weight := range w.list {
		list[i] = gguf.Tensor{Name: weight.name, Shape: weight.shape(), Type: weight.typeIn(t)}
	}
	return list
}

func (t *weight) typeIn(matrices gguf.Type) gguf.Type {
	if t.rows == 1 {
		return gguf.F32
	}
	return matrices
}

// encode is the tensor's data in a file whose matrices have the given type.
func (t *weight) encode(matrices gguf.Type) []byte {
	kind := t.typeIn(matrices)
	if kind == gguf.F32 {
		return t.bytes()
	}
	out := make([]byte, t.rows*t.cols/kind.BlockLen()*kind.BlockSize())
	quant.Quantize(kind, out, t.tensor.Data, t.cols, nil)
	return out
}

// open reads the model back from memory.
func (w *weights) open(meta *gguf.Metadata, t gguf.Type) (*gguf.File, []byte, error) {
	var b bytes.Buffer
	if err := w.write(&b, meta, t); err != nil {
		return nil, nil, err
	}
	f, err := gguf.Parse(b.Bytes())
	return f, b.Bytes(), err
}
