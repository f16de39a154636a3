package attach

import (
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/model"
)

// TestPermuteBothWays moves a tensor of two columns there and back, and leaves others alone.
func TestPermuteBothWays(t *testing.T) {
	flat := make([]float32, 2+8)
	for i := range flat {
		flat[i] = float32(i)
	}
	params := Views([]Param{{Name: "a", Shape: []int{1, 2}}, {Name: "b", Shape: []int{4, 2}}}, flat)
	there := Views(params, make([]float32, len(flat)))
	back := Views(params, make([]float32, len(flat)))
	perms := []Permutation{{Param: 1, Order: model.Order{Rows: []int32{0, 2, 1, 3}, Cols: []int32{1, 0}}}}
	ToBase(there, params, perms)
	if want := []float32{3, 2, 7, 6, 5, 4, 9, 8}; !slices.Equal(there[1].Data, want) {
		t.Errorf("permuted rows and columns are %v, expected %v", there[1].Data, want)
	}
	if !slices.Equal(there[0].Data, params[0].Data) {
		t.Errorf("a tensor without permuted rows became %v", there[0].Data)
	}
	ToHF(back, there, perms)
	if !slices.Equal(back[1].Data, params[1].Data) {
		t.Errorf("there and back gives %v, expected %v", back[1].Data, params[1].Data)
	}
}
