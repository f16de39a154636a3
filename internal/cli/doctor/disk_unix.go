//go:build linux || darwin

package doctor

import "golang.org/x/sys/unix"

// freeDisk is what the user may still write where a folder is, in bytes.
func freeDisk(folder string) (int64, error) {
	var s unix.Statfs_t
	err := unix.Statfs(folder, &s)
	return int64(s.Bavail) * int64(s.Bsize), err
}
