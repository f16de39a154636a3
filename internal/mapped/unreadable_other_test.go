//go:build !unix

package mapped

import "errors"

func unreadable([]byte) error { return errors.ErrUnsupported }
