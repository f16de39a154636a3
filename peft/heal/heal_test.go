package heal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/demo"
	"github.com/peftconv/peftconv/internal/demo/tale"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/heal"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/peft/train"
)

// models are the built-in model as teacher and, in another type, as base.
func models(t *testing.T, typ gguf.Type) (base, teacher *peft.Base, dir string) {
	t.Helper()
	dir = t.TempDir()
	data, err := demo.BaseAs(typ)
	if err != nil {
		t.Fatal(err)
	}
	open := func(name string, data []byte) *peft.Base {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		return pefttest.Base(pefttest.OpenBase(t, path))
	}
	return open("base.gguf", data), open("teacher.gguf", demo.BaseGGUF()), dir
}

// text is tales in pieces of 128 tokens, and all their tokens.
func text(t *testing.T, b *peft.Base, seed uint64, n int) (examples []peft.Example, all []int32) {
	t.Helper()
	var tales strings.Builder
	for i := range n {
		tales.WriteString(tale.Document(seed, uint64(i), seed > 1000) + "\n\n")
	}
	all, err := b.Tokenize(tales.String())
	if err != nil {
		t.Fatal(err)
	}
	const bos = 1
	for piece := range slices.Chunk(all, 127) {
		examples = append(examples, peft.Example{IDs: append([]int32{bos}, piece...)})
	}
	return examples, all
}

