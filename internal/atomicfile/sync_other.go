//go:build !unix

package atomicfile

// syncDir does nothing: this system brings a renaming to the disk itself.
func syncDir(string) error { return nil }
