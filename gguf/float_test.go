package gguf_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/modeltest"
	"github.com/peftconv/peftconv/quant"
)

// oneTensor is a file of one tensor "x" with these data, which are little-endian, in a byte order.
func oneTensor(t *testing.T, typ gguf.Type, shape []int64, data []byte, order binary.ByteOrder) *gguf.Tensor {
	t.Helper()
	var b bytes.Buffer
	w, err := gguf.NewWriterFormat(&b, &gguf.Metadata{}, []gguf.Tensor{{Name: "x", Shape: shape, Type: typ}},
		gguf.Format{Order: order})
	if err != nil {
		t.Fatal(err)
	}
	data = slices.Clone(data)
	if order == binary.BigEndian && gguf.SwapBytes(typ, nil) == nil {
		if err := gguf.SwapBytes(typ, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.WriteTensor("x", data); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if f.Order != order {
		t.Fatalf("the file is %v, expected %v", f.Order, order)
	}
	return f.Tensor("x")
}

func sameFloats(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, expected %d", what, len(got), len(want))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: number %d is %v, expected %v", what, i, got[i], want[i])
		}
	}
}

// TestFloat32sBlocks reads tensors of every type that package quant knows from files of both byte orders.
func TestFloat32sBlocks(t *testing.T) {
	tested := 0
	for typ := gguf.Type(0); typ < 64; typ++ {
		if !quant.Supported(typ) {
			continue
		}
		tested++
		shape := []int64{512, 37}
		data := modeltest.Data(t, gguf.Tensor{Name: "x", Shape: shape, Type: typ}, binary.LittleEndian)
		want := make([]float32, 512*37)
		quant.Dequantize(typ, want, data)
		little, err := oneTensor(t, typ, shape, data, binary.LittleEndian).Float32s()
		if err != nil {
			t.Errorf("%v: %v", typ, err)
			continue
		}
		sameFloats(t, typ.String(), little, want)
		big := oneTensor(t, typ, shape, data, binary.BigEndian)
		got, err := big.Float32s()
		if gguf.SwapBytes(typ, nil) != nil {
			if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), typ.String()) {
				t.Errorf("%v of a big-endian file: %v, expected an error that names the type", typ, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v of a big-endian file: %v", typ, err)
			continue
		}
		sameFloats(t, typ.String()+" of a big-endian file", got, want)
		part := make([]float32, 512)
		if err := big.CopyFloat32s(part, 512*36); err != nil {
			t.Errorf("%v: %v", typ, err)
		}
		sameFloats(t, typ.String()+", the last row", part, want[512*36:])
	}
	if tested < 20 {
		t.Errorf("%d types tested", tested)
	}
}

// TestFloat32sHalves reads every half and every bfloat16 that is a number.
func TestFloat32sHalves(t *testing.T) {
	var data []byte
	for i := range 1 << 16 {
		data = binary.LittleEndian.AppendUint16(data, uint16(i))
	}
	for _, typ := range []gguf.Type{gguf.F16, gguf.BF16} {
		want := make([]float32, 1<<16)
		quant.Dequantize(typ, want, data)
		got, err := oneTensor(t, typ, []int64{1 << 16}, data, binary.BigEndian).Float32s()
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if got[i] != want[i] && (got[i] == got[i] || want[i] == want[i]) {
				t.Fatalf("%v: 0x%04x is %v, expected %v", typ, i, got[i], want[i])
			}
		}
	}
}

// TestFloat32sNumbers reads the types that have no blocks and are not quant's.
func TestFloat32sNumbers(t *testing.T) {
	for _, c := range []struct {
		typ    gguf.Type
		values any
		want   []float32
	}{
		{gguf.F64, []float64{1, -0.1, math.Inf(1)}, []float32{1, -0.1, float32(math.Inf(1))}},
		{gguf.I8, []int8{-128, 0, 127}, []float32{-128, 0, 127}},
		{gguf.I16, []int16{-32768, 258, 1}, []float32{-32768, 258, 1}},
		{gguf.I32, []int32{math.MinInt32, 258, 1 << 24}, []float32{math.MinInt32, 258, 1 << 24}},
		{gguf.I64, []int64{math.MinInt64, 258, 1 << 24}, []float32{math.MinInt64, 258, 1 << 24}},
	} {
		data, err := binary.Append(nil, binary.LittleEndian, c.values)
		if err != nil {
			t.Fatal(err)
		}
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			got, err := oneTensor(t, c.typ, []int64{3}, data, order).Float32s()
			if err != nil {
				t.Errorf("%v: %v", c.typ, err)
				continue
			}
			sameFloats(t, c.typ.String(), got, c.want)
		}
	}
}

// TestFloat32sRefused: what cannot be had as float32.
func TestFloat32sRefused(t *testing.T) {
	_, err := oneTensor(t, gguf.Q8_1, []int64{32}, make([]byte, 36), binary.LittleEndian).Float32s()
	if !errors.Is(err, errors.ErrUnsupported) ||
		!strings.Contains(err.Error(), "Q8_1") {
		t.Errorf("a type that nothing decodes: %v", err)
	}
	if _, err := (&gguf.Tensor{Name: "x", Shape: []int64{1}}).Float32s(); err == nil {
		t.Error("a tensor without data was read")
	}
	path := filepath.Join(t.TempDir(), "x.gguf")
	modeltest.WriteGGUF(t, path, gguf.Format{}, nil, []gguf.Tensor{{Name: "x", Shape: []int64{4}}}, nil)
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := f.Tensor("x").Float32s(); err == nil {
		t.Error("a tensor of a closed file was read")
	}
}
