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
	keys   [][]float32 // a layer: (size, Keys·HeadDim), after RoPE
	values [][]float32
}

// NewSession makes an empty session of at most size tokens.
func (m *Model) NewSession(size int) *Session {
	s := &Session{model: m, tape: autograd.NewTape(), size: size}
	s.tape.Record(false)
	for _, layer := range m.Layers {
		s.keys = append(s.keys, make([]float32, size*layer.keyWidth()))
		s.values = append(s.values, make([]float32, size*layer.keyWidth()))
	}
	return s
}

// Len is the number of positions that are taken: tokens read, and the prefix of the hooks once there is a token.
func (s *Session) Len() int { return s.length }

// Room is the number of positions that are free.
func (s *Session) Room() int { return s.size - s.length }

// Cache is the keys, after RoPE, and the values (Len, Keys·HeadDim) of a layer.
func (s *Session) Cache(layer int) (keys, values []float32) {
	n := s.length * s.model.Layers[layer].keyWidth()
	return s.keys[layer][:n], s.values[layer][:n]
}

// Append reads tokens and gives the logits (V) after the last of them; the slice lives until the next Append. Negative
// ids are virtual tokens (Hooks.Embedding). The first call puts the prefix of the hooks in front (Hooks.Prefix), and
// may have no token: then there are no logits. Errors: no room, an id beyond the vocabulary.
func (s *Session) Append(ids []int32, h Hooks) ([]float32, error) {
	m, t := s.model, s.tape
	t.Reset(0)
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
	pos := make([]int32, len(ids))
	for i, id := range ids {
		if int(id) >= m.Spec.Vocab {
			return nil, fmt.Errorf("model: token id %d, beyond the vocabulary of %d", id, m.Spec.Vocab)
		}
		pos[i] = int32(s.length + i)
	}
	x := m.embed(t, ids, h)
	for _, layer := range m.Layers {
		x = t.Checkpoint(x, func(x *autograd.Tensor) *autograd.Tensor {
			return m.layer(t, layer, x, h, &sessionLayer{s, layer, pos})
		})
	}
	s.length += len(ids)
	last := autograd.NewConst(1, x.Cols, x.Row(x.Rows-1))
	return m.head(t, m.norm(t, m.Norm, last, h), h).Data, nil
}

// begin puts the prefix of the hooks into an empty cache.
func (s *Session) begin(h Hooks) error {
	if s.begun {
		return nil
	}
	s.begun = true
	for i, layer := range s.model.Layers {
		keys, values := h.Prefix(s.tape, layer)
		if keys == nil {
			return nil
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

// sessionLayer is one layer of a session at work on new tokens.
type sessionLayer struct {
	*Session
	layer *Layer
	pos   []int32 // of the tokens
}

// attend implements attender: it puts the new keys and values of a layer into the cache and attends over all of it.
func (s *sessionLayer) attend(q, k, v *autograd.Tensor) *autograd.Tensor {
	t, layer := s.tape, s.layer
	q, k = layer.turn(t, q, s.pos), layer.turn(t, k, s.pos)
	keys, values := s.keys[layer.Index], s.values[layer.Index]
	copy(keys[s.length*k.Cols:], k.Data)
	copy(values[s.length*v.Cols:], v.Data)
	return t.CachedAttention(q, keys, values, s.length, layer.heads())
}
