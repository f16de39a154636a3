package model

import (
	"fmt"
	"slices"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/kernels"
)

// Session is one sequence being read or generated, with the keys and values of its tokens kept, after those of a
// prefix.
type Session struct {
	model  *Model
	tape   *autograd.Tape
	begun  bool // the prefix is in
	length int
	size   int      // positions the cache has room for
	keys   []*cache // a layer: after RoPE; empty where it has none of its own
	values []*cache // a layer
	states []state  // a layer
	inputs roundedInputs
	batch  []*Session // of AppendEach
}

// NewSession makes an empty session of at most size tokens, with keys and values in float32.
func (m *Model) NewSession(size int) *Session { return m.NewSessionOf(gguf.F32, size) }

// NewSessionOf makes an empty session of at most size tokens, with keys and values in a type that CheckCache allows.
func (m *Model) NewSessionOf(kind gguf.Type, size int) *Session {
	s := &Session{model: m, tape: autograd.NewTape(), size: size}
	s.tape.Record(false)
	for _, layer := range m.Layers {
		heads := layer.Spec.KeyHeads
		if layer.KeyWidth() == 0 {
			heads = 0
		}
		s.keys = append(s.keys, newCache(kind, size, heads, layer.KeyWidth()))
		s.values = append(s.values, newCache(kind, size, heads, layer.ValueWidth()))
		s.states = append(s.states, layer.newState())
	}
	return s
}

// Fork is a session that has read the same and goes on alone.
func (s *Session) Fork() *Session {
	f := &Session{model: s.model, tape: autograd.NewTape(), begun: s.begun, length: s.length, size: s.size}
	f.tape.Record(false)
	for i := range s.keys {
		f.keys = append(f.keys, s.keys[i].copy(s.length))
		f.values = append(f.values, s.values[i].copy(s.length))
		f.states = append(f.states, state{slices.Clone(s.states[i].conv), slices.Clone(s.states[i].sums)})
	}
	return f
}

// Len is the number of positions that are taken: tokens read, and the prefix of the hooks once there is a token.
func (s *Session) Len() int { return s.length }

// Room is the number of positions that are free.
func (s *Session) Room() int { return s.size - s.length }

// Cache is the keys, after RoPE, and the values (Len, Keys·HeadDim) and (Len, Keys·ValueDim) of a layer.
func (s *Session) Cache(layer int) (keys, values []float32) {
	return s.keys[layer].values(s.length), s.values[layer].values(s.length)
}

// Append reads tokens and gives the logits (V) after the last of them; the slice lives until the next Append. Negative
// ids are virtual tokens (Hooks.Embedding). The first call puts the prefix of the hooks in front (Hooks.Prefix), and
// may have no token: then there are no logits. Errors: no room, an id beyond the vocabulary.
func (s *Session) Append(ids []int32, h Hooks) ([]float32, error) {
	s.tape.Reset(0)
	s.inputs.forget()
	h.Begin(s.tape)
	if err := s.begin(h); err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, nil
	}
	s.batch = append(s.batch[:0], s)
	logits, err := s.read([]int32{0, int32(len(ids))}, ids, h)
	if err != nil {
		return nil, err
	}
	return logits.Data, nil
}

// AppendEach reads one token in each of several sessions of one model, which have read something before, and gives the
// logits after each: those that Append gives, to the bit. They live until the next call. Sessions of a model without
// recurrence are read together: every weight is read from memory once. Errors: those of Append.
func AppendEach(all []*Session, ids []int32, h Hooks) ([][]float32, error) {
	logits := make([][]float32, len(all))
	for first := 0; first < len(all); {
		n := 1
		if all[0].together() {
			n = min(len(all)-first, mostTogether)
		}
		some, tokens := all[first:first+n], ids[first:first+n]
		if n == 1 {
			x, err := some[0].Append(tokens, h)
			if err != nil {
				return nil, err
			}
			logits[first] = x
		} else if err := appendTogether(logits[first:], some, tokens, h); err != nil {
			return nil, err
		}
		first += n
	}
	return logits, nil
}

