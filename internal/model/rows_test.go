package model

import (
	"slices"
	"testing"

	"github.com/peftconv/peftconv/quant"
)

// TestOrdered spells out what a weight of two rows and three columns is where the file has them in another order.
func TestOrdered(t *testing.T) {
	w := FloatMatrix(2, 3, []float32{4, 5, 6, 1, 2, 3})
	o := Ordered{W: w, Order: Order{Rows: []int32{1, 0}, Cols: []int32{2, 0, 1}}}
	row := make([]float32, 3)
	for r, want := range [][]float32{{3, 1, 2}, {6, 4, 5}} {
		if o.Row(row, r); !slices.Equal(row, want) {
			t.Errorf("row %d is %v, expected %v", r, row, want)
		}
	}
	l := &Linear{W: quant.Matrix{Rows: 2, Cols: 3}, Rows: o.Rows, Cols: o.Cols}
	if got := InHFRows([]float32{1, 2, 3, 4}, l); !slices.Equal(got, []float32{3, 4, 1, 2}) {
		t.Errorf("rows in order are %v", got)
	}
	if got := InHFCols([]float32{1, 2, 3, 4, 5, 6}, l); !slices.Equal(got, []float32{3, 1, 2, 6, 4, 5}) {
		t.Errorf("columns in order are %v", got)
	}
}
