package gguf

import "encoding/binary"

// The limits of the format, most of them ggml's.
const (
	magic            = "GGUF"
	maxVersion       = 3
	maxDims          = 4       // dimensions of a tensor
	maxName          = 63      // bytes of a tensor's name
	maxLen           = 1 << 30 // bytes of a string, elements of an array
	maxDepth         = 4       // arrays within arrays; ggml has none
	defaultAlignment = 32
)

// The keys that the container itself reads.
const (
	keyAlignment    = "general.alignment"
	keySplitNo      = "split.no"
	keySplitCount   = "split.count"
	keySplitTensors = "split.tensors.count"
)

// Format is how a file's header is laid out.
type Format struct {
	Version uint32           // 1, 2 or 3; 0 means 3
	Order   binary.ByteOrder // of numbers in the header; nil means little-endian
}

func (f Format) orDefault() Format {
	if f.Version == 0 {
		f.Version = maxVersion
	}
	if f.Order == nil {
		f.Order = binary.LittleEndian
	}
	return f
}

// wordSize is the number of bytes that a count or a length takes.
func (f Format) wordSize() int {
	if f.Version == 1 {
		return 4
	}
	return 8
}

// pad is the number of bytes from n to the next multiple of align, a power of two.
func pad(n, align int64) int64 { return -n & (align - 1) }
