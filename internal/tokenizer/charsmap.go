package tokenizer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/peftconv/peftconv/gguf"
)

// charsmap is SentencePiece's precompiled map of replacements: a double array that knows prefixes of a text, and the
// texts that replace them.
type charsmap struct {
	units []uint32
	texts string // each ends with a zero byte
}

// parseCharsmap reads a precompiled map: the size of the double array in bytes, the array, the texts.
func parseCharsmap(data []byte) (*charsmap, error) {
	if len(data) < 4 {
		return nil, fmt.Errorf("a precompiled charsmap of %d bytes, want at least 4", len(data))
	}
	size := binary.LittleEndian.Uint32(data)
	if size%4 != 0 || uint64(size)+4 >= uint64(len(data)) {
		return nil, fmt.Errorf("a precompiled charsmap of %d bytes begins with the size %d, want a multiple of 4 below %d",
			len(data), size, len(data)-4)
	}
	c := &charsmap{units: make([]uint32, size/4), texts: string(data[4+size:])}
	for i := range c.units {
		c.units[i] = binary.LittleEndian.Uint32(data[4+4*i:])
	}
	if c.texts[len(c.texts)-1] != 0 {
		return nil, errors.New("the last text of a precompiled charsmap does not end with a zero byte")
	}
	return c, nil
}

// each calls yield for the replacements of the prefixes of a text, the shortest first, until it returns false. A node
// outside the array, which a damaged file may name, ends the search.
func (c *charsmap) each(text string, yield func(piece string, size int) bool) {
	node := uint32(0)
	unit, ok := c.unit(node)
	node ^= offset(unit)
	for i := 0; ok && i < len(text) && text[i] != 0; i++ {
		node ^= uint32(text[i])
		if unit, ok = c.unit(node); !ok || unit&0x800000ff != uint32(text[i]) {
			return
		}
		node ^= offset(unit)
		if unit>>8&1 == 0 {
			continue
		}
		value, there := c.unit(node)
		if at := int(value & 0x7fffffff); there && at < len(c.texts) {
			piece, _, _ := strings.Cut(c.texts[at:], "\x00")
			if !yield(piece, i+1) {
				return
			}
		}
	}
}

func (c *charsmap) unit(node uint32) (uint32, bool) {
	if uint64(node) >= uint64(len(c.units)) {
		return 0, false
	}
	return c.units[node], true
}

// offset is the distance to the children of a unit.
func offset(unit uint32) uint32 { return unit >> 10 << (unit & 512 >> 6) }

// longest is the replacement of the longest prefix; size is 0 where there is none.
func (c *charsmap) longest(text string) (piece string, size int) {
	c.each(text, func(p string, n int) bool {
		piece, size = p, n
		return true
	})
	return piece, size
}

// readCharsmap reads the map of a GGUF file; nil where it has none.
func readCharsmap(meta *gguf.Metadata) (*charsmap, error) {
	if _, ok := meta.Get(keyChars); !ok {
		return nil, nil
	}
	ints, ok := meta.Ints(keyChars)
	if !ok {
		return nil, fmt.Errorf("%s is not an array of bytes", keyChars)
	}
	data := make([]byte, len(ints))
	for i, v := range ints {
		data[i] = byte(v)
	}
	c, err := parseCharsmap(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyChars, err)
	}
	return c, nil
}
