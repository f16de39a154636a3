package weights

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/modeltest"
	"github.com/peftconv/peftconv/quant"
	"github.com/peftconv/peftconv/safetensors"
)

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// writeSafetensors writes a file of these tensors.
func writeSafetensors(t *testing.T, path string, meta map[string]string, items ...safetensors.Item) {
	t.Helper()
	var b bytes.Buffer
	if err := safetensors.Write(&b, meta, items); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// long is a number of rows of 256 that gives several pieces, the last of them short.
const long = 2*PieceElements/256 + 3

// TestPieces: the pieces of a tensor are its data, and their numbers are its numbers, for types of all kinds.
func TestPieces(t *testing.T) {
	types := []gguf.Type{gguf.F32, gguf.F16, gguf.BF16, gguf.Q4_0, gguf.Q8_0, gguf.Q4_K, gguf.Q6_K, gguf.IQ4_NL,
		gguf.MXFP4}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		var tensors []gguf.Tensor
		for _, typ := range types {
			tensors = append(tensors, gguf.Tensor{Name: typ.String(), Shape: []int64{256, long}, Type: typ})
		}
		path := filepath.Join(t.TempDir(), "m.gguf")
		modeltest.WriteGGUF(t, path, gguf.Format{Order: order}, nil, tensors, nil)
		for _, x := range open(t, path).Tensors() {
			t.Run(fmt.Sprint(x.Name, order), func(t *testing.T) { checkPieces(t, x) })
		}
	}
}

func checkPieces(t *testing.T, x *Tensor) {
	if x.Pieces() != 3 || !x.Readable() || x.Elements() != 256*long {
		t.Fatalf("%d pieces of %d elements", x.Pieces(), x.Elements())
	}
	typ, err := gguf.ParseType(x.Type)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]float32, x.Elements())
	data := modeltest.Data(t, gguf.Tensor{Name: x.Name, Shape: x.Shape, Type: typ}, nil)
	quant.Dequantize(typ, want, data)
	var all []byte
	var numbers []float64
	var r Reader
	for i := range x.Pieces() {
		all = append(all, x.Piece(i)...)
		numbers = append(numbers, r.Numbers(x, i)...)
		single := r.Singles(x, i)
		if len(single) == 0 || float64(single[len(single)-1]) != numbers[len(numbers)-1] {
			t.Errorf("%d singles in piece %d", len(single), i)
		}
		if at := r.FirstNonFinite(x, i); at >= 0 {
			t.Errorf("element %d is not finite", at)
		}
		x.Release(i)
	}
	if int64(len(all)) != x.Size() || !bytes.Equal(all, x.data) {
		t.Errorf("the pieces have %d bytes of %d", len(all), x.Size())
	}
	if !slices.EqualFunc(numbers, want, func(a float64, b float32) bool { return a == float64(b) }) {
		t.Errorf("%d numbers, other than the %d of the tensor", len(numbers), len(want))
	}
}

