package quant

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/peftconv/peftconv/gguf"
)

// TestCodesRoundAsSetCodesDoes: codes changed one by one are those of SetCodes, and Round returns the new weights.
func TestCodesRoundAsSetCodesDoes(t *testing.T) {
	everyType(t, func(t *testing.T, typ gguf.Type) {
		if HasIntegerCodes(typ) != (HasCodes(typ) && !isFloat(typ) && !HasPoints(typ)) {
			t.Fatalf("HasIntegerCodes says %v", HasIntegerCodes(typ))
		}
		if !HasIntegerCodes(typ) {
			t.Skip("weights have no codes")
		}
		m := quantizedRow(typ, 1024, 31)
		x, want := make([]float32, m.Cols), make([]float32, m.Cols)
		m.Row(x, 0)
		scale, _ := scalesOfRow(m)
		values := layoutOf(typ).values
		step := (values[len(values)-1] - values[0]) / float32(len(values)-1)
		r := rand.New(rand.NewPCG(7, 8))
		change, thresholds := make([]float32, m.Cols), make([]float32, m.Cols)
		for i := range change {
			thresholds[i] = r.Float32()
			change[i] = 3 * step * scale[i/GroupLen(typ)] * (r.Float32() - 0.5)
		}
		data := bytes.Clone(m.Data)
		SetCodes(typ, data, data, change, Rounding{Stochastic: thresholds})
		Dequantize(typ, want, data)
		var l Codes
		l.Load(typ, m.Data)
		if l.Store(data); !bytes.Equal(data, m.Data) {
			t.Error("unchanged codes are stored as others")
		}
		changed := 0
		for i := range x {
			got := l.Round(i, x[i]+change[i], thresholds[i])
			if got != want[i] {
				t.Fatalf("weight %d, %v + %v, became %v, SetCodes makes it %v", i, x[i], change[i], got, want[i])
			}
			if got != x[i] {
				changed++
			}
		}
		l.Store(data)
		if Dequantize(typ, x, data); !equalFloats(x, want) {
			t.Error("the stored row is not what the codes say")
		}
		if changed < 100 {
			t.Errorf("only %d weights changed", changed)
		}
	})
}

func equalFloats(a, b []float32) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

// TestCodesStayBytes: a row of any bytes is stored as it was loaded, and weights without a scale do not change.
func TestCodesStayBytes(t *testing.T) {
	everyType(t, func(t *testing.T, typ gguf.Type) {
		if !HasIntegerCodes(typ) {
			t.Skip("weights have no codes")
		}
		m := quantizedRow(typ, 1024, 32)
		var l Codes
		for range 2 { // the second time into used memory
			l.Load(typ, m.Data)
			data := make([]byte, len(m.Data))
			if l.Store(data); !bytes.Equal(data, m.Data) {
				t.Error("the row is not what was loaded")
			}
		}
		zero := make([]byte, len(m.Data))
		Quantize(typ, zero, make([]float32, m.Cols), m.Cols, ones(m.Cols))
		row := Matrix{typ, 1, m.Cols, zero}
		if scale, _ := scalesOfRow(row); scale[0] != 0 {
			t.Skip("zeros have a scale")
		}
		l.Load(typ, zero)
		if got := l.Round(0, 1, 0.5); got != 0 {
			t.Errorf("a weight without a scale became %v", got)
		}
	})
}
