package gguf

import (
	"errors"
	"fmt"
	"slices"

	"github.com/peftconv/peftconv/internal/errkind"
)

// field is a run of numbers in a block: how wide each is, and how many there are.
type field struct{ width, count int }

// layouts is the layout of the blocks of each type, for swapping the byte order: a run of single bytes stays as it is.
// For types that are missing the big-endian layout is not defined: ggml reads them by words of several widths.
var layouts = map[Type][]field{
	F32: {{4, 1}}, F16: {{2, 1}}, BF16: {{2, 1}}, F64: {{8, 1}},
	I8: {{1, 1}}, I16: {{2, 1}}, I32: {{4, 1}}, I64: {{8, 1}},
	Q4_0:   {{2, 1}, {1, 16}},            // d, quants
	Q4_1:   {{2, 2}, {1, 16}},            // d, m, quants
	Q5_0:   {{2, 1}, {4, 1}, {1, 16}},    // d, high bits in one word, quants
	Q5_1:   {{2, 2}, {4, 1}, {1, 16}},    // d, m, high bits in one word, quants
	Q8_0:   {{2, 1}, {1, 32}},            // d, quants
	Q8_1:   {{2, 2}, {1, 32}},            // d, sum, quants
	Q2_K:   {{1, 16 + 64}, {2, 2}},       // scales, quants, d, dmin
	Q3_K:   {{1, 32 + 64 + 12}, {2, 1}},  // high bits, quants, scales, d
	Q4_K:   {{2, 2}, {1, 12 + 128}},      // d, dmin, scales, quants
	Q5_K:   {{2, 2}, {1, 12 + 32 + 128}}, // d, dmin, scales, high bits, quants
	Q6_K:   {{1, 128 + 64 + 16}, {2, 1}}, // quants, high bits, scales, d
	Q8_K:   {{4, 1}, {1, 256}, {2, 16}},  // d, quants, sums
	IQ4_NL: {{2, 1}, {1, 16}},            // d, quants
	IQ4_XS: {{2, 2}, {1, 4 + 128}},       // d, high bits of the scales, scales, quants
	TQ1_0:  {{1, 48 + 4}, {2, 1}},        // quants, d
	TQ2_0:  {{1, 64}, {2, 1}},            // quants, d
	MXFP4:  {{1, 17}},                    // exponent, quants
	NVFP4:  {{1, 36}},                    // scales, quants
	Q1_0:   {{2, 1}, {1, 16}},            // d, quants
	Q2_0:   {{2, 1}, {1, 16}},            // d, quants
}

// SwapBytes turns the data of a tensor, whole blocks, from little-endian to big-endian or back, in place. It refuses
// the types of which it is not defined what they are in big-endian files, with an error that is errors.ErrUnsupported.
func SwapBytes(t Type, data []byte) error {
	layout, ok := layouts[t]
	if !ok {
		return errkind.Errorf(errors.ErrUnsupported, "gguf: the byte order of %v cannot be changed", t)
	}
	size := t.BlockSize()
	if len(data)%size != 0 {
		return fmt.Errorf("gguf: %d bytes are not whole blocks of %v, of %d bytes", len(data), t, size)
	}
	for ; len(data) > 0; data = data[size:] {
		swapBlock(layout, data)
	}
	return nil
}

func swapBlock(layout []field, block []byte) {
	for _, f := range layout {
		n := f.width * f.count
		if f.width > 1 {
			for i := 0; i < n; i += f.width {
				slices.Reverse(block[i : i+f.width])
			}
		}
		block = block[n:]
	}
}
