package pefttest

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/safetensors"
)

// PackedIDs are the sequences of a tensor of int64, or the first tokens of each.
func PackedIDs(t *testing.T, x *safetensors.Tensor, most int) *batch.Batch {
	t.Helper()
	if x == nil || x.DType != "I64" || len(x.Shape) != 2 {
		t.Fatal("no ids in int64")
	}
	b, n, data := &batch.Batch{}, int(x.Shape[1]), x.Bytes()
	for at := 0; at < len(data); at += 8 * n {
		ids := make([]int32, n)
		for i := range ids {
			ids[i] = int32(data[at+8*i]) | int32(data[at+8*i+1])<<8
		}
		if most > 0 {
			ids = ids[:most]
		}
		b.Append(ids, nil)
	}
	return b
}

// Float64s are the numbers of a tensor.
func Float64s(t *testing.T, f *safetensors.File, name string) []float64 {
	t.Helper()
	x := f.Tensor(name)
	if x == nil || x.DType != "F64" {
		t.Fatalf("the reference has no %s in float64", name)
	}
	values, data := make([]float64, x.Elements()), x.Bytes()
	for i := range values {
		values[i] = math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:]))
	}
	return values
}
