package requant

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/quant"
	"github.com/peftconv/peftconv/safetensors"
)

// Packed is a matrix's requantized blocks as an adapter's file has them: a byte that says the form, the SHA-256 of the
// blocks, and the blocks in that form.
type Packed []byte

// Forms of blocks in a file.
const (
	packedAsIs = 0 // the blocks
	// A Zstandard frame of the exclusive or of the blocks and those of the base, with the bytes in another order: first
	// byte 0 of every block, then byte 1, and so on.
	packedDifference = 1
)

// packedHead is the length of what stands before the blocks.
const packedHead = 1 + sha256.Size

// ErrOtherBlocks is the error of blocks that belong to another matrix than the one that they are unpacked over.
var ErrOtherBlocks = errors.New("blocks of another base")

// Pack is the requantized blocks of a matrix in the smaller form, or nil where both have more than most bytes.
func (b *Blocks) Pack(most int) Packed {
	sum := sha256.Sum256(b.Requantized.Data)
	start := func(form byte) Packed { return append(Packed{form}, sum[:]...) }
	size := len(b.Requantized.Data)
	out := limited{data: start(packedDifference), most: min(most, packedHead+size-1)}
	if compress(&out, b.difference()) {
		return out.data
	}
	if packedHead+size > most {
		return nil
	}
	return append(start(packedAsIs), b.Requantized.Data...)
}

// difference is what packedDifference compresses.
func (b *Blocks) difference() []byte {
	x := make([]byte, len(b.Matrix.Data))
	each := shuffled(b.Matrix)
	for i, v := range b.Matrix.Data {
		x[each(i)] = v ^ b.Requantized.Data[i]
	}
	return x
}

// shuffled gives the place of a byte of a matrix where the bytes of the same place in all blocks stand together.
func shuffled(w *quant.Matrix) func(i int) int {
	size := w.Type.BlockSize()
	blocks := len(w.Data) / size
	return func(i int) int { return i%size*blocks + i/size }
}

// Unpack sets dst to the blocks of a matrix that has the base's blocks w.
func (p Packed) Unpack(dst []byte, w *quant.Matrix) error {
	if len(p) < packedHead {
		return fmt.Errorf("%d bytes, expected %d or more", len(p), packedHead)
	}
	data := p[packedHead:]
	switch p[0] {
	case packedAsIs:
		if len(data) != len(w.Data) {
			return errkind.Errorf(ErrOtherBlocks, "%d bytes of blocks, expected %d", len(data), len(w.Data))
		}
		copy(dst, data)
	case packedDifference:
		x, err := decompress(data, len(w.Data))
		if err != nil {
			return err
		}
		each := shuffled(w)
		for i, v := range w.Data {
			dst[i] = v ^ x[each(i)]
		}
	default:
		return errkind.Errorf(errors.ErrUnsupported, "form %d is not known, expected %d or %d", p[0], packedAsIs,
			packedDifference)
	}
	if sum := sha256.Sum256(dst); !bytes.Equal(sum[:], p[1:packedHead]) {
		return errkind.Errorf(ErrOtherBlocks, "the blocks have SHA-256 %x, expected %x", sum, []byte(p[1:packedHead]))
	}
	if row, col, found := (&quant.Matrix{Type: w.Type, Rows: w.Rows, Cols: w.Cols, Data: dst}).FirstNonFinite(); found {
		return fmt.Errorf("the weight in row %d, column %d is not finite", row, col)
	}
	return nil
}

// Seed is a number that other blocks do not have.
func (p Packed) Seed() uint64 { return binary.LittleEndian.Uint64(p[1:]) }

// limited collects no more than some bytes.
type limited struct {
	data []byte
	most int
}

// Write is an error where the limit is passed.
func (l *limited) Write(p []byte) (int, error) {
	if len(l.data)+len(p) > l.most {
		return 0, errors.New("too large")
	}
	l.data = append(l.data, p...)
	return len(p), nil
}

// encoders are those of Zstandard, each of which takes some megabytes.
var encoders = sync.Pool{New: func() any {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false))
	if err != nil {
		panic("requant: options of Zstandard: " + err.Error())
	}
	return z
}}

// compress appends a Zstandard frame, and reports whether there was room for it.
func compress(out *limited, x []byte) bool {
	z := encoders.Get().(*zstd.Encoder)
	defer encoders.Put(z)
	z.Reset(out)
	_, err := z.Write(x)
	return errors.Join(err, z.Close()) == nil
}

// maxWindow is the largest window of a Zstandard frame that is read: 128 MiB, as of the zstd program.
const maxWindow = 128 << 20

// decompress is what a Zstandard frame holds, which must be size bytes.
func decompress(frame []byte, size int) ([]byte, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	x, err := z.DecodeAll(frame, make([]byte, 0, size))
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return nil, errkind.Errorf(ErrOtherBlocks, "more than %d bytes of blocks", size)
	case err != nil:
		return nil, fmt.Errorf("the Zstandard frame: %w", err)
	case len(x) != size:
		return nil, errkind.Errorf(ErrOtherBlocks, "%d bytes of blocks, expected %d", len(x), size)
	}
	return x, nil
}

// packedEnd is the ending of the name of a tensor of blocks, after the module.
const packedEnd = ".qat_blocks.weight"

// Item is the tensor of a file that holds the blocks of a module, by its name with a prefix.
func (p Packed) Item(prefix, module string) safetensors.Item {
	return safetensors.Item{Name: prefix + module + packedEnd, DType: "U8", Shape: []int64{int64(len(p))}, Data: p}
}

// ReadPacked is the blocks that a tensor holds, and their module; ok says whether it is one of blocks by its name.
func ReadPacked(t *safetensors.Tensor, prefix string) (p Packed, module string, ok bool, err error) {
	module, ok = strings.CutSuffix(t.Name, packedEnd)
	name, hasPrefix := strings.CutPrefix(module, prefix)
	switch {
	case !ok || !hasPrefix:
		return nil, "", false, nil
	case t.DType != "U8" || len(t.Shape) != 1 || len(t.Bytes()) < packedHead:
		return nil, "", true, fmt.Errorf("tensor %q is %s %v, expected %d or more values of U8", t.Name, t.DType, t.Shape,
			packedHead)
	}
	return bytes.Clone(t.Bytes()), name, true, nil
}
