//go:build aix || solaris || (!unix && !windows)

package filelock

import "errors"

func try(uintptr) (bool, error) { return false, errors.ErrUnsupported }
