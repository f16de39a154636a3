package convert

import (
	"path/filepath"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/hfvocab"
	"github.com/peftconv/peftconv/internal/modelcard"
)

// folder is the directory of the model's files.
func (c *conversion) folder() string { return filepath.Dir(c.store.Safetensors.Path) }

// words are the tokens of a model.
type words interface {
	Size() int
	Notes() []string
	Set(meta *gguf.Metadata) error
}

// vocabulary reads the tokens.
func (c *conversion) vocabulary() (words, error) {
	return hfvocab.Read(c.folder(), c.config, hfvocab.Options{Vocabulary: c.model.Arch.Vocabulary,
		PreTokenizer: c.opt.PreTokenizer, Force: c.opt.ForcePreTokenizer})
}

// metadata are those of the whole file, in the order of the reference converter.
func (c *conversion) metadata(card *modelcard.Card, p modelcard.Parameters,
	words words) (*gguf.Metadata, error) {
	meta := &gguf.Metadata{}
	k := arch.NewKeys(c.model, c.config, meta)
	k.FileType, k.Drafts = c.out.fileType, c.gather.drafts
	for _, out := range c.gather.outputs {
		if out.blocks != nil && c.out.BlockLen() == 1 {
			k.FileType = packedFileType
		}
	}
	for _, step := range []func() error{
		func() error { return meta.Set("general.architecture", k.Arch.Name) },
		func() error { return keys(k, c.model.Arch.Conversion.First) },
		func() error { return meta.Set("general.type", "model") },
		func() error { return card.Set(meta, p) },
		func() error { return keys(k, c.model.Arch.Conversion.Keys) },
		func() error { return meta.Set("general.quantization_version", uint32(2)) },
		func() error { return words.Set(meta) },
	} {
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
