package merge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/store"
	"github.com/peftconv/peftconv/safetensors"
)

// toHF writes the merged directory: the same shards, and copies of the other files.
func (m *merger) toHF(out string) error {
	if attach.SameFile(out, m.base.Path) {
		return errors.New("the merged directory would replace its base: choose another name")
	}
	if entries, err := os.ReadDir(out); err == nil && len(entries) > 0 {
		return errors.New("the directory exists and is not empty")
	}
	for _, path := range m.base.Store.Files {
		if err := m.measureShard(path); err != nil {
			return err
		}
	}
	return atomicfile.WriteDir(out, store.IsPart, func(dir string) error {
		for _, path := range m.base.Store.Files {
			if err := m.writeShard(path, filepath.Join(dir, filepath.Base(path))); err != nil {
				return fmt.Errorf("%s: %w", filepath.Base(path), err)
			}
		}
		return m.copyOthers(dir)
	})
}

// measureShard adds a shard's bytes to the size of the output.
func (m *merger) measureShard(path string) error {
	f, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, t := range f.Tensors {
		m.size += m.outputSize(t)
		for _, v := range m.added(t.Name) {
			m.size += v.size()
		}
	}
	return nil
}

// outputSize is the bytes that a tensor has in the output.
func (m *merger) outputSize(t *safetensors.Tensor) int64 {
	if touched := m.tensors[t.Name]; touched != nil {
		return int64(touched.w.Rows) * int64(touched.w.Cols) * int64(touched.to.BlockSize())
	}
	return int64(len(t.Bytes())) * int64(m.untouchedType(t).Bits()) / int64(t.DType.Bits())
}

// untouchedType is the type of a tensor that the adapters do not change: its own, or F32 of a vector where all is.
func (m *merger) untouchedType(t *safetensors.Tensor) safetensors.DType {
	if m.widens() && len(t.Shape) == 1 && (t.DType == "F16" || t.DType == "BF16") {
		return "F32"
	}
	return t.DType
}

// writeShard writes one safetensors file.
func (m *merger) writeShard(from, to string) error {
	f, err := safetensors.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	m.shard = f
	defer func() { m.shard = nil }()
	out, err := atomicfile.Create(to)
	if err != nil {
		return err
	}
	defer out.Abort()
	buffered := newBehind(out)
	defer buffered.Close()
	if err := m.writeTensors(buffered, f); err != nil {
		return err
	}
	if err := buffered.Close(); err != nil {
		return err
	}
	return out.Commit()
}

// writeTensors writes the tensors of one file.
func (m *merger) writeTensors(out io.Writer, f *safetensors.File) error {
	var table []safetensors.Tensor
	for _, t := range f.Tensors {
		entry := safetensors.Tensor{Name: t.Name, DType: m.untouchedType(t), Shape: t.Shape}
		if touched := m.tensors[t.Name]; touched != nil {
			entry.DType = model.Dtypes[touched.to]
		}
		table = append(table, entry)
		for _, v := range m.added(t.Name) {
			table = append(table, safetensors.Tensor{Name: v.name, DType: model.Dtypes[v.to],
				Shape: []int64{int64(len(v.change))}})
		}
	}
	w, err := safetensors.NewWriter(out, f.Metadata, table)
	if err != nil {
		return err
	}
	for _, entry := range w.Tensors() {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		if v := m.vectors[entry.Name]; v != nil {
			err = m.writeVector(w, v)
		} else {
			err = m.writeTensor(w, f.Tensor(entry.Name))
		}
		if err != nil {
			return err
		}
	}
	return w.Close()
}

// writeVector writes a vector that changes or is new.
func (m *merger) writeVector(w *safetensors.Writer, v *mergeVector) error {
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

func (m *merger) writeTensor(w *safetensors.Writer, t *safetensors.Tensor) error {
	touched := m.tensors[t.Name]
	if touched == nil {
		m.report.Copied++
		data := t.Bytes()
		if m.untouchedType(t) != t.DType {
			x, err := t.Float32s()
			if err != nil {
				return fmt.Errorf("tensor %s: %w", t.Name, err)
			}
			data = floats.LittleEndian(x)
		}
		if err := w.WriteTensor(t.Name, data); err != nil {
			return err
		}
	} else {
		if err := w.Begin(t.Name); err != nil {
			return err
		}
		err := m.writeMerged(t.Name, touched, func(p []byte) error {
			_, err := w.Write(p)
			return err
		})
		if err != nil {
			return err
		}
	}
	m.wrote(t.Name, m.outputSize(t))
	return nil
}

// copyOthers copies configuration, tokenizer and whatever else is in the base's directory.
func (m *merger) copyOthers(dir string) error {
	entries, err := os.ReadDir(m.base.Path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		from := filepath.Join(m.base.Path, name)
		if info, err := os.Stat(from); err != nil || !info.Mode().IsRegular() ||
			store.IsWeights(name) || filepath.Ext(name) == ".onnx" {
			continue
		}
		to := filepath.Join(dir, name)
		switch name {
		case attach.IndexFile:
			err = changeFile(from, to, infile.Index, m.newIndex)
		case "config.json":
			err = changeFile(from, to, infile.Config, m.newConfig)
		default:
			err = copyFile(from, to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// changeFile writes a file with its content changed.
func changeFile(from, to string, limit int64, change func([]byte) ([]byte, error)) error {
	data, err := infile.Read(from, limit)
	if err != nil {
		return err
	}
	if data, err = change(data); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(from), err)
	}
	return attach.WriteText(to, string(data))
}

// copyFile copies a file of any size.
func copyFile(from, to string) error {
	f, err := infile.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return atomicfile.Write(to, func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	})
}

// newIndex is the index of a sharded model with the size that the merged tensors have.
func (m *merger) newIndex(data []byte) ([]byte, error) {
	if m.opt.Type == "" && !m.addsVectors() {
		return data, nil
	}
	var index map[string]any
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, err
	}
	if meta, ok := index["metadata"].(map[string]any); ok {
		meta["total_size"] = m.size
	}
	if files, ok := index["weight_map"].(map[string]any); ok {
		for _, v := range m.vectors {
			if v.after != "" {
				files[v.name] = files[v.after]
			}
		}
	}
	return json.MarshalIndent(index, "", "  ")
}
