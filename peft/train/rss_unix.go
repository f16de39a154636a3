//go:build unix

package train

import (
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/peftconv/peftconv/internal/memory"
)

// PeakRSS is the largest amount of memory the process has had resident, in bytes; mapped files count as far as they
// were read. It is 0 where the system does not say.
func PeakRSS() int64 {
	// Linux counts what the parent held at the fork into ru_maxrss; VmHWM is of this program alone.
	if peak, ok := memory.Status("VmHWM"); ok {
		return peak
	}
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	if runtime.GOOS == "darwin" || runtime.GOOS == "ios" {
		return int64(usage.Maxrss) // in bytes there, in KiB elsewhere
	}
	return int64(usage.Maxrss) * 1024
}

// RSS is the memory that the process has resident now, in bytes; where the system does not say it, PeakRSS.
func RSS() int64 {
	if now, ok := memory.Status("VmRSS"); ok {
		return now
	}
	return PeakRSS()
}
