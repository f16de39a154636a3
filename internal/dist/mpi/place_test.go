//go:build mpi

package mpi

import (
	"encoding/json"
	"slices"
	"testing"
)

// TestShare divides processors among the ranks that may use the same ones.
func TestShare(t *testing.T) {
	text := func(p place) string {
		out, _ := json.Marshal(p)
		return string(out)
	}
	four := []int{0, 1, 2, 3}
	texts := []string{
		text(place{"a", four, 4}), text(place{"a", four, 4}), // not bound
		text(place{"b", []int{0, 1}, 2}), text(place{"b", []int{2, 3}, 2}), // bound
		text(place{"c", four, 2}), // two of them by its control group
		text(place{"d", nil, 8}),  // the system does not tell
	}
	want := []int{2, 2, 2, 2, 2, 8}
	for rank := range texts {
		names, threads := share(texts, rank)
		if threads != want[rank] || !slices.Equal(names, []string{"a", "a", "b", "b", "c", "d"}) {
			t.Errorf("rank %d: %d threads, expected %d; %v", rank, threads, want[rank], names)
		}
	}
	if _, threads := share([]string{text(place{"a", []int{0}, 1}), text(place{"a", []int{0}, 1})}, 1); threads != 1 {
		t.Errorf("two ranks on one processor have %d threads, expected 1", threads)
	}
}
