package merge

import (
	"errors"
	"io"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/attach"
)

// toGGUF writes the merged file.
func (m *merger) toGGUF(out string) error {
	if attach.SameFile(out, m.base.Path) {
		return errors.New("the merged file would replace its base: choose another name")
	}
	meta, err := m.ggufMetadata()
	if err != nil {
		return err
	}
	f, err := atomicfile.Create(out)
	if err != nil {
		return err
	}
	defer f.Abort()
	buffered := newBehind(f)
	defer buffered.Close()
	if err := m.writeGGUF(buffered, meta); err != nil {
		return err
	}
	if err := buffered.Close(); err != nil {
		return err
	}
	return f.Commit()
}

// writeGGUF writes all tensors in the order of the base.
func (m *merger) writeGGUF(out io.Writer, meta *gguf.Metadata) error {
	w, err := gguf.NewWriter(out, meta, m.ggufTensors())
	if err != nil {
		return err
	}
	for _, t := range m.base.GGUF.Tensors {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		if err := m.writeGGUFTensor(w, t); err != nil {
			return err
		}
		for _, v := range m.added(t.Name) {
			if err := m.writeGGUFVector(w, v); err != nil {
				return err
			}
		}
	}
	return w.Close()
}

func (m *merger) writeGGUFTensor(w *gguf.Writer, t *gguf.Tensor) error {
	if v := m.vectors[t.Name]; v != nil {
		return m.writeGGUFVector(w, v)
	}
	touched := m.tensors[t.Name]
	if to := m.copiedType(t); touched == nil && to != t.Type {
		return m.writeAs(w, t, to)
	}
	if touched == nil {
		m.report.Copied++
		if err := w.WriteTensor(t.Name, t.Bytes()); err != nil {
			return err
		}
		m.wrote(t.Name, t.Size())
		return nil
	}
	if err := w.Begin(t.Name); err != nil {
		return err
	}
	var n int64
	err := m.writeMerged(t.Name, touched, func(p []byte) error {
		n += int64(len(p))
		_, err := w.Write(p)
		return err
	})
	m.wrote(t.Name, n)
	return err
}

// writeGGUFVector writes a vector that changes or is new.
func (m *merger) writeGGUFVector(w *gguf.Writer, v *mergeVector) error {
	data, err := m.vectorBytes(v)
	if err != nil {
		return err
	}
	if err := w.WriteTensor(v.name, data); err != nil {
		return err
	}
	m.wrote(v.name, v.size())
	return nil
}

// ggufTensors is the tensor table of the output.
func (m *merger) ggufTensors() []gguf.Tensor {
	var table []gguf.Tensor
	for _, t := range m.base.GGUF.Tensors {
		entry := gguf.Tensor{Name: t.Name, Shape: t.Shape, Type: m.copiedType(t)}
		if touched := m.tensors[t.Name]; touched != nil {
			entry.Type = touched.to
		}
		m.size += entry.Size()
		table = append(table, entry)
		for _, v := range m.added(t.Name) {
			table = append(table, gguf.Tensor{Name: v.name, Shape: []int64{int64(len(v.change))}, Type: v.to})
			m.size += v.size()
		}
	}
	return table
}

// ggufMetadata is the base's metadata with a record of the merge.
func (m *merger) ggufMetadata() (*gguf.Metadata, error) {
	sum, err := m.base.SHA256()
	if err != nil {
		return nil, err
	}
	var methods, hashes []string
	var scales []float32
	for _, scaled := range m.adapters {
		hash, err := attach.HashAdapter(scaled.Adapter)
		if err != nil {
			return nil, err
		}
		methods = append(methods, scaled.Adapter.Config.Method)
		hashes = append(hashes, hash)
		scales = append(scales, float32(scaled.Scale))
	}
	meta := m.base.GGUF.Meta.Clone()
	for _, entry := range []struct {
		key   string
		value any
	}{
		{attach.MergeVersion, attach.Version}, {attach.MergeBaseSHA256, sum},
		{attach.MergeMethods, methods}, {attach.MergeAdapters, hashes}, {attach.MergeScales, scales},
	} {
		if err := meta.Set(entry.key, entry.value); err != nil {
			return nil, err
		}
	}
	if m.opt.Type == "" {
		return meta, nil
	}
	if m.mixture != nil {
		return meta, meta.Set("general.file_type", m.mixture.fileType)
	}
	to, err := gguf.ParseType(m.opt.Type)
	if err != nil {
		return nil, err
	}
	if fileType, ok := fileTypes[to]; ok {
		err = meta.Set("general.file_type", fileType)
	}
	return meta, err
}

// fileTypes are the values of general.file_type for files that are mostly of one type.
var fileTypes = map[gguf.Type]uint32{
	gguf.F32: 0, gguf.F16: 1, gguf.Q4_0: 2, gguf.Q4_1: 3, gguf.Q8_0: 7, gguf.Q5_0: 8, gguf.Q5_1: 9, gguf.Q2_K: 10,
	gguf.Q3_K: 12, gguf.Q4_K: 15, gguf.Q5_K: 17, gguf.Q6_K: 18, gguf.IQ4_NL: 25, gguf.IQ4_XS: 30, gguf.BF16: 32,
}
