package attach_test

import (
	"slices"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
)

// TestMasterOfParts finds the original weights of each linear map, whatever tensors they are in: of blocks in fused and
// stacked tensors, the floats in such and those in a tensor each; and the other way round.
func TestMasterOfParts(t *testing.T) {
	floats, blocks := archtest.Parts(gguf.F32)[5], archtest.Parts(gguf.Q8_0)[5]
	original := pefttest.OpenModel(t, &floats)
	dir := pefttest.WriteHFOf(t, original, "mixtral")
	var identities []string
	apart := pefttest.OpenBase(t, dir)
	for _, c := range []struct{ base, master string }{
		{pefttest.OpenModel(t, &blocks).Path, original.Path}, {pefttest.OpenModel(t, &blocks).Path, dir},
		{dir, original.Path}, {original.Path, dir},
	} {
		b := pefttest.OpenBase(t, c.base)
		if err := b.OpenMaster(c.master); err != nil {
			t.Fatal(err)
		}
		for i, l := range b.Model.Linears() {
			rows, err := b.Master.Rows(l)
			if err != nil {
				t.Fatal(err)
			}
			if err := rows.Check(l); err != nil {
				t.Errorf("%s: %v", l.Place(), err)
			}
			want := original.Model.Linears()[i]
			if b.Model.HF != nil {
				want = apart.Model.Linears()[i]
			}
			got, row := model.Dequantized(&want.W), make([]float32, l.W.Cols)
			for r := range l.W.Rows {
				if rows.Row(row, r); !slices.Equal(row, got[r*l.W.Cols:][:l.W.Cols]) {
					t.Fatalf("%s: row %d of %s is another", l.Place(), r, c.master)
				}
			}
		}
		identity, err := b.IdentifyMaster(b.Model.Linears())
		if err != nil {
			t.Fatal(err)
		}
		if identities = append(identities, identity); identity != identities[0] {
			t.Errorf("%s and the file before identify as different weights", c.master)
		}
	}
}
