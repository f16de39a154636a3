package model

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/quant"
)

// Random makes a model of a Spec in memory, with weights of the given type that are valid blocks and mean nothing: its
// speed and its memory are those of a real one. Each weight has a variance of about one part in the columns of its
// matrix, so that activations stay finite. Rows that are no whole number of blocks are Q8_0, or F32 where that does not
// fit either. It takes about as long as filling the memory.
func Random(s Spec, kind gguf.Type) (*Model, error) {
	if !quant.Supported(kind) {
		return nil, fmt.Errorf("random weights of type %s: computing with it is %w", kind, ErrUnsupported)
	}
	arch, ok := architectures[s.Architecture]
	if !ok {
		return nil, fmt.Errorf("architecture %q is %w", s.Architecture, ErrUnsupported)
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	l := &loader{source: randomSource{&s, kind, map[poolKey][]byte{}}, names: ggufNames, used: map[string]bool{}}
	m := l.load(s, arch.permuted)
	return m, l.err
}

// RandomMatrix is a matrix of weights like those of Random. Errors: a type that cannot be computed with, columns that are no
// whole number of its blocks.
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
	spec  *Spec
	kind  gguf.Type
	pools map[poolKey][]byte
}

func (r randomSource) tensor(name string) (stored, bool) {
	shape, ok := r.spec.shapeOf(name)
	if !ok {
		return stored{}, false
	}
	if len(shape) == 1 {
		return stored{shape: shape, kind: gguf.F32, typeName: gguf.F32.String(), data: constant(shape[0], 1)}, true
	}
	kind := r.typeFor(shape[1])
	return stored{shape: shape, kind: kind, typeName: kind.String(), data: r.blocks(kind, int(shape[0]), int(shape[1]))}, true
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

// shapeOf is the shape, rows first, of a tensor that the decoder has by that name; the head is one even where it is
// tied, and there is no bias.
func (s *Spec) shapeOf(name string) ([]int64, bool) {
	width, query, key, ffn := int64(s.Width), int64(s.QueryHeads*s.HeadDim), int64(s.KeyHeads*s.HeadDim), int64(s.FFN)
	switch name {
	case ggufNames.embed, ggufNames.head:
		return []int64{int64(s.Vocab), width}, true
	case ggufNames.norm:
		return []int64{width}, true
	}
	var layer int
	var part string
	if n, err := fmt.Sscanf(name, ggufNames.block+"%s", &layer, &part); n != 2 || err != nil {
		return nil, false
	}
	shapes := map[string][]int64{ggufNames.attnNorm: {width}, ggufNames.ffnNorm: {width}}
	for i, shape := range [7][]int64{{query, width}, {key, width}, {key, width}, {width, query}, {ffn, width}, {ffn, width}, {width, ffn}} {
		shapes[ggufNames.linears[i]+".weight"] = shape
	}
	shape, ok := shapes[part]
	return shape, ok
}
