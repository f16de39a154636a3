package train

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// masterBases are a base of quantized blocks and the files that hold its master weights: a GGUF file, a Hugging Face
// directory, and that directory's safetensors alone.
func masterBases(t *testing.T, typ gguf.Type) (base string, originals []string) {
	t.Helper()
	m := pefttest.BlocksIn(typ)
	base = m.WriteGGUF(t)
	m.TypeOf = nil
	dir := m.WriteHF(t, gguf.F32, 1)
	return base, []string{m.WriteGGUF(t), dir, filepath.Join(dir, "model.safetensors")}
}

// masterCases make adapters that start from master weights.
var masterCases = []struct {
	name string
	new  func(b *attach.Base) (*attach.Adapter, error)
}{
	{"code", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewQAT(b, method.QAT{Channels: "code", Rank: 4, Seed: 3, Master: true})
	}},
	{"scale+code", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewQAT(b, method.QAT{Channels: "scale+code", Rank: 4, Seed: 3, Master: true})
	}},
	{"dora", func(b *attach.Base) (*attach.Adapter, error) {
		a, err := methods.NewLoRA(b, method.LoRA{Rank: 4, DoRA: true, Seed: 3})
		if err == nil {
			err = a.TrainQuantized(b, method.Quantized{Master: true})
		}
		return a, err
	}},
}

// TestMasterMergesWhatItTrained: an adapter that starts from master weights is the base, to the byte, until it is
// trained, and merges as it was trained, whichever file holds the weights.
func TestMasterMergesWhatItTrained(t *testing.T) {
	for i, typ := range []gguf.Type{gguf.Q4_0, gguf.Q4_K, gguf.IQ4_NL, gguf.F16} {
		base, originals := masterBases(t, typ)
		for j, c := range masterCases {
			if testing.Short() && j != i%len(masterCases) {
				continue
			}
			t.Run(typ.String()+" "+c.name, func(t *testing.T) {
				b := pefttest.OpenBase(t, base)
				if err := b.OpenMaster(originals[0]); err != nil {
					t.Fatal(err)
				}
				a, err := c.new(b)
				if err != nil {
					t.Fatal(err)
				}
				checkRequantized(t, b, b, a)
				eval, path := pefttest.TinyData(6, 2), filepath.Join(t.TempDir(), "out.safetensors")
				r, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), eval,
					plain(Options{Steps: 3, LR: 0.01, BatchTokens: 40, Out: path}))
				if err != nil {
					t.Fatal(err)
				}
				for _, original := range originals {
					loaded, err := attach.Load(path)
					if err != nil {
						t.Fatal(err)
					}
					b := pefttest.OpenBase(t, base)
					if err := b.OpenMaster(original); err != nil {
						t.Fatal(err)
					}
					checkExact(t, b, loaded, eval, r, 40)
				}
			})
		}
	}
}

// TestMasterIsFound: by default the master weights are those that the adapter was trained with.
func TestMasterIsFound(t *testing.T) {
	base, originals := masterBases(t, gguf.Q4_0)
	b := pefttest.OpenBase(t, base)
	if err := b.OpenMaster(originals[0]); err != nil {
		t.Fatal(err)
	}
	a, err := masterCases[0].new(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Bind(pefttest.OpenBase(t, base)); err != nil {
		t.Error(err)
	}
	if err := os.Remove(originals[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Bind(pefttest.OpenBase(t, base)); !errors.Is(err, attach.ErrNoMaster) {
		t.Errorf("without original weights: %v", err)
	}
}

// TestMasterWeightsNearAnotherCodeChangeFirst: weights whose master weights are near another code get it first.
func TestMasterWeightsNearAnotherCodeChangeFirst(t *testing.T) {
	base, originals := masterBases(t, gguf.Q4_0)
	b := pefttest.OpenBase(t, base)
	if err := b.OpenMaster(originals[1]); err != nil {
		t.Fatal(err)
	}
	a, err := masterCases[0].new(b)
	if err != nil {
		t.Fatal(err)
	}
	pefttest.Stir(a, 5)
	for i := range a.Tensors { // small enough that few codes change
		for j := range a.Tensors[i].Data {
			a.Tensors[i].Data[j] /= 3
		}
	}
	bound, err := a.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	var moved, nearer int
	for _, l := range b.Model.Linears() {
		master, err := b.Master.Rows(l)
		if err != nil {
			t.Fatal(err)
		}
		was, is, original := make([]float32, l.W.Cols), make([]float32, l.W.Cols), make([]float32, l.W.Cols)
		for r := range l.W.Rows {
			l.W.Row(was, r)
			bound.Weights(l, &l.W).Row(is, r)
			master.Row(original, r)
			for i := range was {
				if was[i] != is[i] {
					moved++
					if (is[i] > was[i]) == (original[i] > was[i]) {
						nearer++
					}
				}
			}
		}
	}
	if moved == 0 || float64(nearer) < 0.98*float64(moved) {
		t.Errorf("of %d weights that moved, %d moved to the side of the original", moved, nearer)
	}
}

func TestMasterRefused(t *testing.T) {
	base, originals := masterBases(t, gguf.Q4_0)
	small, other := pefttest.BlocksIn(gguf.F32), pefttest.BlocksIn(gguf.F32)
	small.Ffn = 512
	other.Edit = func(_ string, values []float32) {
		for i := range values {
			values[i] = float32(i%7) - 3
		}
	}
	near := pefttest.BlocksIn(gguf.F16)
	smallFile, otherFile, nearFile := small.WriteGGUF(t), other.WriteGGUF(t), near.WriteGGUF(t)
	for _, c := range []struct{ path, want string }{
		{"nowhere.gguf", "open original weights"}, {"qat.go", "open original weights"},
		{t.TempDir(), "open original weights"}, {smallFile, "gate_proj is 512×256"},
		{otherFile, "not the original of this base"}, {pefttest.Tiny.WriteGGUF(t), "32×32"},
	} {
		b := pefttest.OpenBase(t, base)
		err := b.OpenMaster(c.path)
		if err == nil {
			_, err = masterCases[0].new(b)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, expected %q", c.path, err, c.want)
		}
	}
	b := pefttest.OpenBase(t, base)
	if _, err := masterCases[0].new(b); err == nil || !strings.Contains(err.Error(), "are not open") {
		t.Errorf("none: %v", err)
	}
	if err := b.OpenMaster(originals[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := methods.NewQAT(b, method.QAT{Channels: "scale", Master: true}); err == nil ||
		!strings.Contains(err.Error(), "which no weight has here") {
		t.Errorf("scales: %v", err)
	}
	for _, c := range masterCases {
		a, err := c.new(b)
		if err != nil {
			t.Fatal(err)
		}
		again := pefttest.OpenBase(t, base)
		if err := again.OpenMaster(nearFile); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Bind(again); err == nil ||
			!strings.Contains(err.Error(), "are not those that the adapter was trained with") {
			t.Errorf("%s: other weights: %v", c.name, err)
		}
	}
}
