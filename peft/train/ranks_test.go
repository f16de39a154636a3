package train

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/dist"
	"github.com/peftconv/peftconv/internal/dist/disttest"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// ranked runs a training on n ranks. change may change the options of a rank. It gives what rank 0 wrote, and what the
// ranks return.
func ranked(t *testing.T, b *attach.Base, name string, n int, change func(rank int, o *Options)) (map[string][]byte,
	[]*Result, []error) {
	t.Helper()
	dir := t.TempDir()
	results, errs := make([]*Result, n), make([]error, n)
	var all sync.WaitGroup
	for rank, w := range disttest.New(n) {
		a := pefttest.MethodNamed(t, b, name)
		pefttest.Stir(a, 5)
		opt := plain(Options{
			Steps: 5, BatchTokens: 40, Accumulate: 3, LR: 0.01, Clip: 0.5, SaveEvery: 2, Keep: 2, EvalEvery: 2, KeepBest: true,
			Out: filepath.Join(dir, "out.safetensors"), comm: w,
		})
		change(rank, &opt)
		opt.only()
		all.Go(func() {
			results[rank], errs[rank] = trainAdapter(context.Background(), b, a, pefttest.TinyData(19, 1),
				pefttest.TinyData(7, 2), opt)
		})
	}
	all.Wait()
	files := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = data
	}
	return files, results, errs
}

// sameRuns wants runs on one to four ranks to write the same bytes, and all ranks to have the same results.
func sameRuns(t *testing.T, b *attach.Base, name string, change func(rank int, o *Options)) {
	t.Helper()
	var want map[string][]byte
	var losses string
	for n := 1; n <= 4; n++ {
		got, results, errs := ranked(t, b, name, n, change)
		for rank, r := range results {
			if errs[rank] != nil {
				t.Fatalf("rank %d of %d: %v", rank, n, errs[rank])
			}
			text, _ := json.Marshal([]any{r.Loss, r.BaseLoss, r.EvalLoss, r.Accuracy, r.Steps, r.Tokens, r.BestStep})
			if losses == "" {
				losses = string(text)
			}
			if string(text) != losses {
				t.Errorf("rank %d of %d has the results %s, expected %s", rank, n, text, losses)
			}
		}
		if want == nil {
			want = got
		}
		if len(got) != len(want) || len(got) < 3 {
			t.Errorf("%d ranks write %d files, expected %d", n, len(got), len(want))
		}
		for file, data := range want {
			if !bytes.Equal(got[file], data) {
				t.Errorf("%s of %d ranks differs from that of one", file, n)
			}
		}
	}
}

// TestRanks trains with every method.
func TestRanks(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	for i, c := range pefttest.MethodCases {
		if testing.Short() && i%4 != 0 {
			continue
		}
		t.Run(c.Name, func(t *testing.T) { sameRuns(t, b, c.Name, func(int, *Options) {}) })
	}
}

// TestRanksOptions trains with what concerns several batches: parts of them, one batch a step, a teacher, what is
// retained, int8, a stop before the end, and buckets that travel while the rest is computed.
func TestRanksOptions(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	defer func(was int) { leastBucket = was }(leastBucket)
	leastBucket = 1
	for name, change := range map[string]func(rank int, o *Options){
		"parts":     func(_ int, o *Options) { o.BatchTokens, o.MicroBatch, o.Accumulate = 100, 24, 1 },
		"one batch": func(_ int, o *Options) { o.BatchTokens, o.Accumulate = 4000, 1 },
		"apart":     func(_ int, o *Options) { o.NoPacking, o.Accumulate = true, 5 },
		"teacher":   func(_ int, o *Options) { o.Teacher = &Teacher{Base: pefttest.Base(b), Top: 7} },
		"retained":  func(_ int, o *Options) { o.Retain = &Retention{Data: pefttest.Data(pefttest.TinyData(9, 4))} },
		"int8":      func(_ int, o *Options) { o.Precision = PrecisionInt8 },
		"stopped":   func(_ int, o *Options) { o.Steps, o.EvalEvery, o.EarlyStop, o.LR = 30, 1, 2, 0.3 },
		"recompute": func(rank int, o *Options) { o.Recompute = []string{RecomputeAlways, RecomputeNever}[rank%2] },
	} {
		t.Run(name, func(t *testing.T) { sameRuns(t, b, "lora", change) })
	}
}

// TestBucketsAreFinal wants the gradient of a bucket not to change any more once it may travel.
func TestBucketsAreFinal(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	defer func(was int) { leastBucket = was }(leastBucket)
	leastBucket = 1
	early := 0
	for _, c := range pefttest.MethodCases {
		a := pefttest.MethodNamed(t, b, c.Name)
		pefttest.Stir(a, 5)
		tr, err := newTrainer(b, a, pefttest.TinyData(9, 1), nil, plain(Options{Steps: 1, comm: dist.Single{}}))
		if err != nil {
			t.Fatal(err)
		}
		tr.bound.Effect.Regularize = nil // what it adds comes after the sum over batches
		tr.batches = tr.epochBatches(0)
		next := tr.state
		if err := tr.fill(context.Background(), &next); err != nil {
			t.Fatal(err)
		}
		g := tr.gradients
		if err := g.prepare(); err != nil {
			t.Fatal(err)
		}
		var seen [][]float32
		tr.tape.OnPass(func(layer int) {
			for len(seen) < len(g.buckets) && g.buckets[len(seen)].layer >= layer {
				seen = append(seen, bucketValues(&g.buckets[len(seen)], tr.bound.Grads))
			}
		})
		if _, err := g.compute(context.Background(), tr.stepBatches()); err != nil {
			t.Fatal(err)
		}
		for i, was := range seen {
			if now := bucketValues(&g.buckets[i], tr.bound.Grads); !slices.Equal(now, was) {
				t.Errorf("%s: bucket %d of %d, of layer %d, changed after it could travel", c.Name, i, len(g.buckets),
					g.buckets[i].layer)
			}
		}
		early += len(seen)
	}
	if early < 50 {
		t.Errorf("%d buckets could travel early, expected most", early)
	}
}

