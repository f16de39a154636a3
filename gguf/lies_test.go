package gguf

import (
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"testing"
)

// The pieces of a file, little-endian, for tests that spell files out.
func u32(v uint32) string { return string(binary.LittleEndian.AppendUint32(nil, v)) }
func u64(v uint64) string { return string(binary.LittleEndian.AppendUint64(nil, v)) }
func str(s string) string { return u64(uint64(len(s))) + s }

// head is everything before the metadata in version 3.
func head(tensors, values uint64) string { return "GGUF" + u32(3) + u64(tensors) + u64(values) }

// line is a line of the tensor table.
func line(name string, typ Type, offset uint64, shape ...uint64) string {
	s := str(name) + u32(uint32(len(shape)))
	for _, n := range shape {
		s += u64(n)
	}
	return s + u32(uint32(typ)) + u64(offset)
}

// pad32 brings a header to the default alignment and appends data.
func pad32(header, data string) string {
	return header + strings.Repeat("\x00", int(pad(int64(len(header)), 32))) + data
}

// zeros is n bytes of data.
func zeros(n int) string { return strings.Repeat("\x00", n) }

// TestLies reads files that are wrong, each in one way. where is the byte that the error must name.
func TestLies(t *testing.T) {
	kind := func(k ValueType) string { return str("k") + u32(uint32(k)) }
	arr := func(elem ValueType, n uint64) string { return kind(KindArray) + u32(uint32(elem)) + u64(n) }
	align := func(rest string) string { return head(0, 1) + str("general.alignment") + rest }
	tests := []struct {
		name  string
		file  string
		want  string
		where int64
	}{
		{"nothing", "", "ends after 0 bytes", 0},
		{"half a magic", "GG", "ends after 2 bytes", 0},
		{"another format", "PK\x03\x04 and so on", `not a GGUF file: it starts with "PK\x03\x04", expected "GGUF"`, 0},
		{"lower case magic", "gguf" + u32(3) + u64(0) + u64(0), "not a GGUF file", 0},
		{"the format before", "tjgg" + u32(3), "from before GGUF", 0},
		{"magic alone", "GGUF", "takes 4 bytes from here, the file has 0 more", 4},
		{"version 0", "GGUF" + u32(0) + u64(0) + u64(0), "version 0, expected 1 to 3", 4},
		{"version 4", "GGUF" + u32(4) + u64(0) + u64(0), "version 4, expected 1 to 3", 4},
		{"version 4, big-endian", "GGUF\x00\x00\x00\x04" + u64(0) + u64(0), "version 4, expected 1 to 3", 4},
		{"no counts", "GGUF" + u32(3), "takes 8 bytes", 8},
		{"tensors without end", "GGUF" + u32(3) + u64(1<<60) + u64(0),
			"announces 1152921504606846976 tensors, the 8 bytes that follow have room for 0", 8},
		{"values without end", head(0, 1<<63), "announces 9223372036854775808 metadata values, the 0 bytes", 16},
		{"one value too many", head(0, 2) + kind(KindBool) + "\x01" + zeros(14),
			"metadata value 2 of 2 at byte 0x26: its key has 0 bytes", 38},

		{"empty key", head(0, 1) + str("") + u32(0) + "aaaaaa", "its key has 0 bytes", 24},
		{"key beyond the end", head(0, 1) + u64(100) + "key and more", "takes 100 bytes from here, the file has 12 more", 32},
		{"key of a quarter of the world", head(0, 1) + u64(1<<62) + "key and more",
			"announces 4611686018427387904 bytes of text, at most 1073741824", 24},
		{"long key", head(0, 1) + str(strings.Repeat("k", 1<<16)) + u32(0) + "a", "its key has 65536 bytes", 24},
		{"key twice", head(0, 2) + kind(KindUint8) + "a" + kind(KindUint8) + "b", `the key "k" occurs twice`, 38},
		{"unknown kind", head(0, 1) + kind(13) + u64(0), `key "k" at byte 0x21: the kind of value is 13, expected 0 to 12`,
			33},
		{"value cut short", head(0, 1) + kind(KindUint64) + "abcd", "takes 8 bytes from here, the file has 4 more", 37},
		{"bool 2", head(0, 1) + kind(KindBool) + "\x02", "a bool is the byte 2", 37},
		{"string beyond the end", head(0, 1) + kind(KindString) + u64(5) + "four",
			"takes 5 bytes from here, the file has 4 more", 45},
		{"array of an unknown kind", head(0, 1) + arr(77, 0), "the kind of value is 77", 37},
		{"array cut short", head(0, 1) + arr(KindUint32, 3) + u32(1) + u32(2),
			"takes 12 bytes from here, the file has 8 more", 49},
		{"array of 2^40", head(0, 1) + arr(KindUint8, 1<<40), "announces 1099511627776 elements, at most", 41},
		{"array of 2^30 of 8 bytes", head(0, 1) + arr(KindUint64, 1<<30), "takes 8589934592 bytes", 49},
		{"strings without end", head(0, 1) + arr(KindString, 1<<30) + str("a"),
			"announces 1073741824 strings, the 9 bytes that follow have room for 1", 49},
		{"string in an array beyond the end", head(0, 1) + arr(KindString, 2) + str("a") + u64(1<<29),
			"takes 536870912 bytes", 66},
		{"bool 255 in an array", head(0, 1) + arr(KindBool, 3) + "\x00\x01\xff", "a bool is the byte 255", 51},
		{"arrays without end", head(0, 1) + arr(KindArray, 1<<30) + u32(0) + u64(0), "announces 1073741824 arrays", 49},
		{"arrays too deep", head(0, 1) + arr(KindArray, 1) + strings.Repeat(u32(9)+u64(1), 8), "more than 4 deep", 85},

		{"alignment 0", align(u32(4)+u32(0)) + zeros(32), "the alignment is 0, expected a power of two", 57},
		{"alignment 24", align(u32(4)+u32(24)) + zeros(32), "the alignment is 24, expected a power of two", 57},
		{"alignment of another kind", align(u32(10)+u64(32)) + zeros(32), "the alignment is of kind u64, expected u32", 61},

		{"table cut short", head(1, 0) + str("a tensor") + u32(1) + u64(4), `tensor "a tensor" at byte 0x34: takes 4 bytes`,
			52},
		{"name too long", head(1, 0) + line(strings.Repeat("n", 64), F32, 0, 1), "its name has 64 bytes, at most 63", 24},
		{"name twice", pad32(head(2, 0)+line("a", F32, 0, 8)+line("a", F32, 32, 8), zeros(64)), `the name "a" occurs twice`,
			57},
		{"five dimensions", pad32(head(1, 0)+line("a", F32, 0, 1, 1, 1, 1, 1), zeros(4)),
			"has 5 dimensions, expected at most 4", 24},
		{"dimensions without end", pad32(head(1, 0)+str("a")+u32(1<<31), zeros(64)), "has 2147483648 dimensions", 24},
		{"dimension 0", pad32(head(1, 0)+line("a", F32, 0, 4, 0), zeros(32)), "dimension 1 is 0, expected at least 1", 24},
		{"negative dimension", pad32(head(1, 0)+line("a", F32, 0, 1<<64-4), zeros(32)), "dimension 0 is 18446744073709551612",
			24},
		{"product beyond 2^63", pad32(head(1, 0)+line("a", F32, 0, 1<<32, 1<<32), zeros(32)), "more elements than any file",
			24},
		{"product that wraps to 4", pad32(head(1, 0)+line("a", F32, 0, 1<<62+1, 4), zeros(32)), "more elements than any file",
			24},
		{"bytes beyond 2^63", pad32(head(1, 0)+line("a", F64, 0, 1<<59), zeros(32)), "more bytes than any file", 24},
		{"broken blocks", pad32(head(1, 0)+line("a", Q4_0, 0, 48), zeros(32)),
			"rows of 48 elements are not whole Q4_0 blocks of 32", 24},
		{"broken blocks in every row", pad32(head(1, 0)+line("a", Q4_K, 0, 128, 2), zeros(160)),
			"rows of 128 elements are not whole Q4_K blocks of 256", 24},

		{"data beyond the end", pad32(head(1, 0)+line("blk.0.attn_q.weight", F32, 0, 16), zeros(63)),
			`tensor "blk.0.attn_q.weight" at byte 0x18: its 64 bytes of data end at 160, beyond the file's 159 bytes`, 24},
		{"no data", head(1, 0) + line("a", F32, 0, 1), "its 4 bytes of data end", 24},
		{"unaligned", pad32(head(2, 0)+line("a", F32, 0, 4)+line("b", F32, 16, 4), zeros(64)), "at offset 16, expected 32",
			57},
		{"overlapping", pad32(head(2, 0)+line("a", F32, 0, 8)+line("b", F32, 0, 8), zeros(64)), "at offset 0, expected 32",
			57},
		{"out of order", pad32(head(2, 0)+line("a", F32, 32, 8)+line("b", F32, 0, 8), zeros(64)), "at offset 32, expected 0",
			24},
		{"a gap", pad32(head(2, 0)+line("a", F32, 0, 8)+line("b", F32, 64, 8), zeros(96)), "at offset 64, expected 32", 57},
		{"offset that wraps", pad32(head(1, 0)+line("a", F32, 1<<64-32, 8), zeros(64)),
			"at offset 18446744073709551584, expected 0", 24},
		{"offset that wraps after an unknown type",
			pad32(head(2, 0)+line("a", 99, 0, 8)+line("b", F32, 1<<64-32, 8), zeros(64)),
			"those of the next tensor at 18446744073709551584", 24},
		{"unaligned after an unknown type", pad32(head(2, 0)+line("a", 99, 0, 8)+line("b", F32, 33, 4), zeros(64)),
			"at offset 33, not a multiple of 32", 57},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := Parse([]byte(tt.file))
			var fe *FormatError
			if !errors.As(err, &fe) {
				t.Fatalf("file %v, error %v, expected a FormatError", f, err)
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "gguf: ") {
				t.Errorf("error %q, expected %q", err, tt.want)
			}
			if fe.Off != tt.where {
				t.Errorf("error %q at byte %d, expected %d", err, fe.Off, tt.where)
			}
		})
	}
}