// TestNumbers reads numbers of the types that are no weights.
func TestNumbers(t *testing.T) {
	little := func(v any) []byte {
		b, err := binary.Append(nil, binary.LittleEndian, v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	path := filepath.Join(t.TempDir(), "x.safetensors")
	for _, tt := range []struct {
		d    safetensors.DType
		data []byte
		want []float64 // nil: cannot be read
	}{
		{safetensors.F64, little([]float64{0.1, -1e300}), []float64{0.1, -1e300}},
		{safetensors.F32, little([]float32{0.5, -3}), []float64{0.5, -3}},
		{safetensors.F16, little([]uint16{0x3c00, 0xc000}), []float64{1, -2}},
		{safetensors.BF16, little([]uint16{0x3f80, 0xc040}), []float64{1, -3}},
		{safetensors.F8E4M3, []byte{0x38, 0xb8}, []float64{1, -1}},
		{safetensors.F8E5M2, []byte{0x3c, 0xbc}, []float64{1, -1}},
		{safetensors.Bool, []byte{0, 1}, []float64{0, 1}},
		{safetensors.U8, []byte{0, 255}, []float64{0, 255}},
		{safetensors.I8, []byte{0, 255}, []float64{0, -1}},
		{safetensors.U16, little([]uint16{1, 65535}), []float64{1, 65535}},
		{safetensors.I16, little([]int16{1, -2}), []float64{1, -2}},
		{safetensors.U32, little([]uint32{1, 1<<32 - 1}), []float64{1, 1<<32 - 1}},
		{safetensors.I32, little([]int32{1, -2}), []float64{1, -2}},
		{safetensors.U64, little([]uint64{1, 1 << 63}), []float64{1, 1 << 63}},
		{safetensors.I64, little([]int64{1, -2}), []float64{1, -2}},
		{safetensors.C64, little([]float32{1, 2, 3, 4}), nil},
		{safetensors.F4, []byte{0x12}, nil},
	} {
		writeSafetensors(t, path, nil, safetensors.Item{Name: "x", DType: tt.d, Shape: []int64{2}, Data: tt.data})
		f := open(t, path)
		x := f.Tensor("x")
		var r Reader
		switch {
		case x.Readable() != (tt.want != nil):
			t.Errorf("%s is readable: %v", tt.d, x.Readable())
		case x.Readable() && !slices.Equal(r.Numbers(x, 0), tt.want):
			t.Errorf("%s: %v, expected %v", tt.d, r.Numbers(x, 0), tt.want)
		case tt.d == safetensors.F64 && r.Singles(x, 0) != nil:
			t.Error("F64 became float32")
		case x.Pieces() != 1 || !bytes.Equal(x.Piece(0), tt.data) || r.FirstNonFinite(x, 0) >= 0:
			t.Errorf("%s: %d pieces, %v", tt.d, x.Pieces(), x.Piece(0))
		}
	}
}

// TestBigEndianIntegers reads what only GGUF has big-endian.
func TestBigEndianIntegers(t *testing.T) {
	list := []gguf.Tensor{{Name: "i16", Shape: []int64{1}, Type: gguf.I16},
		{Name: "i32", Shape: []int64{1}, Type: gguf.I32},
		{Name: "i64", Shape: []int64{1}, Type: gguf.I64}, {Name: "f64", Shape: []int64{1}, Type: gguf.F64}}
	values := map[string]any{"i16": int16(-2), "i32": int32(-3), "i64": int64(-4), "f64": 0.1}
	path := filepath.Join(t.TempDir(), "m.gguf")
	modeltest.WriteGGUF(t, path, gguf.Format{Order: binary.BigEndian}, nil, list, func(name string, data []byte) {
		if _, err := binary.Encode(data, binary.BigEndian, values[name]); err != nil {
			t.Fatal(err)
		}
	})
	var r Reader
	for name, want := range map[string]float64{"i16": -2, "i32": -3, "i64": -4, "f64": 0.1} {
		if got := r.Numbers(open(t, path).Tensor(name), 0); got[0] != want {
			t.Errorf("%s: %v, expected %v", name, got, want)
		}
	}
}

func TestFirstNonFinite(t *testing.T) {
	const rows = 2 * PieceElements / 256
	for _, typ := range []gguf.Type{gguf.F32, gguf.F16, gguf.Q8_0, gguf.Q4_K, gguf.F64} {
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			path := filepath.Join(t.TempDir(), "m.gguf")
			list := []gguf.Tensor{{Name: "x", Shape: []int64{256, rows}, Type: typ}}
			at := int64(PieceElements + 512) // the beginning of a block
			modeltest.WriteGGUF(t, path, gguf.Format{Order: order}, nil, list, func(_ string, data []byte) {
				if typ == gguf.F64 {
					clear(data)
				}
				size := typ.BlockSize()
				block := data[int(at)/typ.BlockLen()*size:][:size]
				for i := range block {
					block[i] = 0xff
				}
			})
			x := open(t, path).Tensor("x")
			var r Reader
			if first, second := r.FirstNonFinite(x, 0), r.FirstNonFinite(x, 1); first != -1 || second != at {
				t.Errorf("%v %v: found at %d and %d, expected at %d", typ, order, first, second, at)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "x.safetensors")
	writeSafetensors(t, path, nil, safetensors.Item{Name: "x", DType: safetensors.F8E4M3, Shape: []int64{4},
		Data: []byte{0, 1, 0x7f, 0xff}})
	var r Reader
	if at := r.FirstNonFinite(open(t, path).Tensor("x"), 0); at != 2 {
		t.Errorf("F8: found at %d", at)
	}
}

func TestUnknownType(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.gguf")
	modeltest.WriteGGUF(t, path, gguf.Format{}, nil, []gguf.Tensor{{Name: "xyz", Shape: []int64{256, long}}}, nil)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(data[bytes.Index(data, []byte("xyz"))+3+4+16:], 77)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	x := open(t, path).Tensor("xyz")
	n := 0
	for i := range x.Pieces() {
		n += len(x.Piece(i))
	}
	if x.Readable() || x.Type != "type 77" || int64(n) != x.Size() || n != 4*256*long {
		t.Errorf("%s: %d bytes in pieces, %d in all", x.Type, n, x.Size())
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "model-00001-of-00002.safetensors"),
		filepath.Join(dir, "model-00002-of-00002.safetensors")
	writeSafetensors(t, one, map[string]string{"b": "2", "a": "1"},
		safetensors.Item{Name: "x", DType: safetensors.U8, Shape: []int64{1}, Data: []byte{1}})
	writeSafetensors(t, two, nil, safetensors.Item{Name: "y", DType: safetensors.U8, Shape: []int64{}, Data: []byte{1}})
	index := filepath.Join(dir, "model.safetensors.index.json")
	text := `{"metadata":{"total_size":2},"weight_map":{"x":"model-00001-of-00002.safetensors","y":"model-00002-of-00002.safetensors"}}`
	if err := os.WriteFile(index, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, index} {
		f := open(t, path)
		if !slices.Equal(f.Files, []string{one, two}) || f.Tensor("y") == nil || f.Size() != 2 || f.Tensor("y").Cols != 1 {
			t.Errorf("%s: files %v, %d tensors", path, f.Files, f.Len())
		}
	}
	if meta := open(t, one).Metadata(); len(meta) != 2 || meta[0].Key != "a" || meta[1].Value.String() != `"2"` {
		t.Errorf("metadata %v", meta)
	}
	other := filepath.Join(dir, "other.txt")
	if err := os.WriteFile(other, []byte("text and more"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(other); err == nil || !strings.Contains(err.Error(), `it begins with "text"`) {
		t.Errorf("a text: %v", err)
	}
	if _, err := Open(filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
}

func TestEach(t *testing.T) {
	done := make([]bool, 100)
	err := Each(t.Context(), len(done), func(i int) error {
		done[i] = true
		if i == 30 || i == 70 {
			return fmt.Errorf("number %d", i)
		}
		return nil
	})
	if err == nil || err.Error() != "number 30" || slices.Contains(done, false) {
		t.Errorf("error %v, done %v", err, done)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Each(ctx, 1, func(int) error { return errors.New("began") }); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context: %v", err)
	}
}
