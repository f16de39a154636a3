package lorafile

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/linalg"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/model"
)

// Keys and values of the metadata of a GGUF LoRA.
const (
	TypeKey         = "general.type"
	Type            = "adapter"
	KindKey         = "adapter.type"
	Kind            = "lora"
	AlphaKey        = "adapter.lora.alpha" // missing or 0: products are not scaled
	InvocationKey   = "adapter.alora.invocation_tokens"
	ArchitectureKey = "general.architecture"
)

// Endings of the names of the tensors of a pair.
const (
	EndA = ".lora_a"
	EndB = ".lora_b"
)

// normEnd is the ending of tensors that llama.cpp leaves out without a word.
const normEnd = "_norm.weight"

// Load reads the GGUF LoRA at a path for a base, which may be an outline. Halves of any type that can be dequantized
// are read. Errors name the file: one that is no LoRA, or of another architecture; a tensor without its other half, of
// another shape, or of no tensor of the base.
func Load(path string, b *attach.Base) (*attach.Adapter, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load adapter: %w", err)
	}
	defer f.Close()
	a, err := Read(f, b)
	if err != nil {
		return nil, fmt.Errorf("load adapter %s: %w", path, err)
	}
	return a, nil
}

// Read is Load for a file that is open.
func Read(f *gguf.File, b *attach.Base) (*attach.Adapter, error) {
	if err := Check(f); err != nil {
		return nil, err
	}
	if name, _ := f.Meta.String(ArchitectureKey); name != b.Architecture() {
		return nil, errkind.Errorf(attach.ErrWrongBase, "%s is %q, but %s is %q", ArchitectureKey, name, b.Path,
			b.Architecture())
	}
	r := &reader{file: f, base: b, places: placesOf(b.Model)}
	r.alpha, _ = f.Meta.Float(AlphaKey)
	list, err := pairsIn(f)
	if err != nil {
		return nil, err
	}
	parts, err := r.pairs(list)
	if err != nil {
		return nil, err
	}
	return r.adapter(parts)
}

// Check reports a file that is no LoRA.
func Check(f *gguf.File) error {
	for _, want := range [][2]string{{TypeKey, Type}, {KindKey, Kind}} {
		if got, _ := f.Meta.String(want[0]); got != want[1] {
			return fmt.Errorf("%s is %q, expected %q: not a LoRA", want[0], got, want[1])
		}
	}
	if v, ok := f.Meta.Get(AlphaKey); ok {
		if alpha, ok := f.Meta.Float(AlphaKey); !ok || !attach.IsSingle(alpha) {
			return fmt.Errorf("%s is %v, expected a finite number", AlphaKey, v)
		}
	}
	if v, ok := f.Meta.Get(InvocationKey); ok {
		tokens, ok := f.Meta.Ints(InvocationKey)
		if !ok || slices.ContainsFunc(tokens, func(id int64) bool { return id < 0 || id > math.MaxInt32 }) {
			return fmt.Errorf("%s is %.60v, expected a list of token ids", InvocationKey, v)
		}
	}
	return nil
}

// CheckAlone is Load as far as a file can be read without a base: it reports what no base makes good.
func CheckAlone(f *gguf.File) error {
	if err := Check(f); err != nil {
		return err
	}
	list, err := pairsIn(f)
	if err != nil {
		return err
	}
	for _, p := range list {
		if err := p.fit(); err != nil {
			return err
		}
		for _, t := range []*gguf.Tensor{p.a, p.b} {
			if _, err := values(t); err != nil {
				return err
			}
		}
	}
	return nil
}

// tensorPair is the two tensors of a pair, and the name of that which it changes.
type tensorPair struct {
	name string
	a, b *gguf.Tensor
}

