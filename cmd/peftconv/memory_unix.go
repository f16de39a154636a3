//go:build unix

package main

import (
	"runtime"
	"syscall"
)

// peakMemory is the most memory this process has had resident, in bytes; 0 where it is unknown.
func peakMemory() int64 {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return int64(usage.Maxrss)
	}
	return int64(usage.Maxrss) * 1024
}
