package tokenizer

import (
	"bytes"
	"testing"

	"github.com/peftconv/peftconv/gguf"
)

// FuzzFromGGUF makes tokenizers of arbitrary metadata, and uses those that it can make.
func FuzzFromGGUF(f *testing.F) {
	for _, meta := range []*gguf.Metadata{smallSPM(f, nil), smallBPE(f, nil)} {
		var b bytes.Buffer
		if _, err := gguf.NewWriter(&b, meta, nil); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := gguf.Parse(data)
		if err != nil {
			return
		}
		tok, err := FromGGUF(g.Meta)
		if err != nil {
			return
		}
		for _, text := range []string{"Hello world", " abc<user>\xffé"} {
			ids := tok.Encode(text, true)
			for _, id := range ids {
				if id < 0 || int(id) >= tok.Size() {
					t.Fatalf("id %d of %d", id, tok.Size())
				}
			}
			tok.Decode(ids)
		}
	})
}
