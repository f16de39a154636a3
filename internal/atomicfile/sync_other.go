//go:build !unix

package atomicfile

// syncDir does nothing: this system makes a rename durable by itself.
func syncDir(string) error { return nil }
