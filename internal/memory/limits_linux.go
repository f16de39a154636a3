package memory

import (
	"math"

	"golang.org/x/sys/unix"
)

// addressLimit is the limit of the address space (ulimit -v), in bytes.
func addressLimit() int64 { return limit(unix.RLIMIT_AS) }

// dataLimit is the limit of private memory that is written to (ulimit -d), in bytes.
func dataLimit() int64 { return limit(unix.RLIMIT_DATA) }

func limit(resource int) int64 {
	var l unix.Rlimit
	if unix.Getrlimit(resource, &l) != nil || l.Cur > math.MaxInt64 {
		return unlimited
	}
	return int64(l.Cur)
}
