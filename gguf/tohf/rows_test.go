package tohf

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/quant"
)

// numbers is a matrix of the numbers of its elements.
func numbers(t *testing.T, typ gguf.Type, rows, cols int) stored {
	t.Helper()
	x := make([]float32, rows*cols)
	for i := range x {
		x[i] = float32(i)
	}
	data := make([]byte, len(x)/typ.BlockLen()*typ.BlockSize())
	quant.Quantize(typ, data, x, cols, nil)
	m, err := quant.NewMatrix(typ, rows, cols, data)
	if err != nil {
		t.Fatal(err)
	}
	return stored{m}
}

// all are the values of a matrix, row after row, made by its definition.
func all(m rows) [][]float32 {
	n, cols := m.dims()
	out := make([][]float32, n)
	of := func(m rows) [][]float32 { return all(m) }
	for r := range out {
		out[r] = make([]float32, cols)
	}
	switch m := m.(type) {
	case stored:
		for r := range out {
			m.Row(out[r], r)
		}
	case *stacked:
		out = nil
		for _, p := range m.parts {
			out = append(out, of(p)...)
		}
	case cut:
		copy(out, of(m.of)[m.first:])
	case ordered:
		x := of(m.of)
		for r, from := range m.order {
			out[r] = x[from]
		}
	case reordered:
		for r, x := range of(m.of) {
			for c, from := range m.order {
				out[r][c] = x[from]
			}
		}
	case turned:
		x := of(m.of)
		each, rows := m.size()
		for r := range out {
			for c := range out[r] {
				out[r][c] = x[r/each*rows+c][r%each]
			}
		}
	case calculated:
		for r, x := range of(m.of) {
			copy(out[r], x)
			m.by(out[r])
		}
	}
	return out
}

// TestTiles reads tiles of matrices that are made of others, and compares them with their definitions.
func TestTiles(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	shuffled := func(n int) []int32 {
		order := make([]int32, n)
		for i, v := range random.Perm(n) {
			order[i] = int32(v)
		}
		return order
	}
	a, b := numbers(t, gguf.F32, 70, 600), numbers(t, gguf.Q8_0, 30, 608)
	experts := numbers(t, gguf.F32, 3*110, 300)
	for name, m := range map[string]rows{
		"stored":      a,
		"stacked":     stack([]rows{a, cut{a, 3, 9}, a}),
		"cuts":        cuts(a, 2, 5, 10),
		"ordered":     inOrder(a, shuffled(70)),
		"joint":       inOrder(stack([]rows{cuts(a, 0, 5, 10), cuts(a, 5, 5, 10)}), shuffled(70)),
		"reordered":   reordered{a, shuffled(600)},
		"turned":      turned{a, 1},
		"turned Q8_0": turned{b, 1},
		"experts":     turned{inOrder(experts, shuffled(330)), 3},
		"latent":      stack([]rows{turned{cut{experts, 0, 300}, 1}, cut{experts, 20, 7}, turned{cut{experts, 5, 300}, 1}}),
		"calculated":  calculated{inOrder(a, shuffled(70)), lowered},
	} {
		want := all(m)
		n, cols := m.dims()
		if len(want) != n {
			t.Fatalf("%s: %d rows, expected %d", name, len(want), n)
		}
		for range 30 {
			r0 := random.IntN(n)
			r1 := r0 + 1 + random.IntN(n-r0)
			c0 := random.IntN(cols/tileCols+1) * tileCols
			c1 := cols
			if c0+tileCols < cols && random.IntN(2) == 0 {
				c1 = c0 + tileCols
			}
			got := make([]float32, (r1-r0)*(c1-c0))
			m.tile(got, r0, r1, c0, c1)
			for r := r0; r < r1; r++ {
				if row := got[(r-r0)*(c1-c0):][:c1-c0]; !slices.Equal(row, want[r][c0:c1]) {
					t.Fatalf("%s: row %d of tile %d:%d, %d:%d differs", name, r, r0, r1, c0, c1)
				}
			}
		}
	}
}

// TestPieces makes tensors of many pieces.
func TestPieces(t *testing.T) {
	m := numbers(t, gguf.F32, 3000, 700)
	for name, values := range map[string]rows{"rows": m, "turned": turned{m, 3}} {
		w := &writer{ctx: t.Context()}
		o := &output{name: name, values: values, from: gguf.F32}
		var got, want []byte
		count := 0
		err := w.pieces(o, gguf.F32, func(list []slot) error {
			for i := range list {
				got = append(got, list[i].data...)
				count++
			}
			return nil
		})
		for _, row := range all(values) {
			data := make([]byte, 4*len(row))
			encode(gguf.F32, data, row)
			want = append(want, data...)
		}
		if err != nil || count < 3 || !bytes.Equal(got, want) {
			t.Errorf("%s: %d pieces of %d bytes, expected %d; %v", name, count, len(got), len(want), err)
		}
	}
}
