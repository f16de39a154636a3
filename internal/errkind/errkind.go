// Package errkind makes errors that are of a kind which errors.Is finds, and whose text does not repeat it.
package errkind

import "fmt"

// kindError is an error of a kind.
type kindError struct {
	error
	kind error
}

// Is says whether target is the error's kind.
func (e kindError) Is(target error) bool { return target == e.kind }

// Unwrap is the error itself, so that what it wraps is found.
func (e kindError) Unwrap() error { return e.error }

// Errorf is fmt.Errorf for an error of a kind, which is not part of the text.
func Errorf(kind error, format string, args ...any) error {
	return kindError{fmt.Errorf(format, args...), kind}
}
