package kernels

import "github.com/peftconv/peftconv/internal/freelist"

// scratch is the memory of one task, which later tasks reuse.
type scratch struct {
	tile []float32 // a tile of weights
	b    []float32 // packed panels of B
	edge []float32 // a register tile that does not lie within C
	sums []float32 // integers of a tile of bytes
}

var scratches freelist.List[scratch]

// minScratch is the least number of elements allocated: memory of this size is aligned to pages.
const minScratch = 1 << 13

// grow makes the slice n elements long; they have any value.
func grow(s *[]float32, n int) []float32 {
	if cap(*s) < n {
		*s = make([]float32, max(n+n/4, minScratch))
	}
	*s = (*s)[:n]
	return *s
}
