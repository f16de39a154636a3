package dataset

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
)

// FuzzReadCache reads arbitrary files of token ids: as they are, and with the checksum that they would need. All that a
// file says is within it.
func FuzzReadCache(f *testing.F) {
	const key = "k"
	head, err := json.Marshal(cacheHeader{Key: key, Sets: []cachedSet{{Examples: 1, Tokens: 2}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(make([]byte, 8+entrySize), head...), uint64(entrySize), uint64(len(head)))
	f.Add([]byte("not a cache"), uint64(0), uint64(11))
	path := filepath.Join(f.TempDir(), "cache")
	f.Fuzz(func(t *testing.T, data []byte, index, text uint64) {
		whole := bytes.Clone(data)
		crc := crc32.Checksum(whole, crcTable)
		for _, n := range []uint64{index, text, uint64(crc)} {
			whole = binary.LittleEndian.AppendUint64(whole, n)
		}
		whole = append(whole, cacheMagic...)
		for _, content := range [][]byte{data, whole} {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			h, file, index, err := openCache(path, key)
			if err != nil {
				continue
			}
			examples := 0
			for _, s := range h.Sets {
				examples += s.Examples
			}
			if examples != len(index) {
				t.Errorf("%d examples, %d places", examples, len(index))
			}
			for _, e := range index {
				if e.at < 0 || e.at+4*int64(e.tokens) > int64(len(content)) {
					t.Errorf("an example at %d of %d tokens, in %d bytes", e.at, e.tokens, len(content))
				}
			}
			if err := file.close(); err != nil {
				t.Error(err)
			}
		}
	})
}
