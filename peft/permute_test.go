package peft

import (
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/model"
)

// TestPermutedRow spells the order out for two heads of six rows: the file has first and second halves in turn.
func TestPermutedRow(t *testing.T) {
	stored := make([]int, 12)
	for r := range stored {
		stored[model.PermutedRow(r, 6)] = r
	}
	want := []int{0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11}
	if !slices.Equal(stored, want) {
		t.Errorf("the file has rows %v, expected %v", stored, want)
	}
}

// TestPermuteBothWays moves a tensor of two columns there and back, and leaves others alone.
func TestPermuteBothWays(t *testing.T) {
	flat := make([]float32, 2+8)
	for i := range flat {
		flat[i] = float32(i)
	}
	params := attach.Views([]attach.Param{{Name: "a", Shape: []int{1, 2}}, {Name: "b", Shape: []int{4, 2}}}, flat)
	there := attach.Views(params, make([]float32, len(flat)))
	back := attach.Views(params, make([]float32, len(flat)))
	perms := []attach.Permutation{{Param: 1, Heads: 1}}
	attach.ToBase(there, params, perms)
	if want := []float32{2, 3, 6, 7, 4, 5, 8, 9}; !slices.Equal(there[1].Data, want) {
		t.Errorf("permuted rows are %v, expected %v", there[1].Data, want)
	}
	if !slices.Equal(there[0].Data, params[0].Data) {
		t.Errorf("a tensor without permuted rows became %v", there[0].Data)
	}
	attach.ToHF(back, there, perms)
	if !slices.Equal(back[1].Data, params[1].Data) {
		t.Errorf("there and back gives %v, expected %v", back[1].Data, params[1].Data)
	}
}