// TestTruncated cuts a good file at every byte: all that is shorter than its last tensor must be refused.
func TestTruncated(t *testing.T) {
	file := sample(t, Format{})
	for n := range len(file) - int(pad(6, 32)) {
		if f, err := Parse(file[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes were read: %d tensors", n, len(file), len(f.Tensors))
		}
	}
}

// TestAllocation reads short files that announce a great deal.
func TestAllocation(t *testing.T) {
	for name, file := range map[string]string{
		"tensors": "GGUF" + u32(3) + u64(1<<40) + u64(0) + zeros(1000),
		"values":  head(0, 1<<40) + zeros(1000),
		"strings": head(0, 1) + str("k") + u32(9) + u32(8) + u64(1<<30) + zeros(1000),
		"arrays":  head(0, 1) + str("k") + u32(9) + u32(9) + u64(1<<30) + zeros(1000),
		"numbers": head(0, 1) + str("k") + u32(9) + u32(12) + u64(1<<30) + zeros(1000),
		"data":    pad32(head(1, 0)+line("a", F32, 0, 1<<40), zeros(1000)),
	} {
		n := allocated(func() {
			if _, err := Parse([]byte(file)); err == nil {
				t.Errorf("%s: the file was read", name)
			}
		})
		if n > 64<<10 {
			t.Errorf("%s: %d bytes allocated for a file of %d", name, n, len(file))
		}
	}
}

// TestAllocationOfGoodFiles reads files whose parts are as small as can be, so that the tables in memory are large by
// comparison.
func TestAllocationOfGoodFiles(t *testing.T) {
	const n = 10000
	var tensors, values, texts, arrays strings.Builder
	for i := range uint64(n) {
		name := string(rune('0'+i/1000)) + string(rune('0'+i/100%10)) + string(rune('0'+i/10%10)) + string(rune('0'+i%10))
		tensors.WriteString(line(name, I8, i*32))
		values.WriteString(str(name) + u32(0) + "x")
		texts.WriteString(str(""))
		arrays.WriteString(u32(0) + u64(0))
	}
	for name, file := range map[string]string{
		"tensors": pad32(head(n, 0)+tensors.String(), zeros(n*32)),
		"values":  head(0, n) + values.String(),
		"strings": head(0, 1) + str("k") + u32(9) + u32(8) + u64(n) + texts.String(),
		"arrays":  head(0, 1) + str("k") + u32(9) + u32(9) + u64(n) + arrays.String(),
	} {
		got := allocated(func() {
			if _, err := Parse([]byte(file)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
		if limit := uint64(12 * len(file)); got > limit {
			t.Errorf("%s: %d bytes allocated for a file of %d", name, got, len(file))
		}
		t.Logf("%s: %.1f times the file", name, float64(got)/float64(len(file)))
	}
}

// allocated is the number of bytes that f allocates, those it frees again included.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
