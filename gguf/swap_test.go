package gguf

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// TestLayouts checks that every layout fills its block.
func TestLayouts(t *testing.T) {
	for typ, layout := range layouts {
		size := 0
		for _, f := range layout {
			size += f.width * f.count
		}
		if size != typ.BlockSize() {
			t.Errorf("the layout of %v has %d bytes, expected %d", typ, size, typ.BlockSize())
		}
	}
}

func TestSwapBytes(t *testing.T) {
	for _, tt := range []struct {
		typ       Type
		data, out string
	}{
		{F32, "abcdefgh", "dcbahgfe"},
		{F16, "abcd", "badc"},
		{I8, "abcd", "abcd"},
		{F64, "abcdefgh", "hgfedcba"},
		{Q8_0, "dDqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqQ", "DdqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqQ"},
		{Q5_1, "dDmM1234qqqqqqqqqqqqqqqQ", "DdMm4321qqqqqqqqqqqqqqqQ"},
		{TQ2_0, "0123456789012345678901234567890123456789012345678901234567890123dD",
			"0123456789012345678901234567890123456789012345678901234567890123Dd"},
	} {
		data := []byte(tt.data)
		for _, want := range []string{tt.out, tt.data} { // there and back
			if err := SwapBytes(tt.typ, data); err != nil || string(data) != want {
				t.Errorf("%v: %q (%v), expected %q", tt.typ, data, err, want)
			}
		}
	}
	if err := SwapBytes(Q4_0, make([]byte, 19)); err == nil {
		t.Error("a broken block was swapped")
	}
	for _, typ := range []Type{IQ2_XXS, IQ1_M, 99} {
		if err := SwapBytes(typ, nil); err == nil {
			t.Errorf("%v was swapped", typ)
		}
	}
}

// TestConvertOrder writes a little-endian file as a big-endian one, and that as a little-endian one again.
func TestConvertOrder(t *testing.T) {
	file := sample(t, Format{})
	little, err := Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	big, err := Parse(convertOrder(t, little, Format{Order: binary.BigEndian}))
	if err != nil {
		t.Fatal(err)
	}
	if big.Order != binary.BigEndian || string(big.Tensor("b.weight").Bytes()) != "aabbcc" ||
		string(big.Tensor("scalar").Bytes()) != "\x3f\x80\x00\x00" {
		t.Errorf("order %v, scalar %q", big.Order, big.Tensor("scalar").Bytes())
	}
	sameMetadata(t, big.Meta, little.Meta)
	if !bytes.Equal(convertOrder(t, big, Format{}), file) {
		t.Error("there and back it differs")
	}
}

func convertOrder(t *testing.T, f *File, format Format) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriterFormat(&b, f.Meta, f.Table(), format)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range f.Tensors {
		data := bytes.Clone(x.Bytes())
		if err := SwapBytes(x.Type, data); err != nil {
			t.Fatal(err)
		}
		if err := w.WriteTensor(x.Name, data); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}
