package tokenizer

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"strconv"
	"strings"
	"sync"
)

// referenceText is the text by whose ids llama.cpp's converter recognises a pre-tokenizer.
//
//go:embed reference/text.txt
var referenceText string

// referenceHashes is that converter's table: order, name, SHA-256, and a model that has it, a line each.
//
//go:embed reference/hashes.tsv
var referenceHashes string

// preTokenizerByHash is the table. Of two lines with one hash the later counts, as there.
var preTokenizerByHash = sync.OnceValue(func() map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(referenceHashes) {
		if columns := strings.Split(line, "\t"); len(columns) > 2 && len(columns[2]) == 2*sha256.Size {
			out[columns[2]] = columns[1]
		}
	}
	return out
})

// PreTokenizerOf is the name of a tokenizer for tokenizer.ggml.pre. It is found as llama.cpp's converter finds it: by
// the hash of the ids of a reference text, with the special tokens that the tokenizer adds. ok is false where
// the table has no such hash: for vocabularies that nobody entered there, and for those that were cut down or
// trained anew.
func PreTokenizerOf(t *Tokenizer) (name, hash string, ok bool) {
	hash = hashOfIDs(t.EncodeWithSpecials(referenceText))
	name, ok = preTokenizerByHash()[hash]
	return name, hash, ok
}

// hashOfIDs is the SHA-256, in lower-case hexadecimal, of ids written as [1, 2, 3].
func hashOfIDs(ids []int32) string {
	text := []byte{'['}
	for i, id := range ids {
		if i > 0 {
			text = append(text, ", "...)
		}
		text = strconv.AppendInt(text, int64(id), 10)
	}
	sum := sha256.Sum256(append(text, ']'))
	return hex.EncodeToString(sum[:])
}
