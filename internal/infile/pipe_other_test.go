//go:build !unix

package infile

import "errors"

func makePipe(string) error { return errors.ErrUnsupported }
