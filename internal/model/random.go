package model

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/store"
	"github.com/peftconv/peftconv/quant"
)

// Random makes a model of a Spec in memory, with weights of the given type that are valid blocks and mean nothing: its
// speed and its memory are those of a real one. Each weight has a variance of about one part in the columns of its
// matrix, so that activations stay finite. Rows that are no whole number of blocks are Q8_0, or F32 where that does not
// fit either. It takes about as long as filling the memory.
func Random(s arch.Spec, kind gguf.Type) (*Model, error) {
	if !quant.Supported(kind) {
		return nil, fmt.Errorf("random weights of type %s: computing with it is %w", kind, ErrUnsupported)
	}
	a := arch.ByName(s.Architecture)
	if a == nil || a.Spec == nil {
		return nil, fmt.Errorf("architecture %q is %w", s.Architecture, ErrUnsupported)
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	l := &loader{source: randomSource{a, &s, kind, map[poolKey][]byte{}}, arch: a, used: map[string]bool{}}
	m := l.load(s)
	return m, l.err
}

// RandomMatrix is a matrix of weights like those of Random. Errors: a type that cannot be computed with, columns that
// are no whole number of its blocks.
func RandomMatrix(kind gguf.Type, rows, cols int) (quant.Matrix, error) {
	if !quant.Supported(kind) || cols%kind.BlockLen() != 0 {
		return quant.NewMatrix(kind, rows, cols, nil)
	}
	return quant.NewMatrix(kind, rows, cols, randomSource{pools: map[poolKey][]byte{}}.blocks(kind, rows, cols))
}

// poolBlocks is how many different blocks a random matrix is made of: a prime number, so that neighbouring rows differ.
const poolBlocks = 251

// poolKey is what the blocks of random matrices depend on.
type poolKey struct {
	kind gguf.Type
	cols int
}

// randomSource makes up the tensors of a Spec as they are asked for.
type randomSource struct {
	arch  *arch.Arch
	spec  *arch.Spec
	kind  gguf.Type
	pools map[poolKey][]byte
}

// Tensor makes up a tensor that is not optional; there is no bias.
func (r randomSource) Tensor(name string) (store.Tensor, bool) {
	t, layer, ok := r.arch.InGGUF(name)
	if !ok || t.Optional {
		return store.Tensor{}, false
	}
	shape := t.Sizes(r.spec, layer)
	if len(shape) == 1 {
		data := constant(shape[0], 1)
		return store.Tensor{Name: name, Shape: shape, Type: gguf.F32, TypeName: gguf.F32.String(), Data: data}, true
	}
	kind := r.typeFor(shape[1])
	data := r.blocks(kind, int(shape[0]), int(shape[1]))
	return store.Tensor{Name: name, Shape: shape, Type: kind, TypeName: kind.String(), Data: data}, true
}

// blocks are the bytes of a matrix.
func (r randomSource) blocks(kind gguf.Type, rows, cols int) []byte {
	data := make([]byte, rows*cols/kind.BlockLen()*kind.BlockSize())
	pool := r.pool(kind, cols)
	for at := 0; at < len(data); {
		at += copy(data[at:], pool)
	}
	return data
}

// typeFor is the type of a matrix with so many columns.
func (r randomSource) typeFor(cols int64) gguf.Type {
	for _, kind := range []gguf.Type{r.kind, gguf.Q8_0} {
		if cols%int64(kind.BlockLen()) == 0 {
			return kind
		}
	}
	return gguf.F32
}

// pool is the blocks that matrices of a type and width repeat.
func (r randomSource) pool(kind gguf.Type, cols int) []byte {
	key := poolKey{kind, cols}
	if pool, ok := r.pools[key]; ok {
		return pool
	}
	block := max(kind.BlockLen(), 32)
	rng := rand.New(rand.NewPCG(uint64(kind), uint64(cols)))
	x, importance := make([]float32, poolBlocks*block), make([]float32, block)
	for i := range x {
		x[i] = float32(rng.NormFloat64() / math.Sqrt(float64(cols)))
	}
	for i := range importance {
		importance[i] = 1
	}
	pool := make([]byte, len(x)/kind.BlockLen()*kind.BlockSize())
	quant.Quantize(kind, pool, x, block, importance)
	r.pools[key] = pool
	return pool
}

// constant is n float32 values as the bytes of a tensor.
func constant(n int64, value float32) []byte {
	x := make([]float32, n)
	for i := range x {
		x[i] = value
	}
	data := make([]byte, 4*n)
	quant.Quantize(gguf.F32, data, x, len(x), nil)
	return data
}
