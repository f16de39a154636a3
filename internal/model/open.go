package model

import (
	"errors"
	"fmt"
	"io"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/store"
)

// ErrUnsupported is wrapped by errors about files in which nothing is wrong, but which cannot be computed with here.
var ErrUnsupported = arch.ErrUnsupported

// FromGGUF is Load for a GGUF file that is open.
func FromGGUF(f *gguf.File) (*Model, error) { return Load(store.OfGGUF(f)) }

// FromHF opens a Hugging Face model directory: config.json and model.safetensors or its sharded form. The weights stay
// in the mapped files until the returned Closer is closed. Errors as Load's.
func FromHF(dir string) (*Model, io.Closer, error) {
	s, err := store.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	m, err := Load(s)
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return m, s, nil
}

// Load reads the architecture and finds the weights of a model; they stay where they are, so the store must stay open
// as long as the model is used. Errors: an architecture or a tensor type that is not supported, metadata or a tensor
// that is missing or has the wrong shape, a tensor of a GGUF file that the architecture has no place for. Those that
// say nothing against the file wrap ErrUnsupported.
func Load(s *store.Store) (*Model, error) {
	info, err := arch.Read(s)
	if err != nil {
		return nil, err
	}
	l := &loader{source: s, arch: info.Arch, hf: info.HF, used: map[string]bool{}}
	m := l.load(info.Spec)
	if s.GGUF != nil {
		l.refuseUnused(s)
	} else if l.err == nil {
		m.Unused = l.unused(s)
	}
	switch {
	case l.err == nil:
		return m, nil
	case s.GGUF == nil:
		return nil, fmt.Errorf("%s: %w", s.Path, l.err)
	}
	return nil, l.err
}

// unused are the tensors that were not asked for.
func (l *loader) unused(s *store.Store) (names []string) {
	for t := range s.Tensors() {
		if !l.used[t.Name] {
			names = append(names, t.Name)
		}
	}
	return names
}

// refuseUnused refuses tensors without a place: computing without them would be computing another model.
func (l *loader) refuseUnused(s *store.Store) {
	for t := range s.Tensors() {
		if !l.used[t.Name] && !l.arch.IsIgnored(t.Name) && !l.spec.IsDraft(t.Name) {
			l.fail("tensor %q has no place in this architecture as it is known here: %w", t.Name, ErrUnsupported)
		}
	}
}
