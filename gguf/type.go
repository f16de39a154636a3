package gguf

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/peftconv/peftconv/internal/errkind"
)

// Type is a tensor's element type as numbered in the file, with the number of elements and bytes of a block. Package
// quant interprets the blocks.
type Type uint32

// The types that can stand in a file. The gaps are types that GGUF once had.
const (
	F32     Type = 0
	F16     Type = 1
	Q4_0    Type = 2
	Q4_1    Type = 3
	Q5_0    Type = 6
	Q5_1    Type = 7
	Q8_0    Type = 8
	Q8_1    Type = 9
	Q2_K    Type = 10
	Q3_K    Type = 11
	Q4_K    Type = 12
	Q5_K    Type = 13
	Q6_K    Type = 14
	Q8_K    Type = 15
	IQ2_XXS Type = 16
	IQ2_XS  Type = 17
	IQ3_XXS Type = 18
	IQ1_S   Type = 19
	IQ4_NL  Type = 20
	IQ3_S   Type = 21
	IQ2_S   Type = 22
	IQ4_XS  Type = 23
	I8      Type = 24
	I16     Type = 25
	I32     Type = 26
	I64     Type = 27
	F64     Type = 28
	IQ1_M   Type = 29
	BF16    Type = 30
	TQ1_0   Type = 34
	TQ2_0   Type = 35
	MXFP4   Type = 39
	NVFP4   Type = 40
	Q1_0    Type = 41
	Q2_0    Type = 42
)

// typeInfo is what the container needs to know about a type.
type typeInfo struct {
	name     string
	blockLen int // elements a block
	size     int // bytes a block; 0: a type that GGUF no longer has
}

// types are the known types by number; RegisterType adds to them.
var types = []typeInfo{
	F32:     {"F32", 1, 4},
	F16:     {"F16", 1, 2},
	Q4_0:    {"Q4_0", 32, 18},
	Q4_1:    {"Q4_1", 32, 20},
	4:       {"Q4_2", 0, 0},
	5:       {"Q4_3", 0, 0},
	Q5_0:    {"Q5_0", 32, 22},
	Q5_1:    {"Q5_1", 32, 24},
	Q8_0:    {"Q8_0", 32, 34},
	Q8_1:    {"Q8_1", 32, 36},
	Q2_K:    {"Q2_K", 256, 84},
	Q3_K:    {"Q3_K", 256, 110},
	Q4_K:    {"Q4_K", 256, 144},
	Q5_K:    {"Q5_K", 256, 176},
	Q6_K:    {"Q6_K", 256, 210},
	Q8_K:    {"Q8_K", 256, 292},
	IQ2_XXS: {"IQ2_XXS", 256, 66},
	IQ2_XS:  {"IQ2_XS", 256, 74},
	IQ3_XXS: {"IQ3_XXS", 256, 98},
	IQ1_S:   {"IQ1_S", 256, 50},
	IQ4_NL:  {"IQ4_NL", 32, 18},
	IQ3_S:   {"IQ3_S", 256, 110},
	IQ2_S:   {"IQ2_S", 256, 82},
	IQ4_XS:  {"IQ4_XS", 256, 136},
	I8:      {"I8", 1, 1},
	I16:     {"I16", 1, 2},
	I32:     {"I32", 1, 4},
	I64:     {"I64", 1, 8},
	F64:     {"F64", 1, 8},
	IQ1_M:   {"IQ1_M", 256, 56},
	BF16:    {"BF16", 1, 2},
	31:      {"Q4_0_4_4", 0, 0},
	32:      {"Q4_0_4_8", 0, 0},
	33:      {"Q4_0_8_8", 0, 0},
	TQ1_0:   {"TQ1_0", 256, 54},
	TQ2_0:   {"TQ2_0", 256, 66},
	36:      {"IQ4_NL_4_4", 0, 0},
	37:      {"IQ4_NL_4_8", 0, 0},
	38:      {"IQ4_NL_8_8", 0, 0},
	MXFP4:   {"MXFP4", 32, 17},
	NVFP4:   {"NVFP4", 64, 36},
	Q1_0:    {"Q1_0", 128, 18},
	Q2_0:    {"Q2_0", 64, 18},
}

// maxType bounds the numbers of registered types, and with them the table.
const maxType = 1 << 10

// RegisterType adds a type that is not in the table: its number, its name, and the elements and bytes of a block. It
// belongs in an init function, because nothing else may use types meanwhile. A number or a name that is taken, one of
// 1024 or more, an empty name and sizes below 1 panic. Package quant then takes a format of these blocks.
func RegisterType(t Type, name string, blockLen, size int) {
	switch {
	case t >= maxType || name == "" || blockLen < 1 || size < 1:
		panic("gguf: RegisterType without a name, or of a number or size out of range")
	case t.info().name != "":
		panic("gguf: RegisterType of a number that is taken")
	}
	for _, info := range types {
		if strings.EqualFold(name, info.name) {
			panic("gguf: RegisterType of a name that is taken")
		}
	}
	for int(t) >= len(types) {
		types = append(types, typeInfo{})
	}
	types[t] = typeInfo{name, blockLen, size}
}

func (t Type) info() typeInfo {
	if int64(t) < int64(len(types)) {
		return types[t]
	}
	return typeInfo{}
}

// String is the type's name, "Q4_K"; "type 99" for a number that is not in the table.
func (t Type) String() string {
	if name := t.info().name; name != "" {
		return name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// Known says whether the size of the type's blocks is known. Types that GGUF no longer has are not known.
func (t Type) Known() bool { return t.info().size != 0 }

// BlockLen is the number of elements a block, 0 when the type is not known.
func (t Type) BlockLen() int { return t.info().blockLen }

// BlockSize is the number of bytes a block, 0 when the type is not known.
func (t Type) BlockSize() int { return t.info().size }

// RowSize is the number of bytes that n elements take, n a multiple of BlockLen.
func (t Type) RowSize(n int64) (int64, error) {
	info := t.info()
	switch {
	case info.size == 0:
		return 0, errkind.Errorf(errors.ErrUnsupported, "gguf: the block size of %v is not known", t)
	case n < 0 || n%int64(info.blockLen) != 0:
		return 0, fmt.Errorf("gguf: a row of %d elements is not a whole number of %v blocks of %d", n, t, info.blockLen)
	case n/int64(info.blockLen) > math.MaxInt64/int64(info.size):
		return 0, fmt.Errorf("gguf: a row of %d elements of %v is larger than any file", n, t)
	}
	return n / int64(info.blockLen) * int64(info.size), nil
}

// ParseType finds a type by its name, in upper or lower case.
func ParseType(s string) (Type, error) {
	for i, info := range types {
		if info.name == "" || !strings.EqualFold(s, info.name) {
			continue
		}
		if info.size == 0 {
			return 0, errkind.Errorf(errors.ErrUnsupported, "gguf: type %s was removed from GGUF", info.name)
		}
		return Type(i), nil
	}
	return 0, fmt.Errorf("gguf: no type is named %q", s)
}
