package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// file is a header with its size before it, and data.
func file(header, data string) string {
	return string(binary.LittleEndian.AppendUint64(nil, uint64(len(header)))) + header + data
}

// TestLies reads files that are wrong, each in one way.
func TestLies(t *testing.T) {
	zeros := func(n int) string { return strings.Repeat("\x00", n) }
	one := func(info string) string { return `{"a":` + info + `}` }
	f32 := func(shape, offsets string) string {
		return fmt.Sprintf(`{"dtype":"F32","shape":%s,"data_offsets":%s}`, shape, offsets)
	}
	tests := []struct{ name, file, want string }{
		{"nothing", "", "the file has 0 bytes, expected at least 8"},
		{"half a size", "\x10\x00\x00", "the file has 3 bytes"},
		{"size without header", "\x10\x00\x00\x00\x00\x00\x00\x00", "its size is 16 bytes, the file has 0 more"},
		{"header beyond the limit", "\x01\xe1\xf5\x05\x00\x00\x00\x00{}", "its size is 100000001 bytes, at most 100000000"},
		{"header without end", strings.Repeat("\xff", 8) + "{}", "its size is 18446744073709551615 bytes, at most"},
		{"another format", "PK\x03\x04\x14\x00\x08\x00PK", "is this a safetensors file?"},
		{"empty header", file("", ""), "not a JSON object"},
		{"not an object", file("[]", ""), "not a JSON object"},
		{"space before the object", file(" {}", ""), "not a JSON object"},
		{"not UTF-8", file("{\"\xff\":1}", ""), "not valid UTF-8"},
		{"not JSON", file("{a}", ""), "a stands where a text is expected"},
		{"object without end", file(`{"a":`, ""), `the JSON text ends where "{" is expected`},
		{"something after the object", file("{}{}", ""), "{ stands where the end of the JSON text is expected"},
		{"zero bytes after the object", file("{}\x00", ""), `"\x00" stands where the end of the JSON text is expected`},

		{"a name twice", file(`{"a":`+f32("[1]", "[0,4]")+`,"a":`+f32("[1]", "[4,8]")+`}`, zeros(8)),
			`the key "a" occurs twice`},
		{"a name twice, escaped", file(`{"a":`+f32("[1]", "[0,4]")+`,"\u0061":`+f32("[1]", "[4,8]")+`}`, zeros(8)),
			`the key "a" occurs twice`},
		{"a field twice", file(one(`{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}`), zeros(4)),
			`tensor "a" at byte 0x2f: the key "shape" occurs twice`},
		{"no comma", file(`{"__metadata__":{"a":"b" "c":"d"}}`, ""), `"c" stands where "," or "}" is expected`},
		{"comma before the end", file(`{"__metadata__":{"a":"b",}}`, ""), "} stands where a text is expected"},
		{"comma before the end of a list", file(one(f32("[1,]", "[0,4]")), zeros(4)), "] stands where a whole number"},
		{"no colon", file(`{"a",{}}`, ""), `, stands where ":" is expected`},
		{"text without end", file(`{"a\"`, ""), "a text has no end"},
		{"text with a broken escape", file(`{"a\x":{}}`, ""), "not valid JSON: invalid character 'x' in string escape code"},
		{"text with a control character", file("{\"a\n\":{}}", ""), "not valid JSON: invalid character '\\n'"},
		{"number with a zero before it", file(one(f32("[01]", "[0,4]")), zeros(4)), "01 stands where a whole number"},
		{"number with a plus", file(one(f32("[+1]", "[0,4]")), zeros(4)), "+1 stands where a whole number"},
		{"numbers without comma", file(one(f32("[1 1]", "[0,4]")), zeros(4)), `1 stands where "," or "]" is expected`},
		{"an unknown field that is not JSON", file(one(`{"x":nil}`), ""), "not valid JSON"},
		{"an unknown field without end", file(`{"a":{"x":[[`, ""), "ends too early"},
		{"metadata twice", file(`{"__metadata__":{},"__metadata__":{}}`, ""), "twice"},
		{"a key of the metadata twice", file(`{"__metadata__":{"k":"1","k":"2"}}`, ""), `the key "k" occurs twice`},
		{"metadata of a number", file(`{"__metadata__":{"k":1}}`, ""), "1 stands where a text is expected"},
		{"metadata of null", file(`{"__metadata__":{"k":null}}`, ""), "null stands where a text is expected"},
		{"metadata that is a list", file(`{"__metadata__":[]}`, ""), `[ stands where "{" is expected`},

		{"a tensor that is a list", file(`{"a":[]}`, ""), `[ stands where "{" is expected`},
		{"no type", file(one(`{"shape":[1],"data_offsets":[0,4]}`), zeros(4)), `"dtype" is missing`},
		{"no shape", file(one(`{"dtype":"F32","data_offsets":[0,4]}`), zeros(4)), `"shape" is missing`},
		{"null shape", file(one(f32("null", "[0,4]")), zeros(4)), "null stands where a list of whole numbers is expected"},
		{"no offsets", file(one(`{"dtype":"F32","shape":[1]}`), zeros(4)), `"data_offsets" has 0 numbers`},
		{"one offset", file(one(f32("[1]", "[0]")), zeros(4)), `"data_offsets" has 1 numbers, expected 2`},
		{"three offsets", file(one(f32("[1]", "[0,4,8]")), zeros(4)), `"data_offsets" has 3 numbers`},
		{"unknown type", file(one(`{"dtype":"F33","shape":[1],"data_offsets":[0,4]}`), zeros(4)),
			`the element type "F33" is not known`},
		{"type in lower case", file(one(`{"dtype":"f32","shape":[1],"data_offsets":[0,4]}`), zeros(4)),
			`the element type "f32" is not known`},
		{"type that is a number", file(one(`{"dtype":32,"shape":[1],"data_offsets":[0,4]}`), zeros(4)),
			"stands where a text is expected"},
		{"negative dimension", file(one(f32("[-1]", "[0,4]")), zeros(4)), "-1 stands where a whole number"},
		{"broken dimension", file(one(f32("[1.5]", "[0,4]")), zeros(4)), "1.5 stands where a whole number"},
		{"dimension with an exponent", file(one(f32("[1e0]", "[0,4]")), zeros(4)), "1e0 stands where"},
		{"dimension beyond 2^64", file(one(f32("[18446744073709551617]", "[0,4]")), zeros(4)), "stands where a whole number"},
		{"dimension beyond 2^63", file(one(f32("[18446744073709551615]", "[0,4]")), zeros(4)), "more than any file can hold"},
		{"product beyond 2^63", file(one(f32("[4294967296,4294967296]", "[0,4]")), zeros(4)), "more elements than any file"},
		{"product that wraps to 1", file(one(f32("[3,12297829382473034411]", "[0,4]")), zeros(4)), "more"},
		{"bits that are not bytes", file(one(`{"dtype":"F4","shape":[3],"data_offsets":[0,1]}`), zeros(1)),
			"3 elements of 4 bits are not a whole number of bytes"},

		{"too few bytes", file(one(f32("[2]", "[0,4]")), zeros(4)), "its data are at 0 to 4, expected 8 bytes for F32 [2]"},
		{"too many bytes", file(one(f32("[1]", "[0,8]")), zeros(8)), "expected 4 bytes"},
		{"backward offsets", file(one(f32("[1]", "[4,0]")), zeros(4)), "start at 4, expected 0"},
		{"backward offsets from 0", file(`{"a":`+f32("[1]", "[0,4]")+`,"b":`+f32("[1]", "[4,0]")+`}`, zeros(4)),
			"its data are at 4 to 0"},
		{"data beyond the end", file(one(f32("[2]", "[0,8]")), zeros(7)), "its data end at 8, beyond the 7 bytes"},
		{"data that start late", file(one(f32("[1]", "[4,8]")), zeros(8)), "start at 4, expected 0"},
		{"a gap", file(`{"a":`+f32("[1]", "[0,4]")+`,"b":`+f32("[1]", "[8,12]")+`}`, zeros(12)),
			`tensor "b" at byte 0x42: its data start at 8, expected 4`},
		{"an overlap", file(`{"a":`+f32("[2]", "[0,8]")+`,"b":`+f32("[2]", "[4,12]")+`}`, zeros(12)),
			"start at 4, expected 8"},
		{"the same data twice", file(`{"a":`+f32("[1]", "[0,4]")+`,"b":`+f32("[1]", "[0,4]")+`}`, zeros(4)),
			"start at 0, expected 4"},
		{"extra bytes", file(one(f32("[1]", "[0,4]")), zeros(4)+"#!/bin/sh"),
			"data at byte 0x42: 9 bytes follow that belong to no tensor"},
		{"extra bytes without tensors", file("{}", "x"), "1 bytes follow"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := Parse([]byte(tt.file))
			var fe *FormatError
			if !errors.As(err, &fe) {
				t.Fatalf("file %v, error %v, expected a FormatError", f, err)
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "safetensors: ") {
				t.Errorf("error %q, expected %q", err, tt.want)
			}
			if fe.Off < 0 || fe.Off > int64(len(tt.file)) {
				t.Errorf("error at byte %d of %d", fe.Off, len(tt.file))
			}
		})
	}
}

