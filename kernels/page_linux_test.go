package kernels

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// atPageEnd copies x to memory that ends where an unmapped page begins.
func atPageEnd(t *testing.T, x []float32) []float32 {
	page := unix.Getpagesize()
	size := (4*len(x) + page - 1) / page * page
	mem, err := unix.Mmap(-1, 0, size+page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(mem) })
	if err := unix.Mprotect(mem[size:], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	if len(x) == 0 {
		return nil
	}
	y := unsafe.Slice((*float32)(unsafe.Pointer(&mem[size-4*len(x)])), len(x))
	copy(y, x)
	return y
}

func TestKernelsAtPageEnd(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, c := range vectorCases {
			for n := range 70 {
				in := c.inputs(n, uint64(n))
				for i := range in {
					in[i] = atPageEnd(t, in[i])
				}
				c.fast(in)
			}
		}
	})
}

func TestGemmAtPageEnd(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, s := range gemmShapes {
			for trans := range 4 {
				g := newGemmCase(s[0], s[1], s[2], trans&1 != 0, trans&2 != 0, 0)
				g.a, g.b, g.c = atPageEnd(t, g.a), atPageEnd(t, g.b), atPageEnd(t, g.c)
				g.check(t, 1, 0.5)
			}
		}
	})
}