// mostTogether is the most rows that are multiplied in the same way as one.
const mostTogether = 16

// together says whether several sessions of the model can be read at once.
func (s *Session) together() bool {
	for _, l := range s.model.Layers {
		if l.Spec.Mixer != arch.SelfAttention && l.Spec.Mixer != arch.NoMixer {
			return false
		}
	}
	return true
}

// appendTogether is AppendEach of all sessions at once.
func appendTogether(logits [][]float32, all []*Session, ids []int32, h Hooks) error {
	s := all[0]
	s.tape.Reset(0)
	s.inputs.forget()
	h.Begin(s.tape)
	bounds := make([]int32, len(all)+1)
	for i := range all {
		bounds[i+1] = int32(i + 1)
	}
	s.batch = append(s.batch[:0], all...)
	x, err := s.read(bounds, ids, h)
	if err != nil {
		return err
	}
	for i := range all {
		logits[i] = x.Row(i)
	}
	return nil
}

// read reads the tokens of the sessions of the batch, whose bounds are given, and gives the logits after the last of
// each.
func (s *Session) read(bounds, ids []int32, h Hooks) (*autograd.Tensor, error) {
	m, t := s.model, s.tape
	pos := make([]int32, len(ids))
	for k, one := range s.batch {
		from, to := bounds[k], bounds[k+1]
		if n := int(to - from); n > one.Room() {
			return nil, fmt.Errorf("model: %d tokens appended to a session with room for %d", n, one.Room())
		}
		end := one.length + int(to-from)
		if n := m.Positions(); n > 0 && end > n {
			return nil, fmt.Errorf("model: %d tokens, but the model has embeddings of %d positions", end, n)
		}
		for i := from; i < to; i++ {
			if int(ids[i]) >= m.Spec.Vocab {
				return nil, fmt.Errorf("model: token id %d, beyond the vocabulary of %d", ids[i], m.Spec.Vocab)
			}
			pos[i] = int32(one.length) + i - from
		}
	}
	x := m.embed(t, ids, pos, h)
	p := &pass{Model: m, tape: t, hooks: h, bounds: bounds, pos: pos, session: s}
	p.embedAgain(ids, x)
	for i := range m.Layers {
		x = t.CheckpointOf(x, &layerPass{p, m.Layers[i : i+1]})
	}
	last := t.Tensor(len(s.batch), x.Cols)
	for k, one := range s.batch {
		one.length += int(bounds[k+1] - bounds[k])
		copy(last.Row(k), x.Row(int(bounds[k+1])-1))
	}
	return s.head(m.norm(t, m.Norm, last, h), h), nil
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
		s.keys[i].store(0, keys.Data)
		s.values[i].store(0, values.Data)
		s.length = keys.Rows
	}
	return nil
}

// attend is attention of new tokens of the batch over the caches of layer from; kv are the keys and values that the
// layer made of them, put into the caches first, or none.
func (p *pass) attendCached(l *Layer, from int, q *autograd.Tensor, kv keysValues) *autograd.Tensor {
	s := p.session
	y := p.tape.Tensor(q.Rows, l.Spec.QueryHeads*l.Spec.Values())
	heads := l.heads()
	one := func(k int) {
		b, i, j := s.batch[k], int(p.bounds[k]), int(p.bounds[k+1])
		if kv.keys != nil {
			b.keys[from].store(b.length, kv.keys.Data[i*kv.keys.Cols:j*kv.keys.Cols])
			b.values[from].store(b.length, kv.values.Data[i*kv.values.Cols:j*kv.values.Cols])
		}
		autograd.AttendCached(y.Data[i*y.Cols:j*y.Cols], q.Data[i*q.Cols:j*q.Cols], b.keys[from].rows(),
			b.values[from].rows(), b.length, j-i, heads)
	}
	if n := len(s.batch); n < kernels.Threads() {
		for k := range n {
			one(k)
		}
	} else {
		kernels.Parallel(n, one)
	}
	p.tape.Attended()
	return y
}