// TestTruncated cuts a good file at every byte.
func TestTruncated(t *testing.T) {
	data := sample(t)
	for n := range data {
		if _, err := Parse(data[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes were read", n, len(data))
		}
	}
}

// TestAllocation reads files that announce much, and one of many small tensors.
func TestAllocation(t *testing.T) {
	many := `{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`
	for i := range 5000 {
		many += fmt.Sprintf(`,"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`, i)
	}
	for name, data := range map[string]string{
		"shape": file(`{"a":{"dtype":"U8","shape":[1000000000000],"data_offsets":[0,1000000000000]}}`, "xxxx"),
		"deep":  file(`{"a":`+strings.Repeat("[", 100000), ""),
		"many":  file(many+"}", ""),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Parse([]byte(data))
		runtime.ReadMemStats(&after)
		if (err == nil) != (name == "many") {
			t.Errorf("%s: %v", name, err)
		}
		n := after.TotalAlloc - before.TotalAlloc
		t.Logf("%s: %.1f times the file", name, float64(n)/float64(len(data)))
		if n > 20*uint64(len(data))+64<<10 {
			t.Errorf("%s: %d bytes allocated for a file of %d", name, n, len(data))
		}
	}
}

// TestIndexAllocation reads an index of many tensors with short names.
func TestIndexAllocation(t *testing.T) {
	var text strings.Builder
	text.WriteString(`{"weight_map":{"x":"f"`)
	for i := range 5000 {
		fmt.Fprintf(&text, `,"%d":"f"`, i)
	}
	data := []byte(text.String() + "}}")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	where, err := parseIndex(data)
	runtime.ReadMemStats(&after)
	if err != nil || len(where) != 5001 {
		t.Errorf("%d tensors, %v", len(where), err)
	}
	n := after.TotalAlloc - before.TotalAlloc
	t.Logf("%.1f times the file", float64(n)/float64(len(data)))
	if n > 40*uint64(len(data)) {
		t.Errorf("%d bytes allocated for an index of %d", n, len(data))
	}
}
