package requant

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/quant"
	"github.com/peftconv/peftconv/safetensors"
)

// packing is a matrix and its requantized blocks, which differ in some weights.
func packing(t testing.TB, typ gguf.Type, share float32) *Blocks {
	t.Helper()
	m := changed(t, typ, 8, 512, share)
	b := &Blocks{Requantizer: *m.Requantizer, Matrix: m.Base, Requantized: *m.Base}
	b.Requantized.Data = make([]byte, len(m.Base.Data))
	b.Rows(b.Requantized.Data, NewRows(8*512), 0, m.Load)
	return b
}

// TestPacked: blocks come back bit for bit in the smaller form, which is never larger than the blocks and its head, or
// there is none within the limit.
func TestPacked(t *testing.T) {
	for _, typ := range []gguf.Type{gguf.Q4_0, gguf.Q2_K, gguf.Q6_K, gguf.IQ4_XS, gguf.Q8_0, gguf.F16, gguf.F32} {
		for _, share := range []float32{0, 0.01, 1} {
			b := packing(t, typ, share)
			size := len(b.Matrix.Data)
			p := b.Pack(math.MaxInt)
			got := make([]byte, size)
			if err := p.Unpack(got, b.Matrix); err != nil || !bytes.Equal(got, b.Requantized.Data) {
				t.Fatalf("%v, changes of %v: other blocks: %v", typ, share, err)
			}
			if len(p) > packedHead+size || share == 0 && len(p) > packedHead+size/10 {
				t.Errorf("%v, changes of %v: %d bytes, the blocks have %d", typ, share, len(p), size)
			}
			if again := b.Pack(len(p)); !bytes.Equal(again, p) {
				t.Errorf("%v, changes of %v: %d bytes within a limit of %d", typ, share, len(again), len(p))
			}
			if less := b.Pack(len(p) - 1); less != nil {
				t.Errorf("%v, changes of %v: %d bytes within a limit of %d", typ, share, len(less), len(p)-1)
			}
		}
	}
}

// TestPackedAsTheyAre: blocks that have nothing in common with those of the base are stored as they are.
func TestPackedAsTheyAre(t *testing.T) {
	b := packing(t, gguf.Q4_0, 0)
	r := prng.NewRandom(5, "bytes")
	for i := range b.Requantized.Data {
		b.Requantized.Data[i] = byte(r.Next())
		if i%b.Matrix.Type.BlockSize() == 1 { // the scale stays finite
			b.Requantized.Data[i] &= 0x7b
		}
	}
	p := b.Pack(math.MaxInt)
	if p[0] != packedAsIs || !bytes.Equal(p[packedHead:], b.Requantized.Data) {
		t.Errorf("form %d of %d bytes", p[0], len(p))
	}
	got := make([]byte, len(b.Matrix.Data))
	if err := p.Unpack(got, b.Matrix); err != nil || !bytes.Equal(got, b.Requantized.Data) {
		t.Errorf("other blocks: %v", err)
	}
}

