package safetensors

import "slices"

// DType is the type of a tensor's elements, by its name in the file.
type DType string

// The element types of the format.
const (
	Bool       DType = "BOOL" // a byte, 0 or 1
	F4         DType = "F4"   // 2 bits of exponent, 1 of mantissa (OCP MX)
	F6E2M3     DType = "F6_E2M3"
	F6E3M2     DType = "F6_E3M2"
	U8         DType = "U8"
	I8         DType = "I8"
	F8E5M2     DType = "F8_E5M2"
	F8E4M3     DType = "F8_E4M3" // without infinities (OCP)
	F8E8M0     DType = "F8_E8M0" // powers of two (OCP MX scales)
	F8E4M3FNUZ DType = "F8_E4M3FNUZ"
	F8E5M2FNUZ DType = "F8_E5M2FNUZ"
	I16        DType = "I16"
	U16        DType = "U16"
	F16        DType = "F16"
	BF16       DType = "BF16"
	I32        DType = "I32"
	U32        DType = "U32"
	F32        DType = "F32"
	C64        DType = "C64" // a pair of F32: real, imaginary
	F64        DType = "F64"
	I64        DType = "I64"
	U64        DType = "U64"
)

// dtypes is in the order of the reference library, which lays tensors out from the last of these types to the first.
var dtypes = []struct {
	name DType
	bits int
}{
	{Bool, 8}, {F4, 4}, {F6E2M3, 6}, {F6E3M2, 6}, {U8, 8}, {I8, 8},
	{F8E5M2, 8}, {F8E4M3, 8}, {F8E8M0, 8}, {F8E4M3FNUZ, 8}, {F8E5M2FNUZ, 8},
	{I16, 16}, {U16, 16}, {F16, 16}, {BF16, 16},
	{I32, 32}, {U32, 32}, {F32, 32},
	{C64, 64}, {F64, 64}, {I64, 64}, {U64, 64},
}

// rank is the index of the type in dtypes, -1 if it is not there.
func (d DType) rank() int {
	for i := range dtypes {
		if dtypes[i].name == d {
			return i
		}
	}
	return -1
}

// asKnown is a type of the format as the constant that it is, so that its name is in memory once.
func asKnown(d DType) DType {
	if i := d.rank(); i >= 0 {
		return dtypes[i].name
	}
	return d
}

// Known says whether d is a type of the format.
func (d DType) Known() bool { return d.rank() >= 0 }

// Bits is the number of bits an element takes, 0 when the type is not known.
func (d DType) Bits() int {
	if i := d.rank(); i >= 0 {
		return dtypes[i].bits
	}
	return 0
}

// DTypes is all element types of the format.
func DTypes() []DType {
	all := make([]DType, 0, len(dtypes))
	for _, d := range dtypes {
		all = append(all, d.name)
	}
	slices.Sort(all)
	return all
}
