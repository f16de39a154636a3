package model

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
)

// randomModel is a small llama, or one with a window, of random weights of a type.
func randomModel(t *testing.T, kind gguf.Type, window int) *Model {
	t.Helper()
	m, err := Random(arch.Spec{
		Architecture: arch.Llama, Layers: 3, Width: 256, Vocab: 300, Context: 512, NormEps: 1e-5,
		Layer: arch.Layer{
			FFN: 512, QueryHeads: 4, KeyHeads: 2, HeadDim: 64, Rope: arch.Rope{Dim: 64, Base: 10000, Scale: 1}, Window: window,
		},
	}, kind)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// someIDs are tokens below 300.
func someIDs(n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32((i*i*31 + 7*i + 3) % 300)
	}
	return ids
}

// differ is the root mean square difference of two lists over that of the second.
func differ(got, want []float32) float64 {
	var sum, all float64
	for i, v := range want {
		d := float64(got[i] - v)
		sum += d * d
		all += float64(v) * float64(v)
	}
	return math.Sqrt(sum / all)
}

// TestSessionRounds: a linear map of a session under the runtime's activations, whose product is of integers, gives
// what one of a packed pass does, whose product is of floats, but for the order of sums. The logits are nearer to those
// of the packed pass than to those of exact activations: an input at the border of two codes may be rounded either way
// after sums in another order.
func TestSessionRounds(t *testing.T) {
	for _, kind := range []gguf.Type{gguf.Q4_0, gguf.Q4_1, gguf.Q5_0, gguf.Q5_1, gguf.Q8_0, gguf.IQ4_NL, gguf.MXFP4,
		gguf.Q4_K, gguf.Q5_K, gguf.Q6_K, gguf.IQ4_XS, gguf.Q3_K, gguf.F16} {
		m, ids, hooks := randomModel(t, kind, 0), someIDs(24), RuntimeActivations{NoHooks{}}
		l := m.Layers[0].Linear(arch.Down)
		x := autograd.NewConst(3, l.W.Cols, make([]float32, 3*l.W.Cols))
		for i := range x.Data {
			x.Data[i] = float32(math.Sin(float64(i*i))) * float32(i%7)
		}
		if y := m.NewSession(1).linear(l, x, hooks); y != nil {
			if d := differ(y.Data, linear(autograd.NewTape(), l, x, hooks).Data); d > 2e-6 {
				t.Errorf("%v: products differ by %v", kind, d)
			}
		} else if l.W.HasProducts() {
			t.Errorf("%v: no product", kind)
		}
		var b batch.Batch
		b.Append(ids, nil)
		rows := []int{19, 22, 23}
		tape := autograd.NewTape()
		want := slices.Clone(m.Logits(tape, &b, hooks, rows).Data)
		tape.Reset(0)
		exact := slices.Clone(m.Logits(tape, &b, NoHooks{}, rows).Data)
		s, at := m.NewSession(len(ids)), 0
		var got []float32
		for _, row := range rows {
			logits, err := s.Append(ids[at:row+1], hooks)
			if err != nil {
				t.Fatal(err)
			}
			got, at = append(got, logits...), row+1
		}
		d, rounding := differ(got, want), differ(exact, want)
		if d > 2e-2 || kind != gguf.F16 && d > 0.75*rounding {
			t.Errorf("%v: the logits differ by %v, those of exact activations by %v", kind, d, rounding)
		}
	}
}

// TestSessionCaches: keys and values in half precision and in Q8_0 change the logits by their rounding only, whether
// they come in one piece or token by token, with a window or without; a copy goes on like the session that it is of.
func TestSessionCaches(t *testing.T) {
	for _, window := range []int{0, 20} {
		m, ids := randomModel(t, gguf.Q8_0, window), someIDs(300)
		var want []float32
		for _, c := range []struct {
			kind  gguf.Type
			limit float64
		}{{gguf.F32, 0}, {gguf.F16, 1e-3}, {gguf.Q8_0, 3e-2}} {
			t.Run(fmt.Sprint(c.kind, "/", window), func(t *testing.T) {
				if err := m.CheckCache(c.kind); err != nil {
					t.Fatal(err)
				}
				s := m.NewSessionOf(c.kind, len(ids))
				read := func(s *Session, ids []int32) []float32 {
					logits, err := s.Append(ids, NoHooks{})
					if err != nil {
						t.Fatal(err)
					}
					return slices.Clone(logits)
				}
				var got []float32
				at := 0
				for _, n := range []int{270, 1, 1, 5, 20} {
					got = append(got, read(s, ids[at:at+n])...)
					at += n
				}
				if want == nil {
					want = got
				}
				switch d := differ(got, want); {
				case d > c.limit:
					t.Errorf("the logits differ by %v", d)
				case d == 0 && c.limit > 0:
					t.Error("nothing was rounded")
				}
				fork := s.Fork()
				a, b := read(s, ids[at:at+2]), read(fork, ids[at:at+2])
				if !slices.Equal(a, b) {
					t.Error("a copy goes on in another way")
				}
				if slices.Equal(read(s, []int32{1}), read(fork, []int32{2})) {
					t.Error("a copy and its original are one")
				}
				bytes := int64(len(ids) * 3 * 2 * 128 * c.kind.BlockSize() / c.kind.BlockLen())
				if got := m.SessionBytes(c.kind, len(ids)); got != bytes {
					t.Errorf("a session takes %d bytes, want %d", got, bytes)
				}
				keys, values := s.Cache(1)
				if len(keys) != s.Len()*128 || len(values) != s.Len()*128 {
					t.Errorf("%d keys and %d values of %d positions", len(keys), len(values), s.Len())
				}
			})
		}
	}
	if err := randomModel(t, gguf.Q8_0, 0).CheckCache(gguf.Q4_K); err == nil {
		t.Error("heads of 64 in blocks of 256 are allowed")
	}
}
