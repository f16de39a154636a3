//go:build unix

package peft

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// PeakRSS is the largest amount of memory the process has had resident, in bytes; mapped files count as far as they
// were read. It is 0 where the system does not say.
func PeakRSS() int64 {
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	if runtime.GOOS == "darwin" || runtime.GOOS == "ios" {
		return int64(usage.Maxrss) // in bytes there, in KiB elsewhere
	}
	return int64(usage.Maxrss) * 1024
}
