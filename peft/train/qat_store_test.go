package train

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/pefttest/merging"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/export"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/safetensors"
)

// storedAs trains an adapter and reads it from its file, which has it in a form.
func storedAs(t *testing.T, b *attach.Base, channels, form string, rank int) (*attach.Adapter, *Stored, string) {
	t.Helper()
	a, err := methods.NewQAT(b, method.QAT{Channels: channels, Rank: rank, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	return trainedFrom(t, b, a, Options{Store: form})
}

// trainedFrom trains an adapter and reads its file.
func trainedFrom(t *testing.T, b *attach.Base, a *attach.Adapter, opt Options) (*attach.Adapter, *Stored, string) {
	t.Helper()
	opt.Steps, opt.LR, opt.BatchTokens, opt.Out = 3, 0.01, 80, filepath.Join(t.TempDir(), "out.safetensors")
	r, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), nil, plain(opt))
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := attach.Load(opt.Out)
	if err != nil {
		t.Fatal(err)
	}
	return loaded, r.Stored, opt.Out
}

// TestQATStores: in every form the file gives the blocks that were trained with, bit for bit, to whoever reads it and
// to merging, and the smallest form is that of each weight which takes less and no larger than the base.
func TestQATStores(t *testing.T) {
	for i, c := range qatTypes {
		if testing.Short() && i%4 != 0 {
			continue
		}
		t.Run(c.typ.String()+" "+c.channels, func(t *testing.T) {
			base := pefttest.BlocksIn(c.typ).WriteGGUF(t)
			b := pefttest.OpenBase(t, base)
			pairs, all, _ := storedAs(t, b, c.channels, StorePairs, 64)
			if all.Blocks != 0 || all.Pairs != 7 || all.PairBytes != all.AllPairs || pairs.Config.Blocks != nil {
				t.Fatalf("pairs are stored as %+v", all)
			}
			want, _ := merging.Into(t, b, merge.Options{}, attach.Scaled{Adapter: pairs, Scale: 1})
			for _, form := range []string{StoreBlocks, StoreSmallest} {
				a, stored, path := storedAs(t, b, c.channels, form, 64)
				checkStored(t, form, stored, all.AllPairs)
				checkRequantized(t, b, pefttest.OpenBase(t, want), a)
				out, report := merging.Into(t, b, merge.Options{}, attach.Scaled{Adapter: a, Scale: 1})
				checkRequantized(t, b, pefttest.OpenBase(t, out), pairs)
				v, err := merge.Verify(context.Background(), pefttest.Base(b),
					pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), out, nil)
				if err != nil || !v.Matches || !report.BitExact || v.MergedLoss != v.AdapterLoss {
					t.Errorf("%s: verified %+v, %v", form, v, err)
				}
				size, most := len(pefttest.FileBytes(t, path)), len(pefttest.FileBytes(t, base))
				if form == StoreSmallest && size > most {
					t.Errorf("the adapter has %d bytes, the base %d", size, most)
				}
			}
		})
	}
}

// checkStored checks what a run says of an adapter of seven weights.
func checkStored(t *testing.T, form string, s *Stored, allPairs int64) {
	t.Helper()
	const heads = 7 * 33
	switch total := s.BlockBytes + s.PairBytes; {
	case s.Blocks+s.Pairs != 7 || s.AllPairs != allPairs:
		t.Errorf("%s: %+v, all pairs take %d", form, s, allPairs)
	case form == StoreBlocks && (s.Pairs != 0 || s.PairBytes != 0):
		t.Errorf("blocks are stored as %+v", s)
	case s.BlockBytes > s.AllBlocks+heads:
		t.Errorf("%s: blocks take %d bytes, those of the base %d", form, s.BlockBytes, s.AllBlocks)
	case form == StoreSmallest && (total > s.AllPairs || total > s.AllBlocks+heads):
		t.Errorf("the smallest form is %+v", s)
	}
}

