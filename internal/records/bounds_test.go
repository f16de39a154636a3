package records

import (
	"bytes"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
)

// repeated is a text again and again.
type repeated struct {
	text string
	left int // bytes
	at   int
}

// Read implements io.Reader.
func (r *repeated) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) && n < r.left {
		part := copy(p[n:min(len(p), r.left)], r.text[r.at:])
		r.at = (r.at + part) % len(r.text)
		n += part
	}
	r.left -= n
	return n, nil
}

// TestExpansion has compressed files that become out of all proportion large: of nothing, and of one record again and
// again. What is within bounds is read, and takes little memory.
func TestExpansion(t *testing.T) {
	if testing.Short() {
		t.Skip("compresses long texts")
	}
	const record = `{"text": "one and the same record, again and again and again"}` + "\n"
	compress := func(name, text string, size int) string {
		path := write(t, name, nil)
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var w io.WriteCloser = gzip.NewWriter(f)
		if strings.HasSuffix(name, ".zst") {
			w, err = zstd.NewWriter(f, zstd.WithEncoderConcurrency(1))
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(w, &repeated{text: text, left: size}); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		name, text string
		size       int
		refused    bool
	}{
		{"a.jsonl.zst", "\n", 80 << 20, true},
		{"a.jsonl.zst", record, 80 << 20, true},
		{"a.jsonl.gz", "\n", 80 << 20, true},    // a thousand times is the most that gzip can do
		{"a.jsonl.gz", record, 80 << 20, false}, // some hundred times
		{"a.jsonl.zst", record, 60 << 20, false},
		{"a.txt.zst", record, 80 << 20, true},
	} {
		path := compress(c.name, c.text, c.size)
		s, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if s.Format() == Text {
			for _, err = range s.Sections(Section) {
			}
		} else {
			for _, err = range s.Records() {
			}
		}
		s.Close()
		refused := err != nil && strings.Contains(err.Error(), "unpack it yourself") && strings.Contains(err.Error(), path)
		if refused != c.refused || !c.refused && err != nil {
			t.Errorf("%s of %d bytes of %.10q: %v", c.name, c.size, c.text, err)
		}
	}
}

// TestWindow has a zstd file that asks for half a gibibyte to be decompressed in.
func TestWindow(t *testing.T) {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithWindowSize(zstd.MaxWindowSize), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, strings.NewReader("{}\n")); err != nil {
		t.Fatal(err)
	}
	// Not at once, so that the writer cannot say how long it is and take a smaller window.
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := show(write(t, "a.jsonl.zst", b.Bytes()), Options{}); !strings.Contains(got, "more than 128 MiB of memory") {
		t.Errorf("a window of half a gibibyte: %s", got)
	}
}

// TestLongLine wants a line of nearly the greatest length to take about its size, and not twice as much: what is
// allocated in all, from reading it to having its fields, is counted.
func TestLongLine(t *testing.T) {
	if testing.Short() {
		t.Skip("reads a long line")
	}
	const head, tail = `{"text": "`, "\"}\n"
	const size = maxRecord - 1<<20
	line := io.MultiReader(strings.NewReader(head), &repeated{text: "abcdefgh ", left: size},
		strings.NewReader(tail+`{"text": "next"}`))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	records := 0
	for r, err := range All(Stdin, Options{Format: JSONL, Stdin: line}) {
		if err != nil {
			t.Fatal(err)
		}
		o, err := r.Object()
		if err != nil {
			t.Fatal(err)
		}
		if text, err := o.Text("text"); err != nil || records == 0 && len(text) != size || records == 1 && text != "next" {
			t.Errorf("record %d: %d bytes, %v", records, len(text), err)
		}
		records++
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; records != 2 || used > size*3/2 {
		t.Errorf("%d records; %d MiB were allocated for a line of %d MiB", records, used>>20, size>>20)
	}
}

// TestPages has pages of a Parquet file that say what they cannot be.
func TestPages(t *testing.T) {
	whole := parquetFile(t, []row{{Text: "first"}, {Text: strings.Repeat("b", 1000)}}, parquet.Compression(&parquet.Zstd))
	p, err := parquet.OpenFile(bytes.NewReader(whole), int64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	if err := checkPages(p, bytes.NewReader(whole)); err != nil {
		t.Errorf("a file as it is written: %v", err)
	}
	column := &p.Metadata().RowGroups[0].Columns[0].MetaData
	for _, change := range []func(){
		func() { column.TotalCompressedSize = 1 << 40 },
		func() { column.TotalCompressedSize = -1 },
		func() { column.DataPageOffset = -5; column.DictionaryPageOffset = 0 },
	} {
		saved := *column
		change()
		if err := checkPages(p, bytes.NewReader(whole)); err == nil || !strings.Contains(err.Error(), "row group 1") {
			t.Errorf("bytes %d and %d: %v", column.DataPageOffset, column.TotalCompressedSize, err)
		}
		*column = saved
	}
	// The head of a page begins with its type, then come its sizes, as numbers that take more bytes when they are larger.
	for name, page := range map[string][]byte{
		"becomes 2000000000": {0x15, 0, 0x15, 0x80, 0xd0, 0xac, 0xf3, 0x0e, 0x15, 8, 0},
		"there is room for":  {0x15, 0, 0x15, 8, 0x15, 0x80, 0xd0, 0xac, 0xf3, 0x0e, 0},
		"has 2000000000 value": {0x15, 0, 0x15, 8, 0x15, 8, 0x2c, 0x15, 0x80, 0xd0, 0xac, 0xf3, 0x0e, 0x15, 0, 0x15, 0, 0x15,
			0, 0, 0},
	} {
		page = append(page, "1234"...)
		err := checkChunk(io.NewSectionReader(bytes.NewReader(page), 0, int64(len(page))))
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("a page that %s: %v", name, err)
		}
	}
}
