//go:build !linux && !darwin

package atomicfile

import "errors"

// systemExchange is not done on this system.
func systemExchange(_, _ string) error { return errors.ErrUnsupported }
