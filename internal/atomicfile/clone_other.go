//go:build !linux

package atomicfile

import (
	"errors"
	"os"
)

// clone is not done on this system.
func clone(_, _ *os.File) error { return errors.ErrUnsupported }