// TestQATStoresBoth: the smaller form is chosen for each weight, and weights with pairs and others with blocks are used
// together.
func TestQATStoresBoth(t *testing.T) {
	m := pefttest.BlocksIn(gguf.Q4_0)
	m.Ffn = 4096
	m.TypeOf = func(name string) gguf.Type {
		if strings.Contains(name, "ffn_down") {
			return gguf.Q8_0
		}
		return gguf.Q4_0
	}
	b := pefttest.OpenBase(t, m.WriteGGUF(t))
	a, stored, path := storedAs(t, b, "code", StoreSmallest, 16)
	if stored.Blocks == 0 || stored.Pairs == 0 || len(a.Config.Blocks) != stored.Blocks ||
		len(a.Tensors) != 2*stored.Pairs || !strings.Contains(a.Describe(), "of them stored as blocks") {
		t.Fatalf("stored as %+v: %s, %d tensors", stored, a.Describe(), len(a.Tensors))
	}
	pairs, _, _ := storedAs(t, b, "code", StorePairs, 16)
	want, _ := merging.Into(t, b, merge.Options{}, attach.Scaled{Adapter: pairs, Scale: 1})
	checkRequantized(t, b, pefttest.OpenBase(t, want), a)
	kernels.SetThreads(1)
	defer kernels.SetThreads(0)
	_, _, again := storedAs(t, b, "code", StoreSmallest, 16)
	if !bytes.Equal(pefttest.FileBytes(t, again), pefttest.FileBytes(t, path)) {
		t.Error("one thread writes another file")
	}
}

// TestQATStoredExports: a GGUF LoRA is the same, whatever form the adapter is stored in.
func TestQATStoredExports(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.BlocksIn(gguf.Q4_0).WriteGGUF(t))
	var files [][]byte
	for _, form := range []string{StorePairs, StoreBlocks} {
		a, _, _ := storedAs(t, b, "auto", form, 4)
		out := filepath.Join(t.TempDir(), "out.gguf")
		if _, err := export.LoRA(pefttest.Adapter(a), pefttest.Base(b), out, export.LoRAOptions{Rank: 8}); err != nil {
			t.Fatal(err)
		}
		files = append(files, pefttest.FileBytes(t, out))
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("the files differ")
	}
}

// TestQATStoredContinues: an adapter that is stored as blocks is trained further by new pairs, which change nothing at
// first; runs of it are interrupted and resumed like others, and its checkpoints belong to its blocks.
func TestQATStoredContinues(t *testing.T) {
	defer kernels.SetThreads(0)
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	a, _, path := storedAs(t, b, "scale+code", StoreBlocks, 2)
	further := func(b *attach.Base) (*attach.Adapter, error) {
		loaded, err := attach.Load(path)
		if err != nil {
			return nil, err
		}
		return methods.Renew(loaded, b)
	}
	first, err := a.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	more, err := further(b)
	if err != nil {
		t.Fatal(err)
	}
	start, err := more.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(first.BlockHashes(), start.BlockHashes()) {
		t.Error("new pairs change the blocks")
	}
	for _, form := range []string{StoreBlocks, StorePairs} {
		next, err := further(b)
		if err != nil {
			t.Fatal(err)
		}
		out, stored, _ := trainedFrom(t, b, next, Options{Store: form})
		bound, err := out.Bind(b)
		if err != nil || maps.Equal(first.BlockHashes(), bound.BlockHashes()) {
			t.Errorf("%s: trained further it is the same: %v", form, err)
		}
		if !maps.Equal(bound.BlockHashes(), out.Origin.Training.BlockHashes) {
			t.Errorf("%s: other blocks than those that were trained", form)
		}
		if form == StorePairs && (stored.Pairs != 14 || len(out.Config.Blocks) != 14 || len(out.Tensors) != 4*14) {
			t.Errorf("pairs over blocks are stored as %+v", stored)
		}
	}
	checkRuns(t, "from blocks", b, further)
	if _, err := peft.Continue(path, pefttest.Base(b)); err != nil {
		t.Errorf("continued by the library: %v", err)
	}
}