// bucketValues are the values of a bucket.
func bucketValues(b *bucket, all []float32) (values []float32) {
	for _, r := range b.ranges {
		values = append(values, all[r.From:r.To]...)
	}
	return values
}

// TestRanksResume goes on with other numbers of ranks from a checkpoint that only rank 0 can read.
func TestRanksResume(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	want, _, _ := ranked(t, b, "lora", 1, func(int, *Options) {})
	from := ""
	for file, data := range want {
		if strings.HasSuffix(file, ".checkpoint-000002.safetensors") {
			from = filepath.Join(t.TempDir(), file)
			if err := os.WriteFile(from, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n := 1; n <= 3; n++ {
		got, _, errs := ranked(t, b, "lora", n, func(rank int, o *Options) {
			if o.Resume = from; rank > 0 {
				o.Resume = "only/there"
			}
		})
		for rank, err := range errs {
			if err != nil {
				t.Fatalf("rank %d of %d: %v", rank, n, err)
			}
		}
		if !bytes.Equal(got["out.safetensors"], want["out.safetensors"]) {
			t.Errorf("%d ranks that resume write other bytes", n)
		}
	}
}

// TestRanksDiffer wants ranks with another configuration, data or start to be refused, all with the same error.
func TestRanksDiffer(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	for what, change := range map[string]func(o *Options){
		"the learning rate is 0.01 on rank 0 (host0) and 0.02 on rank 1 (host1)": func(o *Options) { o.LR = 0.02 },
		"the seed is 0 on rank 0 (host0) and 1 on rank 1":                        func(o *Options) { o.Seed = 1 },
		"the number of steps is 5 on rank 0 (host0) and 6":                       func(o *Options) { o.Steps = 6 },
		"the steps between evaluations is 2 on rank 0":                           func(o *Options) { o.EvalEvery = 3 },
	} {
		_, _, errs := ranked(t, b, "lora", 2, func(rank int, o *Options) {
			if rank == 1 {
				change(o)
			}
		})
		for rank, err := range errs {
			if err == nil || !strings.Contains(err.Error(), what) {
				t.Errorf("rank %d: %v, expected that %s", rank, err, what)
			}
		}
	}
}

// TestRanksAreAsked stops all ranks where rank 0 is asked to, and has all measure what it is asked to measure.
func TestRanksAreAsked(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	_, _, errs := ranked(t, b, "lora", 3, func(rank int, o *Options) {
		if rank == 0 {
			asked := &Control{}
			asked.Evaluate()
			o.Control = asked
			o.Observer = OnStep(func(p Progress) {
				if p.Step == 3 {
					asked.Stop()
				}
			})
		}
	})
	for rank, err := range errs {
		var stop *Interrupted
		if !errors.As(err, &stop) || stop.Step != 3 || (stop.Checkpoint != "") != (rank == 0) {
			t.Errorf("rank %d: %v, expected an interruption after step 3, with a checkpoint on rank 0", rank, err)
		}
	}
}

// TestRanksRouters: the load-balance loss of routers, and what it trains, do not depend on the number of ranks.
func TestRanksRouters(t *testing.T) {
	b := archBase(t, "mixtral")
	var want []float64
	var bytesOfOne []byte
	for n := 1; n <= 3; n++ {
		var losses []float64
		out := filepath.Join(t.TempDir(), "out.safetensors")
		var all sync.WaitGroup
		for _, w := range disttest.New(n) {
			a, err := methods.NewLoRA(b, method.LoRA{Rank: 4, Seed: 3})
			if err != nil {
				t.Fatal(err)
			}
			opt := plain(Options{Steps: 4, BatchTokens: 64, Accumulate: 4, LR: 0.01, RouterAuxLoss: 3, Out: out, comm: w})
			opt.Observer = OnStep(func(p Progress) { losses = append(losses, p.RouterLoss) })
			opt.only()
			all.Go(func() {
				if _, err := trainAdapter(t.Context(), b, a, archData(), nil, opt); err != nil {
					t.Errorf("rank %d of %d: %v", w.Rank(), n, err)
				}
			})
		}
		all.Wait()
		if n == 1 {
			want, bytesOfOne = losses, pefttest.FileBytes(t, out)
			continue
		}
		if !slices.Equal(losses, want) || !bytes.Equal(pefttest.FileBytes(t, out), bytesOfOne) || !(want[0] > 1) {
			t.Errorf("%d ranks: losses of the routers %v, expected %v", n, losses, want)
		}
	}
}
