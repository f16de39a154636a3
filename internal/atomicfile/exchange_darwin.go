package atomicfile

import "golang.org/x/sys/unix"

// systemExchange gives each of two paths what the other had, in one step.
func systemExchange(a, b string) error {
	return unix.RenamexNp(a, b, unix.RENAME_SWAP)
}
