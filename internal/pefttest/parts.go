package pefttest

import (
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
)

// OpenModel writes a model as a GGUF file and opens it for the length of the test.
func OpenModel(t testing.TB, m *archtest.Model) *attach.Base {
	t.Helper()
	path := filepath.Join(t.TempDir(), m.Name+".gguf")
	m.Write(t, path)
	return OpenBase(t, path)
}
