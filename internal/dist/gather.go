package dist

import (
	"context"
	"unsafe"
)

// Numbers are the types that ranks send each other.
type Numbers interface{ ~float32 | ~float64 | ~int64 }

// AsBytes is the memory of x.
func AsBytes[T Numbers](x []T) []byte {
	if len(x) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), len(x)*int(unsafe.Sizeof(x[0])))
}

// Gather completes values, which consist of parts of the given lengths. Part i was computed by rank i mod Size, and all
// get it.
func Gather[T Numbers](ctx context.Context, c Comm, values []T, lengths []int) error {
	size := c.Size()
	if size == 1 {
		return nil
	}
	var one T
	bytes := int(unsafe.Sizeof(one))
	counts := make([]int, size)
	for i, n := range lengths {
		counts[i%size] += n
	}
	from := make([]int, size) // where the parts of each rank begin in what is received
	sizes := make([]int, size)
	for r := range size {
		sizes[r] = counts[r] * bytes
		if r > 0 {
			from[r] = from[r-1] + counts[r-1]
		}
	}
	mine, all := make([]T, 0, counts[c.Rank()]), make([]T, len(values))
	at := 0
	for i, n := range lengths {
		if i%size == c.Rank() {
			mine = append(mine, values[at:at+n]...)
		}
		at += n
	}
	if err := c.AllGather(AsBytes(mine), AsBytes(all), sizes).Wait(ctx); err != nil {
		return err
	}
	at = 0
	for i, n := range lengths {
		r := i % size
		copy(values[at:at+n], all[from[r]:])
		from[r] += n
		at += n
	}
	return nil
}

// GatherEqual is Gather of parts that have n values each.
func GatherEqual[T Numbers](ctx context.Context, c Comm, values []T, n int) error {
	lengths := make([]int, len(values)/n)
	for i := range lengths {
		lengths[i] = n
	}
	return Gather(ctx, c, values, lengths)
}

// Texts gives the texts of all ranks, by rank.
func Texts(ctx context.Context, c Comm, text string) ([]string, error) {
	sizes := make([]int64, c.Size())
	sizes[c.Rank()] = int64(len(text))
	if err := GatherEqual(ctx, c, sizes, 1); err != nil {
		return nil, err
	}
	total, each := 0, make([]int, c.Size())
	for r, n := range sizes {
		each[r] = int(n)
		total += int(n)
	}
	all := make([]byte, total)
	if err := c.AllGather([]byte(text), all, each).Wait(ctx); err != nil {
		return nil, err
	}
	texts := make([]string, c.Size())
	for r, n := range each {
		texts[r], all = string(all[:n]), all[n:]
	}
	return texts, nil
}
