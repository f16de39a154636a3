package arch

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/peftconv/peftconv/internal/store"
)

// Model is what a model's files say that it is.
type Model struct {
	Arch *Arch
	HF   *HFModel // the kind of model that config.json names; nil for a GGUF file
	Spec Spec

	saysTied bool // config.json says whether the output head is the embedding table
}

// Read finds the architecture of a model, and what it computes. Errors: an architecture that is not known or cannot be
// computed with, metadata that are missing or of the wrong kind. Those that say nothing against the files wrap
// ErrUnsupported.
func Read(s *store.Store) (*Model, error) {
	if s.GGUF != nil {
		return readGGUF(s)
	}
	config, err := s.Config()
	if err != nil {
		return nil, err
	}
	m, err := readHF(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.ConfigPath(), err)
	}
	if head := m.Arch.Tensor(OutputHead); head != nil && !m.saysTied {
		_, has := s.Tensor(m.HF.Rename(head.HF))
		m.Spec.Tied = !has
	}
	return m, nil
}

// ReadConfig finds the architecture that the config.json at a path describes, and what it computes, without weights.
// Whether the output head is the embedding table is what the configuration says, or else the usual of its kind. Errors
// as Read's.
func ReadConfig(path string) (*Model, error) {
	config, err := store.ReadConfig(path)
	if err != nil {
		return nil, err
	}
	m, err := readHF(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

func readGGUF(s *store.Store) (*Model, error) {
	meta := s.GGUF.Meta
	name, _ := meta.String("general.architecture")
	if kind, ok := meta.String("general.type"); ok && kind != "model" {
		return nil, fmt.Errorf("general.type is %q, expected a model", kind)
	}
	a := ByName(name)
	if a == nil || a.Spec == nil {
		return nil, fmt.Errorf("architecture %q is %w, expected one of %s", name, ErrUnsupported, strings.Join(Names(), ", "))
	}
	m := &Model{Arch: a}
	f := &Fields{arch: name, meta: meta}
	if m.Spec = a.Spec(f); f.err != nil {
		return nil, f.err
	}
	if s.GGUF.Order == binary.BigEndian {
		return nil, fmt.Errorf("the file is big-endian: computing with its tensors is %w", ErrUnsupported)
	}
	m.Spec.Architecture = name
	if head := a.Tensor(OutputHead); head != nil {
		m.Spec.Tied = s.GGUF.Tensor(head.GGUF) == nil
	}
	if t := s.GGUF.Tensor(a.Tensor(TokenEmbedding).GGUF); t != nil {
		m.Spec.Vocab = int(min(t.Rows(), maxInt))
	}
	return m, nil
}

// ReadValues is Read for the values of a config.json, without its tensors.
func ReadValues(config map[string]any) (*Model, error) { return readHF(config) }

func readHF(config map[string]any) (*Model, error) {
	kind, _ := config["model_type"].(string)
	a, hf := ByModelType(kind)
	if a == nil {
		types := ModelTypes()
		last := len(types) - 1
		return nil, fmt.Errorf("model_type %q is %w, expected %s or %s",
			kind, ErrUnsupported, strings.Join(types[:last], ", "), types[last])
	}
	m := &Model{Arch: a, HF: hf}
	f := fieldsOf(hf, config)
	if m.Spec = a.Spec(f); f.err != nil {
		return nil, f.err
	}
	m.Spec.Architecture = a.Name
	_, m.saysTied = f.value("", "tie_word_embeddings")
	return m, m.Spec.Check()
}
