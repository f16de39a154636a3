package model

import (
	"fmt"

	"github.com/peftconv/peftconv/internal/autograd"
)

// Session is one sequence being read or generated, with the keys and values of its tokens kept.
type Session struct {
	model  *Model
	tape   *autograd.Tape
	length int
	size   int         // tokens the cache has room for
	keys   [][]float32 // a layer: (size, Keys·HeadDim), after RoPE
	values [][]float32
}

// NewSession makes an empty session of at most size tokens.
func (m *Model) NewSession(size int) *Session {
	s := &Session{model: m, tape: autograd.NewTape(), size: size}
	s.tape.Record(false)
	for range m.Layers {
		s.keys = append(s.keys, make([]float32, size*m.Spec.KeyHeads*m.Spec.HeadDim))
		s.values = append(s.values, make([]float32, size*m.Spec.KeyHeads*m.Spec.HeadDim))
	}
	return s
}

// Len is the number of tokens read.
func (s *Session) Len() int { return s.length }

// Room is the number of tokens that can still be appended.
func (s *Session) Room() int { return s.size - s.length }

// Append reads tokens and gives the logits (V) after the last of them; the slice lives until the next Append.
// Errors: no token, no room, an id beyond the vocabulary.
func (s *Session) Append(ids []int32, h Hooks) ([]float32, error) {
	m := s.model
	if len(ids) == 0 || len(ids) > s.Room() {
		return nil, fmt.Errorf("model: %d tokens appended to a session with room for %d", len(ids), s.Room())
	}
	pos := make([]int32, len(ids))
	for i, id := range ids {
		if id < 0 || int(id) >= m.Spec.Vocab {
			return nil, fmt.Errorf("model: token id %d, beyond the vocabulary of %d", id, m.Spec.Vocab)
		}
		pos[i] = int32(s.length + i)
	}
	t := s.tape
	t.Reset(0)
	h.Begin(t)
	x := m.embed(t, ids, h)
	for i, layer := range m.Layers {
		x = t.Checkpoint(x, func(x *autograd.Tensor) *autograd.Tensor {
			return m.layer(t, layer, x, h, func(q, k, v *autograd.Tensor) *autograd.Tensor {
				return s.attend(i, pos, q, k, v)
			})
		})
	}
	s.length += len(ids)
	last := autograd.NewConst(1, x.Cols, x.Row(x.Rows-1))
	return m.head(t, m.norm(t, m.Norm, last, h), h).Data, nil
}

// attend puts the new keys and values of a layer into the cache and attends over all of it.
func (s *Session) attend(layer int, pos []int32, q, k, v *autograd.Tensor) *autograd.Tensor {
	m, t := s.model, s.tape
	q = t.Rope(q, pos, m.Spec.HeadDim, m.rope)
	k = t.Rope(k, pos, m.Spec.HeadDim, m.rope)
	copy(s.keys[layer][s.length*k.Cols:], k.Data)
	copy(s.values[layer][s.length*v.Cols:], v.Data)
	return t.CachedAttention(q, s.keys[layer], s.values[layer], s.length, m.heads())
}
