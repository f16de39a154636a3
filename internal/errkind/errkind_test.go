package errkind

import (
	"errors"
	"io"
	"testing"
)

func TestErrorf(t *testing.T) {
	kind, other := errors.New("a kind"), errors.New("another kind")
	err := Errorf(kind, "reading %d: %w", 7, io.EOF)
	if err.Error() != "reading 7: EOF" {
		t.Errorf("the text is %q", err)
	}
	if !errors.Is(err, kind) || !errors.Is(err, io.EOF) || errors.Is(err, other) {
		t.Errorf("of the kind: %v, wraps EOF: %v, of another kind: %v", errors.Is(err, kind), errors.Is(err, io.EOF),
			errors.Is(err, other))
	}
}
