package lorafile_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/lorafile"
	"github.com/peftconv/peftconv/internal/pefttest"
)

// half is a tensor of a file.
type half struct {
	name  string
	shape []int64
	typ   gguf.Type
	data  []float32
}

// counting are n numbers, each one more than the one before it.
func counting(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(i + 1)
	}
	return x
}

// file writes a LoRA; keys that are nil are left out.
func file(t testing.TB, keys map[string]any, halves ...half) string {
	t.Helper()
	meta := &gguf.Metadata{}
	all := map[string]any{lorafile.ArchitectureKey: "llama", lorafile.TypeKey: lorafile.Type,
		lorafile.KindKey: lorafile.Kind}
	for key, value := range keys {
		all[key] = value
	}
	for key, value := range all {
		if value == nil {
			continue
		}
		if err := meta.Set(key, value); err != nil {
			t.Fatal(err)
		}
	}
	var table []gguf.Tensor
	for _, h := range halves {
		table = append(table, gguf.Tensor{Name: h.name, Shape: h.shape, Type: h.typ})
	}
	var text bytes.Buffer
	w, err := gguf.NewWriter(&text, meta, table)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range halves {
		if err := w.WriteTensor(h.name, floats.Encode(h.typ, h.data, int(h.shape[0]))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "lora.gguf")
	if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// pair are the halves of a tensor of so many columns and rows.
func pair(tensor string, rank, cols, rows int, typ gguf.Type) []half {
	return []half{
		{tensor + lorafile.EndA, []int64{int64(cols), int64(rank)}, typ, counting(cols * rank)},
		{tensor + lorafile.EndB, []int64{int64(rank), int64(rows)}, typ, counting(rank * rows)},
	}
}

// TestAlpha: a pair is scaled by the alpha over its rank, and by 1 where there is no alpha or it is 0.
func TestAlpha(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	l := b.Model.Linears()[0]
	for name, c := range map[string]struct {
		alpha any
		scale float64
	}{"missing": {nil, 1}, "zero": {float32(0), 1}, "six": {float32(6), 2}} {
		keys := map[string]any{lorafile.AlphaKey: c.alpha}
		a, err := lorafile.Load(file(t, keys, pair(l.Tensor, 3, l.W.Cols, l.W.Rows, gguf.F32)...), b)
		if err != nil {
			t.Fatal(err)
		}
		if got := a.Config.ScaleOf(l.Module); got != c.scale || a.Config.Rank != 3 {
			t.Errorf("%s: the scale is %v, expected %v; the rank is %d", name, got, c.scale, a.Config.Rank)
		}
	}
}

// TestRanks: ranks and scales that are not those of most pairs are in the patterns.
func TestRanks(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	var halves []half
	for i, l := range b.Model.Linears()[:3] {
		halves = append(halves, pair(l.Tensor, 2+i/2, l.W.Cols, l.W.Rows, gguf.F32)...)
	}
	a, err := lorafile.Load(file(t, nil, halves...), b)
	if err != nil {
		t.Fatal(err)
	}
	third := b.Model.Linears()[2].Module
	if a.Config.Rank != 2 || a.Config.RankPattern[third] != 3 || len(a.Config.RankPattern) != 1 {
		t.Errorf("rank %d, patterns %v", a.Config.Rank, a.Config.RankPattern)
	}
	for _, l := range b.Model.Linears()[:3] {
		if got := a.Config.ScaleOf(l.Module); got != 1 {
			t.Errorf("%s has the scale %v, expected 1", l.Module, got)
		}
	}
}

// TestTypes reads halves of every type that programs write, and leaves norms out as llama.cpp does.
func TestTypes(t *testing.T) {
	wide := pefttest.Tiny
	wide.Width = 64
	b := pefttest.OpenBase(t, wide.WriteGGUF(t))
	l := b.Model.Linears()[0]
	for _, typ := range []gguf.Type{gguf.F32, gguf.F16, gguf.BF16, gguf.Q8_0} {
		halves := pair(l.Tensor, 32, l.W.Cols, l.W.Rows, typ)
		norm := half{"blk.0.attn_norm.weight", []int64{64}, gguf.F32, counting(64)}
		a, err := lorafile.Load(file(t, nil, append(halves, norm)...), b)
		if err != nil {
			t.Fatal(err)
		}
		want := gguf.F32 // of a file with a type that is none of safetensors', or with several
		if len(a.Tensors) != 2 || a.InFile != want {
			t.Errorf("%v: %d tensors, in the file %v", typ, len(a.Tensors), a.InFile)
		}
		for _, p := range a.Tensors {
			if !strings.HasSuffix(p.Name, ".lora_A.weight") { // the rows of the other are in another order
				continue
			}
			off := pefttest.Relative(p.Data, counting(len(p.Data)))
			if typ == gguf.F32 && off > 0 || off > 1e-2 {
				t.Errorf("%v: %s differs by %v", typ, p.Name, off)
			}
		}
	}
}

// TestEmbedding reads the pair of the embedding table, of which A may stand either way.
func TestEmbedding(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	vocab, width := int64(b.Model.Spec.Vocab), int64(b.Model.Spec.Width)
	a := counting(3 * int(vocab))
	turned := make([]float32, len(a)) // (V, rank)
	for k := range 3 {
		for v := range int(vocab) {
			turned[v*3+k] = a[k*int(vocab)+v]
		}
	}
	const name = "token_embd.weight"
	for what, first := range map[string]half{
		"a row a token": {name + lorafile.EndA, []int64{3, vocab}, gguf.F32, turned},
		"a row a rank":  {name + lorafile.EndA, []int64{vocab, 3}, gguf.F32, a},
	} {
		second := half{name + lorafile.EndB, []int64{3, width}, gguf.F32, counting(3 * int(width))}
		read, err := lorafile.Load(file(t, nil, first, second), b)
		if err != nil {
			t.Fatal(err)
		}
		p := read.Tensors[0]
		if !strings.HasSuffix(p.Name, "embed_tokens.lora_embedding_A") || !slices.Equal(p.Shape, []int{3, int(vocab)}) ||
			!slices.Equal(p.Data, a) {
			t.Errorf("%s: %s %v begins with %v", what, p.Name, p.Shape, p.Data[:4])
		}
	}
}

// TestInvocation: an aLoRA keeps its tokens, and is not computed with.
func TestInvocation(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	l := b.Model.Linears()[0]
	keys := map[string]any{lorafile.InvocationKey: []uint32{7, 3}}
	path := file(t, keys, pair(l.Tensor, 2, l.W.Cols, l.W.Rows, gguf.F32)...)
	a, err := lorafile.Load(path, b)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(a.Config.Invocation, []int32{7, 3}) {
		t.Errorf("the tokens are %v", a.Config.Invocation)
	}
	if _, err := a.Bind(b); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "aLoRA") {
		t.Errorf("error %v", err)
	}
}

// TestRefused: a file that is no LoRA of the base is an error that says why.
func TestRefused(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	l := b.Model.Linears()[0]
	good := pair(l.Tensor, 2, l.W.Cols, l.W.Rows, gguf.F32)
	other := pair("blk.99.attn_q.weight", 2, l.W.Cols, l.W.Rows, gguf.F32)
	long := pair(l.Tensor, 2, l.W.Cols+1, l.W.Rows, gguf.F32)
	bias := half{"blk.0.attn_q.bias", []int64{int64(l.W.Rows)}, gguf.F32, counting(l.W.Rows)}
	infinite := pair(l.Tensor, 2, l.W.Cols, l.W.Rows, gguf.F16)
	infinite[0].data[5] = 1e30
	for what, c := range map[string]struct {
		path, want string
		kind       error
	}{
		"a model":              {file(t, map[string]any{lorafile.TypeKey: "model"}, good...), `general.type is "model"`, nil},
		"another kind":         {file(t, map[string]any{lorafile.KindKey: "x"}, good...), `adapter.type is "x"`, nil},
		"another architecture": {file(t, map[string]any{lorafile.ArchitectureKey: "x"}, good...), `is "x"`, attach.ErrWrongBase},
		"no A":                 {file(t, nil, good[1]), "has no", nil},
		"no B":                 {file(t, nil, good[0]), "has no", nil},
		"no pair":              {file(t, nil), "no pair", nil},
		"another layer":        {file(t, nil, other...), "blk.99", attach.ErrWrongBase},
		"another width":        {file(t, nil, long...), "expected [", attach.ErrWrongBase},
		"a bias":               {file(t, nil, append(good, bias)...), "is no half of a pair", nil},
		"infinite":             {file(t, nil, infinite...), "value 5 is +Inf", nil},
	} {
		_, err := lorafile.Load(c.path, b)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.path) ||
			c.kind != nil && !errors.Is(err, c.kind) {
			t.Errorf("%s: error %v, expected one with %q", what, err, c.want)
		}
	}
}

// FuzzRead reads what may be a LoRA.
func FuzzRead(f *testing.F) {
	b := pefttest.OpenBase(f, pefttest.Tiny.WriteGGUF(f))
	l := b.Model.Linears()[0]
	f.Add(pefttest.FileBytes(f, file(f, map[string]any{lorafile.AlphaKey: float32(4)},
		pair(l.Tensor, 2, l.W.Cols, l.W.Rows, gguf.F16)...)))
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := gguf.Parse(data)
		if err != nil {
			return
		}
		a, err := lorafile.Read(in, b)
		if err != nil {
			return
		}
		if _, err := a.Bind(b); err != nil && a.Config.Invocation == nil {
			t.Errorf("an adapter that was read does not fit: %v", err)
		}
	})
}
