package atomicfile

import "golang.org/x/sys/unix"

// systemExchange gives each of two paths what the other had, in one step.
func systemExchange(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}
