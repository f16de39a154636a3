package weights

import (
	"context"
	"sync"

	"github.com/peftconv/peftconv/kernels"
)

// Each calls f(0) … f(n-1) on all threads, in any order. It returns the error of the lowest number. Once the context
// is done, no further call begins and the error is that of the context.
func Each(ctx context.Context, n int, f func(i int) error) error {
	var mu sync.Mutex
	var first error
	at := n // of first
	kernels.Parallel(n, func(i int) {
		if ctx.Err() != nil {
			return
		}
		if err := f(i); err != nil {
			mu.Lock()
			defer mu.Unlock()
			if i < at {
				first, at = err, i
			}
		}
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	return first
}
