package dist_test

import (
	"context"
	"fmt"
	"math/rand"
	"slices"
	"sync"
	"testing"

	"github.com/peftconv/peftconv/internal/dist"
	"github.com/peftconv/peftconv/internal/dist/disttest"
)

// each calls f for each rank at once.
func each(n int, f func(w dist.World)) {
	var all sync.WaitGroup
	for _, w := range disttest.New(n) {
		all.Go(func() { f(w) })
	}
	all.Wait()
}

// vectors are of very different sizes, so that every order of adding gives other bits.
func vectors(count, n int) [][]float32 {
	r := rand.New(rand.NewSource(int64(count*1000 + n)))
	var all [][]float32
	for range count {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(r.NormFloat64()) * float32([]float64{1e-6, 1, 1e5}[r.Intn(3)])
		}
		all = append(all, v)
	}
	return all
}

// TestSum wants the sums in the order of the vectors' numbers, for every number of ranks, and again with the same Sum.
func TestSum(t *testing.T) {
	const n = 103
	buckets := [][]dist.Range{{{From: 60, To: 103}}, {{From: 0, To: 3}, {From: 7, To: 60}}, {{From: 3, To: 7}}}
	for size := 1; size <= 5; size++ {
		for _, count := range []int{1, 2, 3, 5, 8, 13} {
			t.Run(fmt.Sprint(size, " ranks, ", count, " vectors"), func(t *testing.T) {
				all := vectors(count, n)
				want := slices.Clone(all[0])
				for _, v := range all[1:] {
					for i := range want {
						want[i] += v[i]
					}
				}
				each(size, func(w dist.World) {
					s, err := dist.NewSum(w, buckets)
					if err != nil {
						t.Error(err)
						return
					}
					for again := range 2 {
						got := make([]float32, n)
						if err := sum(s, w, all, again, got); err != nil {
							t.Error(err)
						}
						if !slices.Equal(got, want) {
							t.Errorf("rank %d, sum %d: %v, expected %v", w.Rank(), again, got, want)
						}
					}
				})
			})
		}
	}
}

// sum adds this rank's vectors, some of whose buckets are ready early.
func sum(s *dist.Sum, w dist.World, all [][]float32, again int, into []float32) error {
	s.Begin(context.Background(), len(all))
	work := make([]float32, len(into))
	for i := w.Rank(); i < len(all); i += w.Size() {
		copy(work, all[i])
		if err := s.Ready((i+again)%4, work); err != nil {
			return err
		}
		if err := s.End(work); err != nil {
			return err
		}
		clear(work)
	}
	return s.Finish(into)
}

// TestSumIsGivenUp wants ranks that wait for one that sends nothing to end with the context.
func TestSumIsGivenUp(t *testing.T) {
	all := vectors(2, 8)
	each(2, func(w dist.World) {
		s, err := dist.NewSum(w, [][]dist.Range{{{From: 0, To: 8}}})
		if err != nil {
			t.Error(err)
			return
		}
		if w.Rank() == 1 {
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		s.Begin(ctx, 2)
		if err := s.End(all[0]); err != nil {
			t.Error(err)
		}
		cancel()
		if err := s.Finish(all[0]); err != context.Canceled {
			t.Errorf("%v, expected %v", err, context.Canceled)
		}
	})
}

// TestGather wants every rank to have what each computed.
func TestGather(t *testing.T) {
	lengths := []int{2, 0, 3, 1, 4, 2, 1}
	for size := 1; size <= 5; size++ {
		each(size, func(w dist.World) {
			var want, values []float64
			for i, n := range lengths {
				for j := range n {
					v := float64(10*i + j)
					want = append(want, v)
					if i%size != w.Rank() {
						v = -1
					}
					values = append(values, v)
				}
			}
			if err := dist.Gather(context.Background(), w, values, lengths); err != nil || !slices.Equal(values, want) {
				t.Errorf("rank %d of %d: %v, %v, expected %v", w.Rank(), size, values, err, want)
			}
			texts, err := dist.Texts(context.Background(), w, fmt.Sprint("rank ", w.Rank(), "!"[:w.Rank()%2]))
			if err != nil || len(texts) != size || texts[size-1] != fmt.Sprint("rank ", size-1, "!"[:(size-1)%2]) {
				t.Errorf("rank %d of %d: %q, %v", w.Rank(), size, texts, err)
			}
		})
	}
}

// TestLaunched reads the environment of launchers.
func TestLaunched(t *testing.T) {
	for _, l := range []string{"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"} {
		t.Setenv(l, "")
	}
	if l := dist.Launched(); l != (dist.Launch{}) {
		t.Errorf("%+v, expected nothing", l)
	}
	t.Setenv("SLURM_PROCID", "0") // as in a script of sbatch
	if l := dist.Launched(); l != (dist.Launch{}) {
		t.Errorf("%+v, expected nothing", l)
	}
	t.Setenv("PMI_RANK", "2")
	t.Setenv("PMI_SIZE", "4")
	if l := dist.Launched(); l.Rank != 2 || l.Size != 4 || l.Launcher == "" {
		t.Errorf("%+v, expected rank 2 of 4", l)
	}
}
