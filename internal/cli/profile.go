package cli

import (
	"runtime/pprof"

	"github.com/peftconv/peftconv/internal/atomicfile"
)

// Profiled runs f and writes where the processor's time went to a file; with no path it just runs f. Where f fails
// there is no file.
func Profiled(path string, f func() error) error {
	if path == "" {
		return f()
	}
	out, err := atomicfile.Create(path)
	if err != nil {
		return err
	}
	defer out.Abort()
	// The profiler drops errors of writing.
	profile := newOutput(path, out, &reader{stop: func() {}})
	if err := pprof.StartCPUProfile(profile); err != nil {
		return err
	}
	err = f()
	pprof.StopCPUProfile()
	if err == nil {
		err = profile.finish()
	}
	if err != nil {
		return err
	}
	return out.Commit()
}
