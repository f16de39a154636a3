package weights

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/peftconv/peftconv/kernels"
)

// Each calls f(0) … f(n-1) on all threads, in any order, each under [Guard]. It returns the error of the lowest
// number. Once the context is done, no further call begins and the error is that of the context.
func Each(ctx context.Context, n int, f func(i int) error) error {
	errs := make([]error, n)
	kernels.Parallel(n, func(i int) {
		if ctx.Err() != nil {
			return
		}
		errs[i] = Guard(func() error { return f(i) })
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

// faultAddress is what the runtime panics with on a memory fault (runtime/debug.SetPanicOnFault).
type faultAddress interface{ Addr() uintptr }

// Guard calls f, which reads mapped files. Where the system cannot read the bytes, because a disk fails or the file
// has become shorter, it returns an error instead of ending the program.
func Guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		if _, fault := r.(faultAddress); !fault {
			panic(r)
		}
		err = fmt.Errorf("reading the mapped file: %v: the disk fails, or the file was cut short while it was read", r)
	}()
	return f()
}
