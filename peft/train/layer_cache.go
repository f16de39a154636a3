package train

import (
	"strconv"
	"strings"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/floats"
)

// layerCache keeps the stream below the lowest adapted layer for every example of the training data: exactly, in
// float32, so that a run gives the same bytes with it and without, from the beginning and resumed.
type layerCache struct {
	*exampleStore
	width    int
	layers   int   // below the cached stream; 0 until one batch has gone through them
	examples []int // of the sequences of the current batch
}

// layerCacheBytes is what the layer cache of a run takes; 0 where the run has none: when the lowest layer is adapted,
// no example is seen twice, the routers of all layers are asked for their loss, or the examples are so many that they
// are in a file themselves, a hundredth of what the cache would take.
func layerCacheBytes(b *attach.Base, a *attach.Adapter, train *attach.Data, opt *Options) int64 {
	if lowestLayer(a.Tensors) == 0 || opt.epochs(train) < 2 || opt.RouterAuxLoss > 0 || train.InFile() {
		return 0
	}
	return int64(train.Tokens()) * int64(b.Model.Spec.Width) * 4
}

// lowestLayer is the lowest layer that trained tensors belong to, as their names tell; 0 where one belongs to none.
func lowestLayer(params []attach.Param) int {
	lowest := -1
	for i := range params {
		if params[i].Frozen {
			continue
		}
		n, ok := layerOf(params[i].Name)
		if !ok {
			return 0
		}
		if lowest < 0 || n < lowest {
			lowest = n
		}
	}
	return max(lowest, 0)
}

// layerOf is the number that follows "layers.", or what other models have in its place, in a tensor's name.
func layerOf(name string) (n int, ok bool) {
	for _, list := range []string{".layers.", ".h.", ".blk."} {
		if _, after, found := strings.Cut(name, list); found {
			number, _, _ := strings.Cut(after, ".")
			n, err := strconv.Atoi(number)
			return n, err == nil
		}
	}
	return 0, false
}

// newLayerCache makes an empty cache for all examples of a set, in memory or beside the file out. It is nil where
// there is no room for one.
func newLayerCache(b *attach.Base, train *attach.Data, out string) *layerCache {
	width := b.Model.Spec.Width
	store := newExampleStore(4*width, train.Len(), train.Size, out, "layers")
	if store == nil {
		return nil
	}
	return &layerCache{exampleStore: store, width: width}
}

// close gives memory and file back.
func (s *layerCache) close() {
	if s != nil {
		s.exampleStore.close()
		s.layers = 0
	}
}

// fits says whether a batch can be in the layer cache: of the examples that were announced, as they are.
func (s *layerCache) fits(b *batch.Batch) bool {
	if b.Tokens() < leastStored || b.Sequences() != len(s.examples) {
		return false
	}
	for i, e := range s.examples {
		if int(b.Bounds[i+1]-b.Bounds[i]) != s.rows(e) {
			return false
		}
	}
	return true
}

// Load implements model.LayerCache.
func (s *layerCache) Load(b *batch.Batch, x []float32) (n int) {
	if s.layers == 0 || !s.fits(b) || !s.has(s.examples) {
		return 0
	}
	for i, e := range s.examples {
		if !s.read(e, s.part(b, i, x)) {
			return 0
		}
	}
	return s.layers
}

// Store implements model.LayerCache.
func (s *layerCache) Store(b *batch.Batch, n int, x []float32) {
	if !s.fits(b) || s.layers != 0 && s.layers != n {
		return
	}
	s.layers = n
	for i, e := range s.examples {
		s.write(e, s.part(b, i, x))
	}
}

// part is the rows of sequence i of a batch.
func (s *layerCache) part(b *batch.Batch, i int, x []float32) []byte {
	return floats.AsBytes(x[int(b.Bounds[i])*s.width : int(b.Bounds[i+1])*s.width])
}
