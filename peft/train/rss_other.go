//go:build !unix && !windows

package train

// PeakRSS is the largest amount of memory the process has had resident, in bytes; 0 as this system does not say.
func PeakRSS() int64 { return 0 }

// RSS is the memory that the process has resident now, in bytes; 0 as this system does not say.
func RSS() int64 { return 0 }
