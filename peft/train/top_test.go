package train

import (
	"bytes"
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/method"
)

// TestTeacherTop: the bytes of a run that learns the likeliest tokens of a teacher are the same whether these are
// kept in memory, in a file, or not at all, for any number of threads, and for a run that goes on in its second
// epoch. Where they are kept the teacher runs in the first epoch only.
func TestTeacherTop(t *testing.T) {
	defer func(f func(int64) bool) { inMemory = f }(inMemory)
	defer kernels.SetThreads(0)
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	opt := taught(t, b, "")
	opt.BatchTokens, opt.Epochs, opt.Teacher.Top = 160, 3, 8
	var whole []byte
	steps := 0
	for i, keep := range []string{"memory", "file", "nothing"} {
		inMemory = func(int64) bool { return keep == "memory" }
		kernels.SetThreads(1 + 2*(i%2))
		dir := t.TempDir()
		opt.Out = filepath.Join(dir, "out.safetensors")
		if keep == "nothing" {
			defer func(n int) { leastStored = n }(leastStored)
			leastStored = 1 << 20
		}
		file, result := runTraining(t, b, opt)
		if whole == nil {
			whole, steps = file, result.Steps
		}
		if !bytes.Equal(file, whole) {
			t.Errorf("with %s the run writes other bytes", keep)
		}
		if left, _ := os.ReadDir(dir); len(left) != 1 {
			t.Errorf("with %s %d files are left, expected the adapter", keep, len(left))
		}
	}
	opt.Out = filepath.Join(t.TempDir(), "out.safetensors")
	interrupt(t, b, opt, steps/2+1, 0, steps)
	opt.Resume = CheckpointPath(opt.Out)
	if again, _ := runTraining(t, b, opt); !bytes.Equal(again, whole) {
		t.Error("a run that goes on writes other bytes")
	}
}

// TestTeacherTopRunsOnce takes the teacher away when all of its likeliest tokens are kept.
func TestTeacherTopRunsOnce(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 4, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	opt := taught(t, b, "")
	opt.BatchTokens, opt.Epochs, opt.Teacher.Top = 160, 3, 8
	tr, err := newTrainer(b, a, pefttest.TinyData(24, 1), nil, plain(opt))
	if err != nil {
		t.Fatal(err)
	}
	known, last := 0, 0
	tr.opt.Observer = OnStep(func(p Progress) {
		last = p.Step
		if g := tr.gradients.teacher; known == 0 && !slices.Contains(g.tops.store.known, false) {
			known, g.base = p.Step, nil
		}
	})
	if err := tr.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if known == 0 || known > last/2 {
		t.Errorf("all is kept after step %d of %d", known, last)
	}
}

// TestTeacherTopOfAll: as many tokens as there are give the loss of the whole vocabulary, up to half precision.
func TestTeacherTopOfAll(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	var losses [2]float64
	for i, top := range []int{0, b.Model.Spec.Vocab} {
		opt := taught(t, b, filepath.Join(t.TempDir(), "out.safetensors"))
		opt.Teacher.Top = top
		_, result := runTraining(t, b, opt)
		losses[i] = result.Loss
	}
	if math.Abs(losses[0]-losses[1]) > 1e-3*losses[0] {
		t.Errorf("losses %v", losses)
	}
}
