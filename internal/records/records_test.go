package records

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"

	"github.com/peftconv/peftconv/internal/testdata"
)

// write makes a file.
func write(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// compress compresses as a name says.
func compress(t testing.TB, name string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch filepath.Ext(name) {
	case ".gz":
		w = gzip.NewWriter(&b)
	case ".zst":
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	default:
		return content
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// show reads all records as "place object", a line each, with the file's name as F; an error comes last.
func show(path string, opt Options) string {
	var b strings.Builder
	for r, err := range All(path, opt) {
		var o *Object
		if err == nil {
			if o, err = r.Object(); err != nil {
				err = r.Errorf("%w", err)
			}
		}
		if err != nil {
			fmt.Fprintf(&b, "error: %v\n", err)
			break
		}
		text, err := json.Marshal(o)
		if err != nil {
			text = []byte(err.Error())
		}
		fmt.Fprintf(&b, "%s %s\n", r.Place(), text)
	}
	if path == Stdin {
		return b.String()
	}
	return strings.ReplaceAll(b.String(), path, "F")
}

// message and row are a conversation as Parquet files hold it.
type message struct {
	Role    string   `parquet:"role"`
	Content *string  `parquet:"content,optional"`
	Tools   []string `parquet:"tools,list"`
}

type row struct {
	Text     string            `parquet:"text"`
	Messages []message         `parquet:"messages,list"`
	IDs      []int32           `parquet:"input_ids,list"`
	Score    float64           `parquet:"score"`
	Good     bool              `parquet:"good"`
	Count    *int64            `parquet:"count,optional"`
	Plain    []string          `parquet:"plain"`
	More     map[string]string `parquet:"more"`
	Big      uint64            `parquet:"big"`
}

// parquetFile is rows as a file with two row groups.
func parquetFile(t testing.TB, rows []row, options ...parquet.WriterOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[row](&b, options...)
	for i := range rows {
		if _, err := w.Write(rows[i : i+1]); err != nil {
			t.Fatal(err)
		}
		if i == len(rows)/2 {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFormats(t *testing.T) {
	hello, seven := "hello <b>", int64(7)
	rows := []row{
		{Text: "äöü", Messages: []message{{"user", &hello, []string{"a", "b"}}, {"assistant", nil, nil}}, IDs: []int32{1, 2},
			Score: 0.5, Good: true, Count: &seven, Plain: []string{"x", "y"}, More: map[string]string{"k": "v"}, Big: 1 << 63},
		{Text: "", Score: -1e30},
		{Text: "third", Messages: []message{{"tool", &hello, []string{"c"}}}, IDs: []int32{-3}},
	}
	wantRows := `F: row 1 {"text":"äöü","messages":[{"role":"user","content":"hello \u003cb\u003e","tools":["a","b"]},` +
		`{"role":"assistant","content":null,"tools":[]}],"input_ids":[1,2],"score":0.5,"good":true,"count":7,` +
		`"plain":["x","y"],"more":{"k":"v"},"big":9223372036854775808}
F: row 2 {"text":"","messages":[],"input_ids":[],"score":-1e+30,"good":false,"count":null,"plain":[],"more":{},"big":0}
F: row 3 {"text":"third","messages":[{"role":"tool","content":"hello \u003cb\u003e","tools":["c"]}],"input_ids":[-3],` +
		`"score":0,"good":false,"count":null,"plain":[],"more":{},"big":0}
`
	for _, c := range []struct{ name, content, want string }{
		{"a.jsonl", "\ufeff{\"b\": 1, \"a\": {\"z\": [1.50, 1e400, true, null], \"y\": \"\\u00e4\"}}\r\n\n  {\"x\":\"<&>\"}",
			"F:1 {\"b\":1,\"a\":{\"z\":[1.50,1e400,true,null],\"y\":\"ä\"}}\nF:3 {\"x\":\"\\u003c\\u0026\\u003e\"}\n"},
		{"a.ndjson", "{\"a\":1,\"b\":2,\"a\":3}\n", "F:1 {\"a\":3,\"b\":2}\n"},
		{"a.json", "\n[\n {\"a\": 1},\n {\"b\":\n 2}, {}]\n",
			"F:3: record 1 {\"a\":1}\nF:4: record 2 {\"b\":2}\nF:5: record 3 {}\n"},
		{"a.json", "{\"a\": 1}\n{\"a\": 2}\n", "F:1 {\"a\":1}\nF:2 {\"a\":2}\n"},
		{"a.jsonl", "[{\"a\": 1}]", "F:1: record 1 {\"a\":1}\n"},
		{"a.json", "[]", ""},
		{"a.csv", "\ufeffq,a\n1,\"x\ny\"\n\"say \"\"ä\"\"\",\n",
			"F:2 {\"q\":\"1\",\"a\":\"x\\ny\"}\nF:4 {\"q\":\"say \\\"ä\\\"\",\"a\":\"\"}\n"},
		{"a.tsv", "q\ta\r\n1,5\tx\r\n", "F:2 {\"q\":\"1,5\",\"a\":\"x\"}\n"},
		{"a.csv", "", ""},
		{"a.parquet", string(parquetFile(t, rows)), wantRows},
	} {
		for _, suffix := range []string{"", ".gz", ".zst"} {
			data := compress(t, suffix, []byte(c.content))
			if got := show(write(t, c.name+suffix, data), Options{}); got != c.want {
				t.Errorf("%s%s:\n%swant\n%s", c.name, suffix, got, c.want)
			}
			format := Format("")
			if strings.HasSuffix(c.name, "sv") {
				format = FormatOf(c.name)
			}
			if c.content == "" {
				continue
			}
			got := show(Stdin, Options{Format: format, Stdin: bytes.NewReader(data)})
			if want := strings.ReplaceAll(c.want, "F:", "standard input:"); got != want {
				t.Errorf("%s%s as standard input:\n%swant\n%s", c.name, suffix, got, want)
			}
		}
	}
	for _, codec := range []parquet.WriterOption{parquet.Compression(&parquet.Snappy), parquet.Compression(&parquet.Zstd),
		parquet.Compression(&parquet.Gzip), parquet.Compression(&parquet.Brotli), parquet.DataPageVersion(1)} {
		if got := show(write(t, "a.parquet", parquetFile(t, rows, codec)), Options{}); got != wantRows {
			t.Errorf("%v:\n%swant\n%s", codec, got, wantRows)
		}
	}
}

func TestErrors(t *testing.T) {
	whole := string(parquetFile(t, []row{{Text: "a"}, {Text: "b"}}))
	for _, c := range []struct{ name, content, want string }{
		{"a.jsonl", "{}\n{\"a\": 1,}\n",
			"F:2: not JSON: invalid character '}' looking for beginning of object key string at byte 9"},
		{"a.jsonl", "{}\n\n  \"x\"\n", "F:3: a string; want an object"},
		{"a.jsonl", "{\"a\": \"\xff\"}\n", "F:1: byte 8 of the line (0xff) is not UTF-8"},
		{"a.jsonl", "{\"a\": \"x\n", "F:1: not JSON: unexpected end of JSON input at byte 8"},
		{"a.jsonl", strings.Repeat(`{"a":`, 300) + "1" + strings.Repeat("}", 300), "F:1: more than 200 arrays and objects"},
		{"a.json", "[\n{\"a\": 1},\n{\"a\": }]", "F:3: record 2: not JSON: invalid character '}'"},
		{"a.json", "[{\"a\": 1}", "F:1: not JSON: unexpected EOF"},
		{"a.json", "[{\"a\": 1}, 5]", "F:1: record 2: a number; want an object"},
		{"a.json", "[{\"a\": 1}] x", "F:1: more data after the array"},
		{"a.csv", "a,b\n1,2\n1,2,3\n", `F:3: 3 values, want 2: the fields are "a" and "b"`},
		{"a.csv", "a,b\n1,\"2\"x\n", `F:2: column 5: extraneous or missing "`},
		{"a.csv", "a,a\n", `F:1: the name of column 2 is empty or occurs twice: "a"`},
		{"a.csv", "a,b\n1,\xfe\n", "F:2: byte 1 of value 2 (0xfe) is not UTF-8"},
		{"a.parquet", whole[:len(whole)-20], "F: not a Parquet file: it ends with"},
		{"a.parquet", "PAR1", "F: not a Parquet file: 4 bytes"},
		{"a.parquet", whole[:len(whole)-8] + "\xff\xff\xff\x7fPAR1", "F: not a Parquet file: a footer of 2147483647 bytes"},
		{"a.txt", "hello", "F: a text, want records with fields"},
		{"a.doc", "hello", "F: unknown kind of data; want one of .jsonl, .json, .csv, .tsv, .parquet, .txt"},
		{"a.jsonl.gz", "{}", "F: not a gzip file"},
		{"a.jsonl.zst", "{}{}{}", "F: invalid input: magic number mismatch"},
	} {
		lines := strings.Split(strings.TrimSuffix(show(write(t, c.name, []byte(c.content)), Options{}), "\n"), "\n")
		if got := lines[len(lines)-1]; !strings.HasPrefix(got, "error: "+c.want) {
			t.Errorf("%s %q gives %q, want an error with %q", c.name, c.content, got, c.want)
		}
	}
	if got := show(t.TempDir(), Options{}); !strings.Contains(got, "is a directory, expected a regular file or a pipe") {
		t.Errorf("a directory gives %q", got)
	}
	if got := show(write(t, "a.x", nil), Options{Format: "xml"}); !strings.Contains(got, `"xml" is not known`) {
		t.Errorf("an unknown format gives %q", got)
	}
}

// TestMostBytes has records that are longer than one may be, in each format of text.
func TestMostBytes(t *testing.T) {
	long := strings.Repeat("x", 3<<20)
	for name, content := range map[string]string{
		"a.jsonl": `{"a": "` + long + `"}`, "a.json": `[{"a": "` + long + `"}]`, "a.csv": "a\n\"" + long + "\"\n",
	} {
		s, err := Open(write(t, name, []byte(content)), Options{})
		if err != nil {
			t.Fatal(err)
		}
		s.limit.most = 1 << 20
		for _, err = range s.Records() {
			if err != nil {
				break
			}
		}
		s.Close()
		if err == nil || !strings.Contains(err.Error(), "longer than 1048576 bytes") {
			t.Errorf("%s: a record of 3 MB gives %v", name, err)
		}
	}
}

// TestDamaged wants an error or records of a Parquet file with a byte changed, and no panic.
func TestDamaged(t *testing.T) {
	whole := parquetFile(t, []row{{Text: "first", IDs: []int32{1, 2, 3}, Plain: []string{"a", "b"}}, {Text: "b"}},
		parquet.Compression(&parquet.Snappy))
	for at := range whole {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 0xff
		show(Stdin, Options{Format: Parquet, Stdin: bytes.NewReader(damaged)})
	}
}

func TestSections(t *testing.T) {
	text := strings.Repeat("one line ä\n", 1000) + "no end"
	for _, c := range []struct {
		size, sections int
		text           string
	}{
		{1 << 20, 1, text}, {1000, 12, text}, {10, 160, strings.Repeat("ä", 1600)}, {1000, 1, strings.Repeat("ä", 1000)},
	} {
		s, err := Open(Stdin, Options{Stdin: strings.NewReader(c.text)})
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		n := 0
		for part, err := range s.Sections(c.size) {
			if err != nil {
				t.Fatal(err)
			}
			got.WriteString(part)
			n++
		}
		if got.String() != c.text || n != c.sections {
			t.Errorf("%d bytes in sections of %d: %d sections, want %d, equal %v", len(c.text), c.size, n, c.sections,
				got.String() == c.text)
		}
	}
	for text, want := range map[string]string{
		"": "the file is empty", "a\nb\nc\xffd": "standard input:3: byte 2 of the line (0xff)",
		"\xff\xfea":                          "1: the text is UTF-16",
		strings.Repeat("ab\n", 100) + "\xff": "standard input:101: byte 1",
	} {
		s, err := Open(Stdin, Options{Stdin: strings.NewReader(text), Format: Text})
		if err != nil {
			t.Fatal(err)
		}
		for _, err = range s.Sections(64) {
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %v, want %q", text, err, want)
		}
	}
}

// TestHash has one record in several files.
func TestHash(t *testing.T) {
	var hashes [][32]byte
	for name, content := range map[string]string{
		"a.jsonl": "{\"a\": \"\\u00e4<\", \"b\":\"2\"}", "a.json": "[\n{\"a\":\"ä<\",\n\"b\":\"2\"}]", "a.csv": "a,b\nä<,2\n",
	} {
		for r, err := range All(write(t, name, []byte(content)), Options{}) {
			if err != nil {
				t.Fatal(err)
			}
			o, err := r.Object()
			if err != nil {
				t.Fatal(err)
			}
			hashes = append(hashes, o.Hash())
		}
	}
	if len(hashes) != 3 || hashes[0] != hashes[1] || hashes[1] != hashes[2] {
		t.Errorf("hashes of one record differ: %x", hashes)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"train.jsonl", "valid-00001-of-2.csv.gz", "valid-00000-of-2.csv", "README.md",
		"train.png", "trainer.json", "deep/data/test.parquet", "deep/validation/0.parquet", "deep/validation/x.png"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		path  string
		split Split
		want  string
	}{
		{".", Train, "train.jsonl"}, {".", Validation, "valid-00000-of-2.csv valid-00001-of-2.csv.gz"}, {".", Test, ""},
		{"deep", Test, "deep/data/test.parquet"}, {"deep", Validation, "deep/validation/0.parquet"}, {"deep", Train, ""},
		{"train.jsonl", Test, "train.jsonl"},
	} {
		files, err := Find(filepath.Join(dir, c.path), c.split)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range files {
			rel, _ := filepath.Rel(dir, f)
			files[i] = filepath.ToSlash(rel)
		}
		if got := strings.Join(files, " "); got != c.want {
			t.Errorf("%s of %s: %q, want %q", c.split, c.path, got, c.want)
		}
	}
	if _, err := Find(filepath.Join(dir, "none"), Train); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a path that is not there gives %v", err)
	}
	for _, name := range []string{"test.jsonl", "deep/train/0.jsonl"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		testdata.Pipe(t, path)
	}
	for path, split := range map[string]Split{".": Test, "deep": Train} {
		if _, err := Find(filepath.Join(dir, path), split); err == nil || !strings.Contains(err.Error(), "is a pipe") {
			t.Errorf("a pipe in the directory %s gives %v", path, err)
		}
	}
	if err := NoSplit(dir, Test); !strings.Contains(err.Error(), `no file for test`) ||
		!strings.Contains(err.Error(), `"README.md"`) {
		t.Errorf("no split: %v", err)
	}
}

func FuzzRecords(f *testing.F) {
	for _, seed := range []string{"{\"a\":[1,{\"b\":null}]}\n{}", "[{\"a\":1},\n{}]", "a,b\n1,\"2\n\"\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, format := range []Format{JSONL, JSON, CSV, TSV, Text} {
			for r, err := range All(Stdin, Options{Format: format, Stdin: strings.NewReader(text)}) {
				if err != nil {
					break
				}
				o, err := r.Object()
				if err != nil {
					continue
				}
				out, err := o.MarshalJSON()
				if err != nil {
					t.Fatal(err)
				}
				again, err := parseObject(out, 0)
				if err != nil || again.Hash() != o.Hash() {
					t.Fatalf("%q is %s, and read again %v", text, out, err)
				}
			}
		}
	})
}
