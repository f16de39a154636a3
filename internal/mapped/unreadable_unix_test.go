//go:build unix

package mapped

import "golang.org/x/sys/unix"

func unreadable(b []byte) error { return unix.Mprotect(b, unix.PROT_NONE) }
