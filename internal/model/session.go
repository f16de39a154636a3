package model

import (
	"fmt"

	"github.com/peftconv/peftconv/internal/autograd"
)

// Session is one sequence being read or generated, with the keys and values of its tokens kept, after those of a
// prefix.
type Session struct {
	model  *Model
	tape   *autograd.Tape
	begun  bool // the prefix is in
	length int
	size   int         // positions the cache has room for
	keys   [][]float32 // a layer: (size, Keys·HeadDim), after RoPE; empty where it has none of its own
	values [][]float32 // a layer: (size, Keys·ValueDim)
	states []state     // a layer
	inputs roundedInputs
}

// NewSession makes an empty session of at most size tokens.
func (m *Model) NewSession(size int) *Session {
	s := &Session{model: m, tape: autograd.NewTape(), size: size}
	s.tape.Record(false)
	for _, layer := range m.Layers {
		s.keys = append(s.keys, make([]float32, size*layer.KeyWidth()))
		s.values = append(s.values, make([]float32, size*layer.ValueWidth()))
		s.states = append(s.states, layer.newState())
	}
	return s
}

// Len is the number of positions that are taken: tokens read, and the prefix of the hooks once there is a token.
func (s *Session) Len() int { return s.length }

// Room is the number of positions that are free.
func (s *Session) Room() int { return s.size - s.length }

// Cache is the keys, after RoPE, and the values (Len, Keys·HeadDim) and (Len, Keys·ValueDim) of a layer.
func (s *Session) Cache(layer int) (keys, values []float32) {
	l := s.model.Layers[layer]
	return s.keys[layer][:s.length*l.KeyWidth()], s.values[layer][:s.length*l.ValueWidth()]
}

// Append reads tokens and gives the logits (V) after the last of them; the slice lives until the next Append. Negative
// ids are virtual tokens (Hooks.Embedding). The first call puts the prefix of the hooks in front (Hooks.Prefix), and
// may have no token: then there are no logits. Errors: no room, an id beyond the vocabulary.
func (s *Session) Append(ids []int32, h Hooks) ([]float32, error) {
	m, t := s.model, s.tape
	t.Reset(0)
	s.inputs.forget()
	h.Begin(t)
	if err := s.begin(h); err != nil {
		return nil, err
	}
	if len(ids) > s.Room() {
		return nil, fmt.Errorf("model: %d tokens appended to a session with room for %d", len(ids), s.Room())
	}
	if len(ids) == 0 {
		return nil, nil
	}
	if n := m.Positions(); n > 0 && s.length+len(ids) > n {
		return nil, fmt.Errorf("model: %d tokens, but the model has embeddings of %d positions", s.length+len(ids), n)
	}
	pos := make([]int32, len(ids))
	for i, id := range ids {
		if int(id) >= m.Spec.Vocab {
			return nil, fmt.Errorf("model: token id %d, beyond the vocabulary of %d", id, m.Spec.Vocab)
		}
		pos[i] = int32(s.length + i)
	}
	x := m.embed(t, ids, pos, h)
	p := &pass{Model: m, tape: t, hooks: h, bounds: []int32{0, int32(len(ids))}, pos: pos, session: s}
	p.embedAgain(ids, x)
	for i := range m.Layers {
		x = t.CheckpointOf(x, &layerPass{p, m.Layers[i : i+1]})
	}
	s.length += len(ids)
	last := autograd.NewConst(1, x.Cols, x.Row(x.Rows-1))
	return s.head(m.norm(t, m.Norm, last, h), h).Data, nil
}

// begin puts the prefix of the hooks into an empty cache.
func (s *Session) begin(h Hooks) error {
	if s.begun {
		return nil
	}
	s.begun = true
	for i, layer := range s.model.Layers {
		keys, values := h.Prefix(s.tape, layer)
		if keys == nil { // of this layer or, without a prefix, of all
			continue
		}
		if keys.Rows > s.size {
			return fmt.Errorf("model: a prefix of %d keys in a session with room for %d", keys.Rows, s.size)
		}
		copy(s.keys[i], keys.Data)
		copy(s.values[i], values.Data)
		s.length = keys.Rows
	}
	return nil
}

// store puts the keys and values of new tokens into the cache of a layer.
func (s *Session) store(l *Layer, kv keysValues) {
	copy(s.keys[l.Index][s.length*kv.keys.Cols:], kv.keys.Data)
	copy(s.values[l.Index][s.length*kv.values.Cols:], kv.values.Data)
}
