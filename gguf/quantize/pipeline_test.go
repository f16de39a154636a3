package quantize

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func numbers(n int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

func workers(n int) pipeline[int] { return pipeline[int]{n, func() int { return 0 }} }

func TestRunKeepsOrder(t *testing.T) {
	for _, threads := range []int{1, 2, 7} {
		var got []string
		var working, most atomic.Int64
		err := run(t.Context(), workers(threads), numbers(500),
			func(_, i int, buffer *[]byte) ([]byte, error) {
				most.Store(max(most.Load(), working.Add(1)))
				defer working.Add(-1)
				if i%50 == 0 {
					time.Sleep(time.Millisecond)
				}
				*buffer = fmt.Append((*buffer)[:0], i)
				return *buffer, nil
			},
			func(i int, result []byte) error {
				got = append(got, string(result))
				if string(result) != fmt.Sprint(i) {
					return fmt.Errorf("item %d has the result %s", i, result)
				}
				return nil
			})
		if err != nil || len(got) != 500 {
			t.Errorf("%d threads: %d results, %v", threads, len(got), err)
		}
		if most.Load() > int64(threads) {
			t.Errorf("%d worked at a time, expected %d at most", most.Load(), threads)
		}
	}
}

// TestRunIsBounded: where nothing is taken off, only a few items are begun.
func TestRunIsBounded(t *testing.T) {
	var begun atomic.Int64
	err := run(t.Context(), workers(3), numbers(1000),
		func(int, int, *[]byte) ([]byte, error) { begun.Add(1); return nil, nil },
		func(i int, _ []byte) error {
			if i == 0 {
				time.Sleep(20 * time.Millisecond)
				if n := begun.Load(); n > 8 {
					return fmt.Errorf("%d items were begun before the first was taken", n)
				}
			}
			return nil
		})
	if err != nil {
		t.Error(err)
	}
}

func TestRunEnds(t *testing.T) {
	bad := errors.New("bad")
	for _, c := range []struct {
		name string
		work func(i int) error
		emit func(i int, cancel func()) error
		want error
		last int // item that may be emitted
	}{
		{"work fails", func(i int) error {
			if i == 7 {
				return bad
			}
			return nil
		}, nil, bad, 6},
		{"emit fails", nil, func(i int, _ func()) error {
			if i == 9 {
				return bad
			}
			return nil
		}, bad, 9},
		{"cancelled", nil, func(i int, cancel func()) error {
			if i == 4 {
				cancel()
			}
			return nil
		}, context.Canceled, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // panics if a goroutine is left over that never ends
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				last := -1
				err := run(ctx, workers(2), numbers(100000), func(_, i int, _ *[]byte) ([]byte, error) {
					if c.work == nil {
						return nil, nil
					}
					return nil, c.work(i)
				}, func(i int, _ []byte) error {
					last = i
					if c.emit == nil {
						return nil
					}
					return c.emit(i, cancel)
				})
				if !errors.Is(err, c.want) {
					t.Errorf("error %v, want %v", err, c.want)
				}
				if last > c.last {
					t.Errorf("item %d was emitted, %d is the last that may be", last, c.last)
				}
			})
		})
	}
}

func TestRunPassesPanicsOn(t *testing.T) {
	defer func() {
		if r := recover(); r != "oh" {
			t.Errorf("recovered %v", r)
		}
	}()
	run(t.Context(), workers(2), numbers(100),
		func(_, i int, _ *[]byte) ([]byte, error) {
			if i == 3 {
				panic("oh")
			}
			return nil, nil
		},
		func(int, []byte) error { return nil })
	t.Error("it returned")
}

// TestPieces: whole rows, of one matrix each, cover a tensor.
func TestPieces(t *testing.T) {
	var got []piece
	tensor := &Tensor{}
	cut(tensor, 100, 30, 12, func(p piece) bool { got = append(got, p); return true })
	var ends []int64
	for i, p := range got {
		if i > 0 && p.from != got[i-1].to {
			t.Errorf("piece %d begins at %d, the one before ends at %d", i, p.from, got[i-1].to)
		}
		ends = append(ends, p.to)
	}
	if want := []int64{12, 24, 30, 42, 54, 60, 72, 84, 90, 100}; !slices.Equal(ends, want) {
		t.Errorf("pieces end at %v, want %v", ends, want)
	}
}