// pairsIn are the pairs of a file. Each tensor must be half of one, or belong to a norm, which llama.cpp leaves out.
func pairsIn(f *gguf.File) ([]tensorPair, error) {
	var list []tensorPair
	for _, t := range f.Tensors {
		name, isA := strings.CutSuffix(t.Name, EndA)
		other, isB := strings.CutSuffix(t.Name, EndB)
		switch {
		case isA:
			b := f.Tensor(name + EndB)
			if b == nil {
				return nil, fmt.Errorf("tensor %q has no %q beside it", t.Name, name+EndB)
			}
			list = append(list, tensorPair{name, t, b})
		case isB && f.Tensor(other+EndA) == nil:
			return nil, fmt.Errorf("tensor %q has no %q beside it", t.Name, other+EndA)
		case !isB && !strings.HasSuffix(t.Name, normEnd):
			return nil, fmt.Errorf("tensor %q is no half of a pair: expected a name that ends in %s or %s", t.Name, EndA, EndB)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("no pair in it")
	}
	return list, nil
}

// fit reports halves that are of no common rank.
func (p *tensorPair) fit() error {
	a, b := p.a.Shape, p.b.Shape
	turned := strings.HasPrefix(p.name, "token_embd.") && len(a) == 2 && len(b) == 2 && a[0] == b[0]
	switch {
	case len(a) != len(b) || len(a) < 2 || len(a) > 3:
		return fmt.Errorf("tensors %q and %q have %d and %d dimensions, expected 2, or 3 where there are experts", p.a.Name,
			p.b.Name, len(a), len(b))
	case a[1] != b[0] && !turned:
		return fmt.Errorf("tensors %q and %q are of rank %d and %d", p.a.Name, p.b.Name, a[1], b[0])
	case len(a) == 3 && a[2] != b[2]:
		return fmt.Errorf("tensors %q and %q are of %d and %d experts", p.a.Name, p.b.Name, a[2], b[2])
	}
	return nil
}

// values are the numbers of a tensor, which must be finite.
func values(t *gguf.Tensor) ([]float32, error) {
	x, err := t.Float32s()
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	if i := floats.FirstNonFinite(x); i >= 0 {
		return nil, fmt.Errorf("tensor %q: value %d is %v", t.Name, i, x[i])
	}
	return x, nil
}

// place is where a tensor has the rows of a linear map.
type place struct {
	linear *model.Linear
	model.Location
}

// placesOf are the places of all linear maps of a model by tensor: where its own file has them, and where files that
// hold each map apart, or several in one tensor, would.
func placesOf(m *model.Model) map[string][]place {
	places := map[string][]place{}
	for _, l := range m.Matrices() {
		own := m.Location(l)
		places[own.Tensor] = append(places[own.Tensor], place{l, own})
		t := m.Arch.Tensor(l.Role)
		apart := own
		apart.Tensor, apart.First, apart.Rows = t.InGGUF(l.Layer), 0, l.W.Rows
		fused := own
		fused.Tensor = t.Within.In(false, l.Layer)
		if t.Within != nil {
			fused.First, fused.Rows = t.Within.Rows(&m.Spec, l.Layer)
		}
		for _, other := range []model.Location{apart, fused} {
			if other.Tensor != "" && other.Tensor != own.Tensor {
				places[other.Tensor] = append(places[other.Tensor], place{l, other})
			}
		}
	}
	return places
}

// reader reads one file.
type reader struct {
	file   *gguf.File
	base   *attach.Base
	places map[string][]place
	alpha  float64
}

// pairs are the pairs of all linear maps that the file has, in the order of Hugging Face files or, of parts of joint
// modules, of the base.
func (r *reader) pairs(list []tensorPair) (map[*model.Linear]attach.Pair, error) {
	all := map[*model.Linear]attach.Pair{}
	for _, pair := range list {
		ta := pair.a
		places := r.places[pair.name]
		if len(places) == 0 {
			return nil, errkind.Errorf(attach.ErrWrongBase, "tensor %q: %s has no linear map in a tensor %q (it has %d "+
				"layers%s): an adapter of another base?", ta.Name, r.base.Path, pair.name, len(r.base.Model.Layers),
				attach.TiedNote(r.base))
		}
		found, err := r.split(ta, pair.b, places)
		if err != nil {
			return nil, err
		}
		for i, p := range found {
			if _, twice := all[places[i].linear]; twice {
				return nil, fmt.Errorf("tensor %q: another pair is of %s too", ta.Name, places[i].linear.Module)
			}
			if p.Rank > 0 {
				all[places[i].linear] = p
			}
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no pair in it")
	}
	return all, nil
}

// halves are the numbers of a pair: A (experts, rank, cols) and B (experts, rows, rank).
type halves struct {
	a, b       []float32
	rank       int
	cols, rows int // of the matrix, or of that of each expert
}

// read reads a pair of a tensor, of so many experts.
func (r *reader) read(ta, tb *gguf.Tensor, first *place) (h halves, err error) {
	experts := max(first.Experts, 1)
	h.cols, h.rows, h.rank = first.linear.W.Cols, first.Rows, int(tb.Cols())
	embedding := first.linear.Role == arch.TokenEmbedding
	wantA, wantB := []int64{int64(h.cols), int64(h.rank)}, []int64{int64(h.rank), int64(h.rows)}
	if embedding { // W is (V, D), and the pair that of its transposed
		wantA, wantB = []int64{int64(h.rank), int64(h.rows)}, []int64{int64(h.rank), int64(h.cols)}
		h.cols, h.rows = h.rows, h.cols
	}
	if first.Experts > 0 {
		wantA, wantB = append(wantA, int64(experts)), append(wantB, int64(experts))
	}
	turned := embedding && !slices.Equal(ta.Shape, wantA) && slices.Equal(ta.Shape, []int64{wantA[1], wantA[0]})
	if turned {
		wantA = ta.Shape
	}
	for _, half := range []struct {
		t    *gguf.Tensor
		want []int64
		x    *[]float32
	}{{ta, wantA, &h.a}, {tb, wantB, &h.b}} {
		if !slices.Equal(half.t.Shape, half.want) {
			return h, errkind.Errorf(attach.ErrWrongBase, "tensor %q has the shape %v, expected %v for %s: an adapter of "+
				"another base?", half.t.Name, half.t.Shape, half.want, r.base.Path)
		}
		if *half.x, err = values(half.t); err != nil {
			return h, err
		}
	}
	if embedding && !turned {
		h.a = linalg.Transpose(h.a, h.cols, h.rank)
	}
	return h, nil
}

// split takes the pair of a tensor apart into those of the linear maps that it has rows of. A rank that is 0 is that of
// a map, or an expert, that the pair does not change: where maps have pairs of their own, these stand as blocks in that
// of the tensor, and smaller ones of experts are filled up with zeros.
func (r *reader) split(ta, tb *gguf.Tensor, places []place) ([]attach.Pair, error) {
	h, err := r.read(ta, tb, &places[0])
	if err != nil {
		return nil, err
	}
	pairs := make([]attach.Pair, len(places))
	for i, p := range places {
		pair := &pairs[i]
		pair.Module, pair.Rank, pair.In, pair.Out = p.linear.Module, h.rank, h.cols, p.linear.W.Rows
		pair.Scale, pair.Alpha = 1, float64(h.rank)
		if r.alpha != 0 {
			pair.Scale, pair.Alpha = r.alpha/float64(h.rank), r.alpha
		}
		if pair.Embedding = p.linear.Role == arch.TokenEmbedding; pair.Embedding {
			pair.A, pair.B, pair.Out = h.a, h.b, h.rows
			continue
		}
		pair.A = h.a[p.Expert*h.rank*h.cols:][:h.rank*h.cols]
		pair.B = h.b[(p.Expert*h.rows+p.First)*h.rank:][:pair.Out*h.rank]
		if len(places) > 1 {
			drop(&pair.LowRank, h.others(&p))
		}
		if pair.Rank != h.rank {
			pair.Alpha = pair.Scale * float64(pair.Rank)
		}
		if err := r.unscale(&p, &pair.LowRank); err != nil {
			return nil, err
		}
		attach.PairToHF(&pair.LowRank, p.Order)
	}
	return pairs, nil
}

// others reports for each rank whether the pair has it for other rows of the matrix.
func (h *halves) others(p *place) (ranks []bool) {
	ranks = make([]bool, h.rank)
	for row := range h.rows {
		if row >= p.First && row < p.First+p.linear.W.Rows {
			continue
		}
		for k, v := range h.b[(p.Expert*h.rows+row)*h.rank:][:h.rank] {
			ranks[k] = ranks[k] || v != 0
		}
	}
	return ranks
}

// drop takes the ranks out of a pair at which it is zero and that are of others, or that are zero in both halves.
func drop(p *lowrank.LowRank, others []bool) {
	var keep []int
	for k := range p.Rank {
		used := false
		for row := range p.Out {
			used = used || p.B[row*p.Rank+k] != 0
		}
		a := p.A[k*p.In : (k+1)*p.In]
		if used || !others[k] && slices.ContainsFunc(a, func(v float32) bool { return v != 0 }) {
			keep = append(keep, k)
		}
	}
	a, b := make([]float32, 0, len(keep)*p.In), make([]float32, 0, len(keep)*p.Out)
	for _, k := range keep {
		a = append(a, p.A[k*p.In:(k+1)*p.In]...)
	}
	for row := range p.Out {
		for _, k := range keep {
			b = append(b, p.B[row*p.Rank+k])
		}
	}
	p.A, p.B, p.Rank = a, b, len(keep)
}

// unscale divides by the factor of what an expert gives, which pairs in GGUF files have in B.
func (r *reader) unscale(p *place, pair *lowrank.LowRank) error {
	if p.linear.Role != arch.ExpertDown {
		return nil
	}
	factors := r.base.Model.Layers[p.linear.Layer].Vector(arch.ExpertScale)
	if factors == nil {
		return nil
	}
	factor := factors[p.Expert]
	if factor == 0 {
		return fmt.Errorf("%s has the factor 0 in %s: what the pair of its expert was before cannot be known", pair.Module,
			r.base.Path)
	}
	pair.B = slices.Clone(pair.B)
	for i := range pair.B {
		pair.B[i] /= factor
	}
	return nil
}