// TestQATStoredMaster: blocks need no master weights any more, and beside pairs that do they leave their identity.
func TestQATStoredMaster(t *testing.T) {
	original := pefttest.Tiny.WriteGGUF(t)
	m := pefttest.Tiny
	m.TypeOf = func(name string) gguf.Type {
		if strings.Contains(name, "ffn_down") {
			return gguf.F16
		}
		return gguf.Q4_0
	}
	base := m.WriteGGUF(t)
	var want map[string]string
	for _, form := range []string{StorePairs, StoreSmallest, StoreBlocks} {
		b := pefttest.OpenBase(t, base)
		if err := b.OpenMaster(original); err != nil {
			t.Fatal(err)
		}
		a, err := methods.NewQAT(b, method.QAT{Channels: "code", Rank: 2, Seed: 3, Master: true})
		if err != nil {
			t.Fatal(err)
		}
		loaded, stored, _ := trainedFrom(t, b, a, Options{Store: form})
		if form == StoreBlocks {
			loaded.Origin.Master = "nowhere"
			b = pefttest.OpenBase(t, base)
		}
		if form == StoreSmallest && (stored.Blocks == 0 || stored.Pairs == 0) {
			t.Fatalf("not both forms: %+v", stored)
		}
		bound, err := loaded.Bind(b)
		if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		if want == nil {
			want = bound.BlockHashes()
		}
		if !maps.Equal(bound.BlockHashes(), want) {
			t.Errorf("%s: other blocks", form)
		}
	}
}

// TestQATStoredRefused: what blocks cannot do says what can.
func TestQATStoredRefused(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.BlocksIn(gguf.Q4_0).WriteGGUF(t))
	a, _, path := storedAs(t, b, "scale", StoreBlocks, 2)
	if _, err := attach.BindAll(b, []attach.Scaled{{Adapter: a, Scale: 0.5}}); !errors.Is(err, attach.ErrOnlyBlocks) ||
		!strings.Contains(err.Error(), "cannot be scaled by 0.5") {
		t.Errorf("scaled: %v", err)
	}
	if _, err := a.Attach(b, 1, true); !errors.Is(err, attach.ErrOnlyBlocks) {
		t.Errorf("trained without pairs: %v", err)
	}
	same := pefttest.BlocksIn(gguf.Q4_0)
	same.Edit = func(_ string, values []float32) { slices.Reverse(values) }
	for name, other := range map[string]pefttest.TinyModel{"other weights": same,
		"another type": pefttest.BlocksIn(gguf.Q8_0)} {
		if _, err := a.Bind(pefttest.OpenBase(t, other.WriteGGUF(t))); !errors.Is(err, attach.ErrWrongBase) {
			t.Errorf("over %s: %v", name, err)
		}
	}
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = attach.ReadAdapter(f, []byte(`{"peft_type": "LORA", "r": 2, "target_modules": ["up_proj"]}`))
	if err == nil || !strings.Contains(err.Error(), `blocks of 7 weights, which an adapter of peft_type "LORA" cannot have`) {
		t.Errorf("blocks in a LoRA: %v", err)
	}
	for _, c := range []struct {
		form, want string
		adapter    func() *attach.Adapter
	}{
		{"some", `"some" is no form to store, expected smallest, pairs, blocks`,
			func() *attach.Adapter { return newQATAdapter(t, b, "scale") }},
		{StoreBlocks, "only plain LoRA pairs that are trained quantization-aware have this choice",
			func() *attach.Adapter { return pefttest.Trained(t, b, method.LoRA{}) }},
	} {
		_, err := trainAdapter(context.Background(), b, c.adapter(), pefttest.TinyData(24, 1), nil,
			plain(Options{Steps: 1, Store: c.form}))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, expected %q", c.form, err, c.want)
		}
	}
}