// TestHeal: the divergence falls in each stage, and the file has the types and the sizes of the base.
func TestHeal(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
	b, teacher, dir := models(t, gguf.Q2_K)
	examples, _ := text(t, b, 1, 24)
	_, held := text(t, b, 1001, 4)
	out := filepath.Join(dir, "healed.gguf")
	tensors := 0
	r, err := heal.Run(t.Context(), b, teacher, peft.NewData(examples), out, heal.Options{
		Tokens: 3000, Held: held, Ctx: 256,
		Training: &heal.Training{Options: train.Options{Steps: 12, LR: 1e-3, BatchTokens: 512, Seed: 1}},
		Progress: func(p heal.Progress) {
			if tensors++; p.After > p.Before {
				t.Errorf("%s: the error grows from %v to %v", p.Tensor, p.Before, p.After)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Stages) != 3 || tensors != 35 || r.Matrices != 35 || !(r.Error < 0.6) {
		t.Fatalf("%d stages, %d tensors, error %v", len(r.Stages), tensors, r.Error)
	}
	d := func(i int) float64 { return r.Stages[i].Figures.Divergence.Value }
	if d(1) > 0.8*d(0) || d(2) > 0.99*d(1) {
		t.Errorf("divergences %v, %v, %v", d(0), d(1), d(2))
	}
	if r.Kept != heal.StageTraining {
		t.Errorf("kept %s, expected the model that was trained", r.Kept)
	}
	sameForm(t, filepath.Join(dir, "base.gguf"), out)
	left, _ := filepath.Glob(filepath.Join(dir, "*healing*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestHealKeepsTheLayers: training at far too high a rate leaves the file that no training gives.
func TestHealKeepsTheLayers(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
	b, teacher, dir := models(t, gguf.Q2_K)
	examples, _ := text(t, b, 1, 4)
	_, held := text(t, b, 1001, 2)
	var files [][]byte
	for _, steps := range []int{0, 3} {
		opt := heal.Options{Tokens: 300, Held: held, Ctx: 256}
		if steps > 0 {
			opt.Training = &heal.Training{Options: train.Options{Steps: steps, LR: 1, BatchTokens: 256, Seed: 1}}
		}
		out := filepath.Join(dir, fmt.Sprintf("%d.gguf", steps))
		r, err := heal.Run(t.Context(), b, teacher, peft.NewData(examples), out, opt)
		if err != nil {
			t.Fatal(err)
		}
		if r.Kept != heal.StageLayers {
			t.Errorf("%d steps: kept %s, expected %s; %v", steps, r.Kept, heal.StageLayers, r.Stages)
		}
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, data)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("the file is not that of no training")
	}
}

// sameForm wants two files with the same tensors, in the same types.
func sameForm(t *testing.T, a, b string) {
	t.Helper()
	f, err := gguf.Open(a)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g, err := gguf.Open(b)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	changed := 0
	for i, x := range f.Tensors {
		y := g.Tensors[i]
		if x.Name != y.Name || x.Type != y.Type || !slices.Equal(x.Shape, y.Shape) {
			t.Errorf("tensor %s %v %v became %s %v %v", x.Name, x.Type, x.Shape, y.Name, y.Type, y.Shape)
		}
		if !bytes.Equal(x.Bytes(), y.Bytes()) {
			changed++
		}
	}
	if changed != 35 {
		t.Errorf("%d tensors have changed, expected the 35 matrices of the layers", changed)
	}
}

// TestHealSameBytes: the bytes are the same for any number of threads, and for a run that was interrupted and resumed.
func TestHealSameBytes(t *testing.T) {
	defer kernels.SetThreads(0)
	b, teacher, dir := models(t, gguf.Q4_0)
	examples, _ := text(t, b, 1, 6)
	data := peft.NewData(examples)
	run := func(ctx context.Context, name string, threads int, opt heal.Options) (string, error) {
		kernels.SetThreads(threads)
		out := filepath.Join(dir, name)
		opt.Tokens = 600
		_, err := heal.Run(ctx, b, teacher, data, out, opt)
		return out, err
	}
	one, err := run(t.Context(), "one.gguf", 1, heal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	three, err := run(t.Context(), "three.gguf", 3, heal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := pefttest.FileBytes(t, one)
	if !bytes.Equal(want, pefttest.FileBytes(t, three)) {
		t.Error("one thread and three give other bytes")
	}
	ctx, cancel := context.WithCancel(t.Context())
	out, err := run(ctx, "resumed.gguf", 2, heal.Options{Progress: func(p heal.Progress) {
		if p.Layer == 2 {
			cancel()
		}
	}})
	var stopped *heal.Interrupted
	if !errors.As(err, &stopped) || !errors.Is(err, context.Canceled) || stopped.Done != 2 ||
		stopped.Path != heal.StagePath(out) {
		t.Fatalf("interrupted: %v", err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("an interrupted run has written its output")
	}
	first := -1
	if out, err = run(t.Context(), "resumed.gguf", 2, heal.Options{Resume: true, Progress: func(p heal.Progress) {
		if first < 0 {
			first = p.Layer
		}
	}}); err != nil {
		t.Fatal(err)
	}
	if first != 2 || !bytes.Equal(want, pefttest.FileBytes(t, out)) {
		t.Errorf("resumed at layer %d, or with other bytes than in one go", first)
	}
}

// TestHealRefuses: what cannot be healed is named.
func TestHealRefuses(t *testing.T) {
	b, teacher, dir := models(t, gguf.Q4_0)
	other := pefttest.Base(pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t)))
	examples, _ := text(t, b, 1, 1)
	floats, err := demo.BaseAs(gguf.F16)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "f16.gguf")
	if err := os.WriteFile(path, floats, 0o666); err != nil {
		t.Fatal(err)
	}
	f16 := pefttest.Base(pefttest.OpenBase(t, path))
	out := filepath.Join(dir, "out.gguf")
	for _, c := range []struct {
		b, teacher *peft.Base
		out        string
		opt        heal.Options
		want       string
	}{
		{b, other, out, heal.Options{}, "teacher: "},
		{f16, teacher, out, heal.Options{}, "no quantized matrix"},
		{b, teacher, b.Path(), heal.Options{}, "replace one that is read"},
		{b, teacher, out, heal.Options{Resume: true}, "resume: "},
		{b, teacher, out, heal.Options{Tokens: 1}, "1 tokens of calibration text"},
		{b, teacher, out, heal.Options{Training: &heal.Training{Channels: method.ChannelOffset,
			Options: train.Options{Steps: 1}}}, "training end to end: "},
	} {
		_, err := heal.Run(t.Context(), c.b, c.teacher, peft.NewData(examples), c.out, c.opt)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, expected %q", err, c.want)
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a refused run has written its output")
	}
}

// TestHealFromDirectory: a teacher in Hugging Face's layout, whose rows stand in another order, leaves what one in a
// GGUF file does.
func TestHealFromDirectory(t *testing.T) {
	b, teacher, dir := models(t, gguf.Q4_0)
	directory := pefttest.Base(pefttest.OpenBase(t, pefttest.WriteHFOf(t, handle.Base(teacher), "llama", nil)))
	examples, _ := text(t, b, 1, 6)
	found := map[string]heal.Progress{}
	for _, from := range []*peft.Base{teacher, directory} {
		_, err := heal.Run(t.Context(), b, from, peft.NewData(examples), filepath.Join(dir, "out.gguf"), heal.Options{
			Tokens: 600, Progress: func(p heal.Progress) {
				was, again := found[p.Tensor]
				if found[p.Tensor] = p; again && (p.Before > 1.1*was.Before || p.After > 1.1*was.After) {
					t.Errorf("%s: error %v, then %v; of a GGUF file %v, then %v", p.Tensor, p.Before, p.After, was.Before,
						was.After)
				}
			}})
		if err != nil {
			t.Fatal(err)
		}
	}
}
