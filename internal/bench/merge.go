package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/peft/train"
)

// Merge is how long it takes to merge a LoRA on every linear map into the blocks of a model's file.
type Merge struct {
	Shape    string  `json:"shape"` // its name, or the model's path
	Type     string  `json:"type"`
	Rank     int     `json:"rank"`
	Rounding string  `json:"rounding"` // of the first tensor that changes
	Seconds  float64 `json:"seconds"`  // with opening the base and hashing its weights
	Bytes    int64   `json:"bytes"`    // of the merged tensors, those that were copied among them
	PeakRSS  int64   `json:"peak_rss_bytes"`
}

// mergeRuns is how often a merge is measured; the fastest counts.
const mergeRuns = 2

// measureMerges measures Options.Model, or each shape in each type, whose files it writes into a temporary directory.
func (r *Report) measureMerges(ctx context.Context, o *Options) (err error) {
	dir, remove, err := atomicfile.ScratchDir("", "bench")
	if err != nil {
		return err
	}
	defer remove()
	if o.Model != "" {
		return r.measureMerge(ctx, o, o.Model, o.Model, "", dir)
	}
	return o.eachShape(func(shape string, kind gguf.Type) error {
		spec, err := find(shape)
		if err != nil {
			return err
		}
		path := filepath.Join(dir, "base.gguf")
		if err := atomicfile.Write(path, func(w io.Writer) error { return writeShape(w, &spec, kind) }); err != nil {
			return fmt.Errorf("shape %s: %w", shape, err)
		}
		return r.measureMerge(ctx, o, path, strings.ToLower(shape), kind.String(), dir)
	})
}

// measureMerge measures one base. kind names the type of its weights, "" where they say themselves.
func (r *Report) measureMerge(ctx context.Context, o *Options, path, name, kind, dir string) error {
	b, err := peft.OpenBase(path)
	if err != nil {
		return err
	}
	defer b.Close()
	if kind == "" {
		kind = typesOf(handle.Base(b).Model)
	}
	o.Progress(fmt.Sprintf("merging into %s in %s", name, kind))
	a, err := randomLoRA(b, o.Rank)
	if err != nil {
		return err
	}
	m := Merge{Shape: name, Type: kind, Rank: o.Rank, Seconds: math.Inf(1)}
	for range mergeRuns {
		if err := m.run(ctx, path, a, filepath.Join(dir, "merged")); err != nil {
			return err
		}
	}
	r.Merge = append(r.Merge, m)
	return nil
}

// run merges once.
func (m *Merge) run(ctx context.Context, path string, a *peft.Adapter, dir string) error {
	debug.FreeOSMemory()
	train.ResetPeakRSS()
	start := time.Now()
	b, err := peft.OpenBase(path)
	if err != nil {
		return err
	}
	defer b.Close()
	opt := merge.Options{Progress: func(p merge.Progress) { m.Bytes = p.Size }}
	report, err := merge.Run(ctx, b, []peft.Scaled{{Adapter: a, Scale: 1}}, dir+filepath.Ext(path), opt)
	if err != nil {
		return err
	}
	m.Seconds = min(m.Seconds, time.Since(start).Seconds())
	m.PeakRSS = max(m.PeakRSS, train.PeakRSS())
	if len(report.Tensors) > 0 {
		m.Rounding = report.Tensors[0].Rounding
	}
	return nil
}

// loraSize is the deviation of the random values of a LoRA's B: about what training gives them.
const loraSize = 1e-3

// randomLoRA is a LoRA on every linear map whose tensors are random.
func randomLoRA(b *peft.Base, rank int) (*peft.Adapter, error) {
	a, err := peft.New(b, method.LoRA{Rank: rank})
	if err != nil {
		return nil, err
	}
	for i, p := range handle.Adapter(a).Params() {
		if strings.Contains(p.Name, "lora_B") {
			prng.NewRandom(uint64(i), p.Name).Normal(p.Data, loraSize)
		}
	}
	return a, nil
}

// writeShape writes a GGUF file of random weights, without a vocabulary.
func writeShape(out io.Writer, s *arch.Spec, kind gguf.Type) error {
	meta, a := &gguf.Metadata{}, s.Architecture
	for _, e := range []struct {
		key   string
		value any
	}{
		{"general.architecture", a}, {"tokenizer.ggml.model", "none"}, {a + ".block_count", uint32(s.Layers)},
		{a + ".context_length", uint32(s.Context)}, {a + ".embedding_length", uint32(s.Width)},
		{a + ".feed_forward_length", uint32(s.FFN)}, {a + ".attention.head_count", uint32(s.QueryHeads)},
		{a + ".attention.head_count_kv", uint32(s.KeyHeads)}, {a + ".rope.dimension_count", uint32(s.Rope.Dim)},
		{a + ".rope.freq_base", float32(s.Rope.Base)}, {a + ".attention.layer_norm_rms_epsilon", float32(s.NormEps)},
	} {
		if err := meta.Set(e.key, e.value); err != nil {
			return err
		}
	}
	query, key := s.QueryHeads*s.HeadDim, s.KeyHeads*s.HeadDim
	var table []gguf.Tensor
	add := func(name string, shape ...int) {
		t := gguf.Tensor{Name: name + ".weight", Type: gguf.F32}
		for _, n := range shape {
			t.Shape = append(t.Shape, int64(n))
		}
		if len(shape) > 1 {
			t.Type = kind
			if shape[0]%kind.BlockLen() != 0 {
				t.Type = gguf.Q8_0
			}
		}
		table = append(table, t)
	}
	add("token_embd", s.Width, s.Vocab)
	for i := range s.Layers {
		at := fmt.Sprintf("blk.%d.", i)
		add(at+"attn_norm", s.Width)
		add(at+"attn_q", s.Width, query)
		add(at+"attn_k", s.Width, key)
		add(at+"attn_v", s.Width, key)
		add(at+"attn_output", query, s.Width)
		add(at+"ffn_norm", s.Width)
		add(at+"ffn_gate", s.Width, s.FFN)
		add(at+"ffn_up", s.Width, s.FFN)
		add(at+"ffn_down", s.FFN, s.Width)
	}
	add("output_norm", s.Width)
	if !s.Tied {
		add("output", s.Width, s.Vocab)
	}
	return writeTensors(out, meta, table)
}

// writeTensors writes random matrices, and vectors of ones.
func writeTensors(out io.Writer, meta *gguf.Metadata, table []gguf.Tensor) error {
	buffered := bufio.NewWriterSize(out, 1<<20)
	w, err := gguf.NewWriter(buffered, meta, table)
	if err != nil {
		return err
	}
	for i := range table {
		t := &table[i]
		var data []byte
		if len(t.Shape) == 1 {
			ones := make([]float32, t.Shape[0])
			for i := range ones {
				ones[i] = 1
			}
			data = floats.LittleEndian(ones)
		} else {
			m, err := model.RandomMatrix(t.Type, int(t.Shape[1]), int(t.Shape[0]))
			if err != nil {
				return err
			}
			data = m.Data
		}
		if err := w.WriteTensor(t.Name, data); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}
