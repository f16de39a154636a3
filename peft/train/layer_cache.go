package train

import (
	"path/filepath"
	"strconv"
	"strings"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/memory"
)

// layerCache keeps the stream below the lowest adapted layer for every example of the training data: exactly, in
// float32, so that a run gives the same bytes with it and without, from the beginning and resumed. It is in memory
// where it takes no more than a quarter of what is available, and otherwise in a file beside the adapter that has no
// name where the system can do that, and is removed at the end.
type layerCache struct {
	width    int
	layers   int   // below the cached stream; 0 until one batch has gone through them
	starts   []int // where the rows of each example begin; and their number
	known    []bool
	memory   []float32 // (rows, width); nil: they are in file
	file     *atomicfile.ScratchFile
	examples []int // of the sequences of the current batch
}

// layerCacheTokens is how many tokens a batch must have at least: products of few rows add up in another order, so that
// a small batch can differ in the last bits from a large one.
const layerCacheTokens = 64

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

// newLayerCache makes an empty cache of some bytes for all examples of a set, in memory or beside the file out. It is
// nil where there is no room for one.
func newLayerCache(b *attach.Base, train *attach.Data, bytes int64, out string) *layerCache {
	s := &layerCache{width: b.Model.Spec.Width, known: make([]bool, train.Len()), starts: []int{0}}
	for i := range train.Len() {
		s.starts = append(s.starts, s.starts[i]+train.Size(i))
	}
	if inMemory(bytes) {
		s.memory = make([]float32, bytes/4)
		return s
	}
	if out == "" {
		return nil
	}
	f, err := atomicfile.Scratch(filepath.Dir(out), filepath.Base(out)+".layers")
	if err != nil {
		return nil
	}
	s.file = f
	return s
}

// inMemory says whether a layer cache of some bytes is kept in memory. It is a variable for tests.
var inMemory = func(bytes int64) bool {
	available, _ := memory.Available(0)
	return bytes <= available/4
}

// close gives memory and file back.
func (s *layerCache) close() {
	if s == nil {
		return
	}
	if s.file != nil {
		s.file.Close()
	}
	s.memory, s.file, s.layers = nil, nil, 0
}

// fits says whether a batch can be in the layer cache: of the examples that were announced, as they are.
func (s *layerCache) fits(b *batch.Batch) bool {
	if b.Tokens() < layerCacheTokens || b.Sequences() != len(s.examples) {
		return false
	}
	for i, e := range s.examples {
		if int(b.Bounds[i+1]-b.Bounds[i]) != s.starts[e+1]-s.starts[e] {
			return false
		}
	}
	return true
}

// Load implements model.LayerCache.
func (s *layerCache) Load(b *batch.Batch, x []float32) (n int) {
	if s.layers == 0 || !s.fits(b) {
		return 0
	}
	for _, e := range s.examples {
		if !s.known[e] {
			return 0
		}
	}
	for i, e := range s.examples {
		if !s.read(e, x[int(b.Bounds[i])*s.width:int(b.Bounds[i+1])*s.width]) {
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
		s.known[e] = s.known[e] || s.write(e, x[int(b.Bounds[i])*s.width:int(b.Bounds[i+1])*s.width])
	}
}

// read fetches the rows of example e.
func (s *layerCache) read(e int, x []float32) bool {
	if s.file == nil {
		copy(x, s.memory[s.starts[e]*s.width:])
		return true
	}
	_, err := s.file.ReadAt(floats.AsBytes(x), int64(s.starts[e])*int64(s.width)*4)
	return err == nil
}

// write stores the rows of example e; a full disk leaves the example unknown.
func (s *layerCache) write(e int, x []float32) bool {
	if s.file == nil {
		copy(s.memory[s.starts[e]*s.width:], x)
		return true
	}
	_, err := s.file.WriteAt(floats.AsBytes(x), int64(s.starts[e])*int64(s.width)*4)
	return err == nil
}