// TestPackedLies: what is malformed or belongs to another base is refused.
func TestPackedLies(t *testing.T) {
	b := packing(t, gguf.Q4_0, 0.1)
	good := b.Pack(math.MaxInt)
	if good[0] != packedDifference {
		t.Fatalf("form %d", good[0])
	}
	other := *b.Matrix
	other.Data = bytes.Clone(other.Data)
	other.Data[40] ^= 1
	longer := changed(t, gguf.Q4_0, 9, 512, 0.1).Base
	infinite := *b
	infinite.Requantized.Data = bytes.Clone(b.Requantized.Data)
	infinite.Requantized.Data[1] = 0x7c
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	bomb := append(bytes.Clone(good[:packedHead]), z.EncodeAll(make([]byte, 1<<26), nil)...)
	edit := func(at int, v byte) Packed {
		p := bytes.Clone(good)
		p[at] = v
		return p
	}
	for name, c := range map[string]struct {
		p    Packed
		over *quant.Matrix
		want string
		kind error
	}{
		"short":        {good[:packedHead-1], b.Matrix, "32 bytes, expected 33 or more", nil},
		"form":         {edit(0, 9), b.Matrix, "form 9 is not known", errors.ErrUnsupported},
		"as is":        {edit(0, packedAsIs), b.Matrix, "bytes of blocks, expected 2304", ErrOtherBlocks},
		"hash":         {edit(7, good[7]^1), b.Matrix, "the blocks have SHA-256", ErrOtherBlocks},
		"no frame":     {good[:packedHead+3], b.Matrix, "the Zstandard frame: ", nil},
		"cut":          {good[:len(good)-1], b.Matrix, "the Zstandard frame: ", nil},
		"other base":   {good, &other, "the blocks have SHA-256", ErrOtherBlocks},
		"larger base":  {good, longer, "2304 bytes of blocks, expected 2592", ErrOtherBlocks},
		"not finite":   {infinite.Pack(math.MaxInt), b.Matrix, "row 0, column 0 is not finite", nil},
		"decompresses": {bomb, b.Matrix, "more than 2304 bytes", ErrOtherBlocks},
	} {
		err := c.p.Unpack(make([]byte, len(c.over.Data)), c.over)
		if err == nil || !strings.Contains(err.Error(), c.want) || c.kind != nil && !errors.Is(err, c.kind) {
			t.Errorf("%s: %v, expected %q", name, err, c.want)
		}
	}
}

// TestReadPacked: the tensor of a module is found by its name, and refused with another shape or type.
func TestReadPacked(t *testing.T) {
	p := packing(t, gguf.Q4_0, 0.1).Pack(math.MaxInt)
	read := func(item safetensors.Item) (Packed, string, bool, error) {
		var file bytes.Buffer
		if err := safetensors.Write(&file, nil, []safetensors.Item{item}); err != nil {
			t.Fatal(err)
		}
		f, err := safetensors.Parse(file.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		return ReadPacked(f.Tensors[0], "m.")
	}
	got, module, ok, err := read(p.Item("m.", "layers.0.up"))
	if !bytes.Equal(got, p) || module != "layers.0.up" || !ok || err != nil {
		t.Errorf("of %q: %d bytes, %v, %v", module, len(got), ok, err)
	}
	for _, name := range []string{"layers.0.up.qat_blocks.weight", "m.layers.0.qat_code_A.weight"} {
		item := p.Item("m.", "x")
		item.Name = name
		if _, _, ok, err := read(item); ok || err != nil {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
	for _, item := range []safetensors.Item{
		{DType: "F32", Shape: []int64{20}, Data: make([]byte, 80)},
		{DType: "U8", Shape: []int64{10, 8}, Data: make([]byte, 80)},
		{DType: "U8", Shape: []int64{32}, Data: make([]byte, 32)},
	} {
		item.Name = "m.x" + packedEnd
		if _, _, ok, err := read(item); !ok || err == nil || !strings.Contains(err.Error(), "expected 33 or more") {
			t.Errorf("%s %v: %v, %v", item.DType, item.Shape, ok, err)
		}
	}
}

// FuzzUnpack: whatever the bytes are, either the blocks have the hash that stands before them or there is an error.
func FuzzUnpack(f *testing.F) {
	b := packing(f, gguf.Q4_0, 0.1)
	f.Add([]byte(b.Pack(math.MaxInt)))
	f.Add(append(bytes.Clone(b.Pack(math.MaxInt)[:packedHead]), b.Requantized.Data...))
	f.Fuzz(func(t *testing.T, p []byte) {
		got := make([]byte, len(b.Matrix.Data))
		if Packed(p).Unpack(got, b.Matrix) != nil {
			return
		}
		if sum := sha256.Sum256(got); !bytes.Equal(sum[:], p[1:packedHead]) {
			t.Fatal("another hash")
		}
	})
}
