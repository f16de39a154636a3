package quantize

import (
	"strings"

	"github.com/peftconv/peftconv/gguf"
)

const (
	keyFileType = "general.file_type"
	keyVersion  = "general.quantization_version"

	keyImatrix        = "quantize.imatrix.file"
	keyImatrixData    = "quantize.imatrix.dataset"
	keyImatrixEntries = "quantize.imatrix.entries_count"
	keyImatrixChunks  = "quantize.imatrix.chunks_count"
)

// quantizationVersion is that of the block types' layouts.
const quantizationVersion uint32 = 2

// maxText is the length at which llama-quantize cuts texts that it records, in bytes.
const maxText = 127

// setMetadata makes the metadata of the whole model: those of the input, then those about the quantization.
func (p *Plan) setMetadata() error {
	p.meta = p.file.Meta.Clone()
	p.meta.RemoveSplit()
	if err := replace(p.meta, keyVersion, quantizationVersion); err != nil {
		return err
	}
	if err := replace(p.meta, keyFileType, p.opt.Type.ID); err != nil {
		return err
	}
	return p.setImatrix()
}

func (p *Plan) setImatrix() error {
	m := p.opt.Imatrix
	if m == nil {
		return nil
	}
	if err := replace(p.meta, keyImatrix, clip(m.Path)); err != nil {
		return err
	}
	if len(m.Datasets) > 0 {
		if err := replace(p.meta, keyImatrixData, clip(m.Datasets[0])); err != nil {
			return err
		}
	}
	if err := replace(p.meta, keyImatrixEntries, uint32(len(m.Entries()))); err != nil || m.Chunks == 0 {
		return err
	}
	return replace(p.meta, keyImatrixChunks, uint32(m.Chunks))
}

func clip(s string) string { return s[:min(len(s), maxText)] }

// replace sets a key and moves it to the end.
func replace(meta *gguf.Metadata, key string, v any) error {
	meta.Delete(key)
	return meta.Set(key, v)
}

// shard is one file of the output.
type shard struct {
	path    string
	meta    *gguf.Metadata
	tensors []*Tensor
}

// shards are the files to write.
func (p *Plan) shards(out string) ([]shard, error) {
	if p.groups == nil {
		return []shard{{out, p.meta, p.all()}}, nil
	}
	files, paths := make([]shard, len(p.groups)), p.Outputs(out)
	for i := range files {
		meta, err := p.shardMetadata(i, len(files))
		if err != nil {
			return nil, err
		}
		files[i] = shard{paths[i], meta, p.groups[i]}
	}
	return files, nil
}

// shardMetadata is the metadata of file i of n, the keys in the order in which llama-quantize leaves them.
func (p *Plan) shardMetadata(i, n int) (*gguf.Metadata, error) {
	meta, err := gguf.SplitMetadata(p.meta, i, n, len(p.Tensors))
	if err != nil {
		return nil, err
	}
	for _, key := range []string{"split.no", "split.count", "split.tensors.count"} {
		v, _ := meta.Get(key)
		if err := replace(meta, key, v); err != nil {
			return nil, err
		}
	}
	return meta, nil
}

// table is the file's table of tensors.
func (s *shard) table() gguf.Lines {
	return gguf.Lines{Len: len(s.tensors), At: func(i int) gguf.Tensor {
		t := s.tensors[i]
		line := *t.source
		line.Type, line.Shape = t.To, t.Shape
		return line
	}}
}

// Outputs are the paths of the files that Write(out) makes.
func (p *Plan) Outputs(out string) []string {
	if p.groups == nil {
		return []string{out}
	}
	paths := make([]string, len(p.groups))
	for i := range paths {
		paths[i] = gguf.SplitPath(strings.TrimSuffix(out, ".gguf"), i, len(paths))
	}
	return paths
}

// Size is the size of all files together, in bytes.
func (p *Plan) Size() (int64, error) {
	files, err := p.shards("")
	if err != nil {
		return 0, err
	}
	total := int64(0)
	for i := range files {
		_, size, err := gguf.HeaderSizeLines(files[i].meta, files[i].table(), gguf.Format{})
		if err != nil {
			return 0, err
		}
		total += size
	}
	return total, nil
}
