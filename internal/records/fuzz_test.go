package records

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
)

// FuzzParseObject compares with what encoding/json takes for an object.
func FuzzParseObject(f *testing.F) {
	for _, seed := range []string{`{"a":[1,-2.5e3,{"b":null}],"c":"é\n\u00e9\ud83d"}`, ` { } `, `{"a":true,"a":false}`,
		`{"":[[],[ ]]}`, `[1]`, `{"a":"\ud800"}`, `{"a":01}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		text = bytes.TrimSpace(text)
		var want map[string]any
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		valid := len(text) > 0 && text[0] == '{' && json.Valid(text) && d.Decode(&want) == nil && invalidUTF8(text) < 0
		o, err := parseObject(text, 0)
		if (err == nil) != valid {
			if err != nil && strings.Contains(err.Error(), "in each other") {
				return
			}
			t.Fatalf("%q: %v, valid is %v", text, err, valid)
		}
		if !valid {
			return
		}
		if got := plain(o); !reflect.DeepEqual(got, any(want)) {
			t.Fatalf("%q is %v, want %v", text, got, want)
		}
	})
}

// plain is a value as encoding/json has it.
func plain(value any) any {
	switch v := value.(type) {
	case *Object:
		m := map[string]any{}
		for _, f := range v.fields {
			m[f.Name] = plain(f.Value)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plain(v[i])
		}
		return list
	}
	return value
}

// FuzzParquet reads arbitrary bytes as a Parquet file.
func FuzzParquet(f *testing.F) {
	for _, codec := range []parquet.WriterOption{parquet.Compression(&parquet.Snappy), parquet.Compression(&parquet.Zstd),
		parquet.DataPageVersion(2)} {
		f.Add(parquetFile(f, []row{{Text: "first", IDs: []int32{1, 2, 3}, Plain: []string{"a", "b"}}, {Text: "b"}}, codec))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		show(Stdin, Options{Format: Parquet, Stdin: bytes.NewReader(data)})
	})
}

// FuzzCompressed reads arbitrary bytes as compressed files.
func FuzzCompressed(f *testing.F) {
	var g, z bytes.Buffer
	gz := gzip.NewWriter(&g)
	zst, err := zstd.NewWriter(&z)
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{"{\"a\": 1}\n", strings.Repeat("{\"a\": \"bcd\"}\n", 50)} {
		g.Reset()
		z.Reset()
		gz.Reset(&g)
		zst.Reset(&z)
		gz.Write([]byte(text))
		zst.Write([]byte(text))
		gz.Close()
		zst.Close()
		f.Add(bytes.Clone(g.Bytes()))
		f.Add(bytes.Clone(z.Bytes()))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, err := range All(Stdin, Options{Format: JSONL, Stdin: bytes.NewReader(data)}) {
			if err != nil {
				return
			}
		}
	})
}
