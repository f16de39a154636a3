package quant

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/peftconv/peftconv/gguf"
)

// everyPointType calls f for the types whose weights are points of a lattice.
func everyPointType(t *testing.T, f func(t *testing.T, typ gguf.Type)) {
	everyType(t, func(t *testing.T, typ gguf.Type) {
		if !HasPoints(typ) {
			t.Skip("weights are no points")
		}
		f(t, typ)
	})
}

// kept is the part of a change that is there, along it, and how far what is there is from it, as a share of its length.
func kept(got, x, change []float32) (share, noise float64) {
	var along, asked, off float64
	for i, d := range change {
		is := float64(got[i]) - float64(x[i])
		along += is * float64(d)
		asked += float64(d) * float64(d)
		off += (is - float64(d)) * (is - float64(d))
	}
	return along / asked, math.Sqrt(off / asked)
}

// TestPointsKeepTheMean: a change far too small for any point shows in the mean of many, in each direction.
func TestPointsKeepTheMean(t *testing.T) {
	everyPointType(t, func(t *testing.T, typ gguf.Type) {
		m := quantizedRow(typ, 1<<17, 26)
		x, got := make([]float32, m.Cols), make([]float32, m.Cols)
		m.Row(x, 0)
		scale, _ := scalesOfRow(m)
		values := pointsOf[typ].value()
		step := values[len(values)-1] - values[0] // about that of a code
		for _, v := range values {
			if d := absf(v - values[0]); d > 0 {
				step = min(step, d)
			}
		}
		r := rand.New(rand.NewPCG(5, 6))
		thresholds := make([]float32, m.Cols)
		for i := range thresholds {
			thresholds[i] = float32(r.IntN(1<<16)) / (1 << 16)
		}
		for _, size := range []float32{0.02, 0.1, 0.5} {
			change := make([]float32, m.Cols)
			for i := range change {
				change[i] = size * step * float32(r.NormFloat64()) * scale[i/GroupLen(typ)]
			}
			data := bytes.Clone(m.Data)
			SetCodes(typ, data, m.Data, change, Rounding{Stochastic: thresholds})
			Dequantize(typ, got, data)
			share, noise := kept(got, x, change)
			t.Logf("changes of %.2f steps: %.3f is there, noise %.2f", size, share, noise)
			if share < 0.6 || share > 1.15 { // outermost points have no neighbours on one side
				t.Errorf("%.2f of changes of %.2f steps is there, expected 0.6 to 1.15", share, size)
			}
		}
	})
}

// TestPointsAreNear: without thresholds a change to other points leads there or nearly so, and never farther away than
// where the points were.
func TestPointsAreNear(t *testing.T) {
	everyPointType(t, func(t *testing.T, typ gguf.Type) {
		m, other := quantizedRow(typ, 1<<14, 24), quantizedRow(typ, 1<<14, 25)
		x, to, got := make([]float32, m.Cols), make([]float32, m.Cols), make([]float32, m.Cols)
		kind, size := pointsOf[typ], mustLookup(typ).bytes
		for at := 0; at < m.Cols; at += PointLen { // the points of the other row, with the scales of this one
			place, signs := kind.get(other.Data[at/weightsK*size:][:size], at%weightsK/PointLen)
			if !kind.signs {
				_, signs = kind.get(m.Data[at/weightsK*size:][:size], at%weightsK/PointLen)
			}
			kind.set(other.Data[at/weightsK*size:][:size], at%weightsK/PointLen, place, signs)
		}
		aimed := bytes.Clone(m.Data)
		for at := 0; at < m.Cols; at += PointLen {
			place, signs := kind.get(other.Data[at/weightsK*size:][:size], at%weightsK/PointLen)
			kind.set(aimed[at/weightsK*size:][:size], at%weightsK/PointLen, place, signs)
		}
		m.Row(x, 0)
		Dequantize(typ, to, aimed)
		change := make([]float32, m.Cols)
		for i := range change {
			change[i] = to[i] - x[i]
		}
		data := bytes.Clone(m.Data)
		SetCodes(typ, data, data, change, Rounding{})
		Dequantize(typ, got, data)
		share, off := kept(got, x, change)
		t.Logf("%.3f of the change, %.2f off", share, off)
		if off > 0.5 || share < 0.8 {
			t.Errorf("%.3f of the change is there, %.2f of it off", share, off)
		}
		for at := 0; at < m.Cols; at += PointLen {
			var was, is float64
			for i := at; i < at+PointLen; i++ {
				was += float64(change[i]) * float64(change[i])
				is += float64(got[i]-to[i]) * float64(got[i]-to[i])
			}
			if is > was*(1+1e-5) {
				t.Fatalf("weights from %d on are %v off, and were %v", at, math.Sqrt(is), math.Sqrt(was))
			}
		}
	})
}

// TestPointsFromMaster: with master weights, small changes move points that are far from them.
func TestPointsFromMaster(t *testing.T) {
	everyPointType(t, func(t *testing.T, typ gguf.Type) {
		master := normalWeights(1<<14, 27)
		m := Matrix{typ, 1, len(master), make([]byte, len(master)/typ.BlockLen()*typ.BlockSize())}
		Quantize(typ, m.Data, master, len(master), ones(len(master)))
		x, got, change := make([]float32, m.Cols), make([]float32, m.Cols), make([]float32, m.Cols)
		m.Row(x, 0)
		for i := range change {
			change[i] = 0.03
		}
		data := bytes.Clone(m.Data)
		SetCodes(typ, data, m.Data, change, Rounding{Master: master})
		Dequantize(typ, got, data)
		if share, _ := kept(got, x, change); share < 0.2 || share > 3 {
			t.Errorf("%.2f of the change is there", share)
		}
	})
}
