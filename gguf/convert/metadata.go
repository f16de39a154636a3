package convert

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
)

// words is the vocabulary.
type words struct{ tokens int }

func (c *conversion) vocabulary() (*words, error) { return &words{}, nil }

// metadata are those of the whole file.
func (c *conversion) metadata(w *words) (*gguf.Metadata, error) {
	meta := &gguf.Metadata{}
	k := arch.NewKeys(c.model, c.config, meta)
	k.FileType, k.Drafts, k.Tokens = c.out.fileType, c.gather.drafts, w.tokens
	for _, out := range c.gather.outputs {
		if out.blocks != nil && c.out.BlockLen() == 1 {
			k.FileType = packedFileType
		}
	}
	steps := []func() error{
		func() error { return meta.Set("general.architecture", c.model.Arch.Name) },
		func() error { return keys(k, c.model.Arch.Conversion.First) },
		func() error { return meta.Set("general.type", "model") },
		func() error { return keys(k, c.model.Arch.Conversion.Keys) },
		func() error { return meta.Set("general.quantization_version", uint32(2)) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return meta, nil
}

// keys sets keys of the architecture.
func keys(k *arch.Keys, set func(*arch.Keys)) error {
	if set != nil {
		set(k)
	}
	return k.Err()
}
