package model

import (
	"slices"
	"testing"
)

// TestPermutedRow spells the order out for two heads of six rows: the file has first and second halves in turn.
func TestPermutedRow(t *testing.T) {
	stored := make([]int, 12)
	for r := range stored {
		stored[PermutedRow(r, 6)] = r
	}
	want := []int{0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11}
	if !slices.Equal(stored, want) {
		t.Errorf("the file has rows %v, expected %v", stored, want)
	}
}
