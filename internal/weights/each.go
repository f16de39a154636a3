package weights

import (
	"context"

	"github.com/peftconv/peftconv/kernels"
)

// Each calls f(0) … f(n-1) on all threads, in any order. It returns the error of the lowest number. Once the context
// is done, no further call begins and the error is that of the context.
func Each(ctx context.Context, n int, f func(i int) error) error {
	errs := make([]error, n)
	kernels.Parallel(n, func(i int) {
		if ctx.Err() != nil {
			return
		}
		errs[i] = f(i)
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
