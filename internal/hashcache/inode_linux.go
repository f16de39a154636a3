package hashcache

import (
	"fmt"
	"io/fs"
	"syscall"
	"time"
)

// inodeOf says which inode a file is, and when that last changed.
func inodeOf(info fs.FileInfo) (state string, changed time.Time) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", changed
	}
	changed = time.Unix(int64(s.Ctim.Sec), int64(s.Ctim.Nsec))
	return fmt.Sprintf("%d %d %d", s.Dev, s.Ino, changed.UnixNano()), changed
}
