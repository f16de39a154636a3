package atomicfile

import (
	"os"

	"golang.org/x/sys/unix"
)

// beginSync asks the system to start writing to the disk, and does not wait for it. It is a hint: errors show when the
// file is flushed.
func beginSync(f *os.File) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) { _ = unix.SyncFileRange(int(fd), 0, 0, unix.SYNC_FILE_RANGE_WRITE) })
}
