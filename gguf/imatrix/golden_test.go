package imatrix

import (
	"bytes"
	"os"
	"testing"

	"github.com/peftconv/peftconv/internal/testdata"
)

// TestWriteGolden writes llama-imatrix's files as they are.
func TestWriteGolden(t *testing.T) {
	for _, name := range []string{"tiny-llama", "tiny-qwen2"} {
		data, err := os.ReadFile(testdata.Shared(t, "quant/files/"+name+"-imatrix.gguf"))
		if err != nil {
			t.Fatal(err)
		}
		m, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		var written bytes.Buffer
		if err := m.Write(&written); err != nil || !bytes.Equal(written.Bytes(), data) {
			t.Errorf("%s: %d bytes are written, %d were read, %v", name, written.Len(), len(data), err)
		}
	}
}
