package virtual

import (
	"errors"
	"math"
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/peft/method"
)

// TestPrefixOfArchitectures: over every architecture a prefix of the keys and values of a text is the text in front, or
// is refused with the reason.
func TestPrefixOfArchitectures(t *testing.T) {
	taken := map[string]bool{}
	for _, m := range archtest.All() {
		t.Run(m.Name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), m.Name+".gguf")
			m.Write(t, path)
			f, err := gguf.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			decoder, err := model.FromGGUF(f)
			if err != nil {
				t.Fatal(err)
			}
			b := attach.BaseOf(path, decoder)
			a, err := NewPrefixTuning(b, method.PrefixTuning{PromptTuning: method.PromptTuning{VirtualTokens: 5,
				Init: method.PromptInitRandom}})
			if lacksKeys(decoder) {
				if err == nil || !errors.Is(err, errors.ErrUnsupported) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			taken[m.Name] = true
			comparePrefix(t, b, a)
		})
	}
	for _, name := range []string{"llama", "llama-fused", "gpt-oss", "gptneox", "bloom", "gemma3"} {
		if !taken[name] {
			t.Errorf("no prefix over %s", name)
		}
	}
}

// lacksKeys reports whether a layer has another mixer than attention over keys and values of its own.
func lacksKeys(m *model.Model) bool {
	for _, l := range m.Layers {
		s := l.Spec
		if s.Mixer != arch.SelfAttention && s.Mixer != arch.NoMixer || s.KeysFrom > 0 || s.Latent.Rank > 0 {
			return true
		}
	}
	return false
}

// comparePrefix puts the keys and values of five tokens into a prefix, and compares the logits after it, of a batch and
// of a session, with those after the tokens.
func comparePrefix(t *testing.T, b *attach.Base, a *attach.Adapter) {
	t.Helper()
	text, rest := []int32{7, 3, 12, 40, 9}, []int32{5, 5, 20, 31, 2, 11, 50}
	if err := startPrefix(b, a.Config.Settings.(*PrefixSettings), &a.Tensors[0], text, 1); err != nil {
		t.Fatal(err)
	}
	bound, err := a.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	run := func(ids []int32, hooks model.Hooks, prepare func(*batch.Batch)) []float32 {
		packed := &batch.Batch{}
		packed.Append(ids, nil)
		prepare(packed)
		tape := autograd.NewTape()
		tape.Record(false)
		return b.Model.Logits(tape, packed, hooks, []int{len(ids) - 1}).Data
	}
	want := run(append(append([]int32(nil), text...), rest...), model.NoHooks{}, func(*batch.Batch) {})
	got := run(rest, bound, bound.Expand)
	session := b.Model.NewSession(len(text) + len(rest))
	one, err := session.Append(rest[:3], bound)
	if err == nil {
		one, err = session.Append(rest[3:], bound)
	}
	if err != nil {
		t.Fatal(err)
	}
	for what, x := range map[string][]float32{"in a batch": got, "in a session": one} {
		worst, largest := 0.0, 0.0
		for i, v := range want {
			worst, largest = max(worst, math.Abs(float64(x[i]-v))), max(largest, math.Abs(float64(v)))
		}
		if !(worst <= 1e-5*largest) {
			t.Errorf("%s: the logits after the prefix are %.2g apart from those after its text", what, worst/largest)
		}
	}
}
