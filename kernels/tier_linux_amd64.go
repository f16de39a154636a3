//go:build !purego

package kernels

import (
	"sync"

	"golang.org/x/sys/unix"
)

// allowTiles asks the system to let this process use the tile registers, once: threads and child processes have the
// permission from then on. It is refused where the system does not know them, and where a thread has a stack for
// signals that is too small for them. (Those of Go's threads have 32 KB; about 12 are needed.)
var allowTiles = sync.OnceValue(func() bool {
	const requestPermission, tileData = 0x1023, 18 // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
	_, _, errno := unix.RawSyscall(unix.SYS_ARCH_PRCTL, requestPermission, tileData, 0)
	return errno == 0
})
