package model

import (
	"bytes"
	"errors"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
)

func randomSpec() arch.Spec {
	return arch.Spec{
		Architecture: arch.Llama, Layers: 2, Width: 256, Vocab: 96, Context: 64, NormEps: 1e-5,
		Layer: arch.Layer{FFN: 512, QueryHeads: 4, KeyHeads: 2, HeadDim: 64, Rope: arch.Rope{Dim: 64, Base: 10000, Scale: 1}},
	}
}

// TestRandom wants models that compute finite losses near that of guessing, whatever the type of their weights.
func TestRandom(t *testing.T) {
	b := &batch.Batch{}
	b.Append([]int32{1, 5, 9, 95, 0, 3}, nil)
	for _, kind := range []gguf.Type{gguf.F32, gguf.F16, gguf.Q8_0, gguf.Q4_K, gguf.Q6_K, gguf.IQ2_XXS, gguf.IQ4_XS} {
		m, err := Random(randomSpec(), kind)
		if err != nil {
			t.Fatal(err)
		}
		if m.Layers[1].Linear(arch.Down).W.Type != kind {
			t.Errorf("asked for %s, found %s", kind, m.Layers[1].Linear(arch.Down).W.Type)
		}
		sum, n := m.Loss(autograd.NewTape(), b, NoHooks{}, 1)
		if mean := sum / float64(n); !(mean > 2 && mean < 8) {
			t.Errorf("%s: a loss of %g, expected about 5", kind, mean)
		}
		row := m.Embed.RowSize()
		if bytes.Equal(m.Embed.Data[:row], m.Embed.Data[row:2*row]) {
			t.Errorf("%s: two rows are the same", kind)
		}
	}
}

// TestRandomNarrow wants rows that are no whole number of blocks in another type.
func TestRandomNarrow(t *testing.T) {
	s := randomSpec()
	s.Width, s.HeadDim, s.FFN = 96, 48, 256
	s.Rope.Dim = 48
	m, err := Random(s, gguf.Q4_K)
	if err != nil {
		t.Fatal(err)
	}
	up, down := m.Layers[0].Linear(arch.Up).W.Type, m.Layers[0].Linear(arch.Down).W.Type
	if up != gguf.Q8_0 || down != gguf.Q4_K {
		t.Errorf("rows of 96 are %s and of 256 %s, expected Q8_0 and Q4_K", up, down)
	}
}

func TestRandomErrors(t *testing.T) {
	if _, err := Random(randomSpec(), gguf.I8); !errors.Is(err, ErrUnsupported) {
		t.Errorf("integers as weights give %v", err)
	}
	s := randomSpec()
	s.KeyHeads = 3
	if _, err := Random(s, gguf.Q4_K); err == nil {
		t.Error("3 key heads for 4 query heads were accepted")
	}
	s.Architecture = "none"
	if _, err := Random(s, gguf.Q4_K); !errors.Is(err, ErrUnsupported) {
		t.Errorf("an unknown architecture gives %v", err)
	}
}
