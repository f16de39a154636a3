package quant

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/testdata"
)

// A golden is a folder of blocks that the reference made.
type golden struct {
	Cols  int
	Types map[string]struct {
		Dequantized         string `json:"dequantized"`            // SHA-256 of the weights of TYPE.bin
		DequantizedWeighted string `json:"dequantized.importance"` // and of TYPE.importance.bin
	}
	dir        string
	input      []float32
	importance []float32
}

func openGolden(t testing.TB, dir string) *golden {
	t.Helper()
	g := &golden{dir: dir}
	if err := json.Unmarshal(g.file(t, "manifest.json"), g); err != nil {
		t.Fatal(err)
	}
	g.input, g.importance = floats(g.file(t, "input.f32")), floats(g.file(t, "importance.f32"))
	return g
}

func (g *golden) file(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(g.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func floats(data []byte) []float32 {
	x := make([]float32, len(data)/4)
	for i := range x {
		x[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return x
}

func littleEndianBytes(x []float32) []byte {
	var data []byte
	for _, f := range x {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(f))
	}
	return data
}

// check compares everything of one type that the folder holds. sums tells whether the manifest has hashes of the
// weights; otherwise they are in a file.
func (g *golden) check(t *testing.T, name string, sums bool) {
	typ, err := gguf.ParseType(name)
	if err != nil {
		t.Fatal(err)
	}
	if !Supported(typ) {
		t.Fatalf("%s is not supported", name)
	}
	weighted := g.file(t, name+".importance.bin")
	g.checkQuantize(t, typ, weighted, g.importance)
	var plain []byte
	if !NeedsImportance(typ) {
		plain = g.file(t, name+".bin")
		g.checkQuantize(t, typ, plain, nil)
	}
	if sums {
		checkSum(t, typ, len(g.input), weighted, g.Types[name].DequantizedWeighted)
		if plain != nil {
			checkSum(t, typ, len(g.input), plain, g.Types[name].Dequantized)
		}
		return
	}
	if plain == nil {
		plain = weighted
	}
	checkDequantize(t, typ, plain, floats(g.file(t, name+".f32")))
}

func (g *golden) checkQuantize(t *testing.T, typ gguf.Type, want []byte, importance []float32) {
	t.Helper()
	got := make([]byte, len(want))
	Quantize(typ, got, g.input, g.Cols, importance)
	if bytes.Equal(got, want) {
		return
	}
	size, n, first := typ.BlockSize(), 0, -1
	for i := 0; i < len(want); i += size {
		if !bytes.Equal(got[i:i+size], want[i:i+size]) {
			if n++; first < 0 {
				first = i
			}
		}
	}
	block := first / size
	t.Errorf("with importance: %v: %d of %d blocks differ, first block %d (row %d)\ngot  %x\nwant %x", importance != nil,
		n, len(want)/size, block, block*typ.BlockLen()/g.Cols, got[first:first+size], want[first:first+size])
}

func checkDequantize(t *testing.T, typ gguf.Type, blocks []byte, want []float32) {
	t.Helper()
	got := make([]float32, len(want))
	Dequantize(typ, got, blocks)
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("weight %d: got %v (%#x), want %v (%#x)", i, got[i], math.Float32bits(got[i]), want[i],
				math.Float32bits(want[i]))
		}
	}
}

func checkSum(t *testing.T, typ gguf.Type, n int, blocks []byte, want string) {
	t.Helper()
	y := make([]float32, n)
	Dequantize(typ, y, blocks)
	if sum := sha256.Sum256(littleEndianBytes(y)); hex.EncodeToString(sum[:]) != want {
		t.Errorf("dequantized to weights with SHA-256 %x, want %s", sum, want)
	}
}

func TestGolden(t *testing.T) {
	g := openGolden(t, filepath.Join("testdata", "golden"))
	eachTier(t, func(t *testing.T) {
		for name := range g.Types {
			t.Run(strings.ToUpper(name), func(t *testing.T) { g.check(t, name, true) })
		}
	})
}

func TestGoldenShared(t *testing.T) {
	g := openGolden(t, testdata.Shared(t, "quant/blocks"))
	eachTier(t, func(t *testing.T) {
		for name := range g.Types {
			t.Run(strings.ToUpper(name), func(t *testing.T) { g.check(t, name, false) })
		}
	})
}
