package cli

import (
	"runtime/pprof"

	"github.com/peftconv/peftconv/internal/atomicfile"
)

// Profiled runs f and writes where the processor's time went to a file; with no path it just runs f. The profile is
// written even if f fails.
func Profiled(path string, f func() error) error {
	if path == "" {
		return f()
	}
	out, err := atomicfile.Create(path)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		out.Abort()
		return err
	}
	failed := f()
	pprof.StopCPUProfile()
	if err := out.Commit(); failed == nil {
		return err
	}
	return failed
}
