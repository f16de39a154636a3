package imatrix

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
)

// part is a tensor of a GGUF importance matrix.
type part struct {
	name  string
	shape []int64
	data  []float32
}

// file writes a GGUF importance matrix, or what is none.
func file(t testing.TB, meta map[string]any, parts ...part) []byte {
	t.Helper()
	m := &gguf.Metadata{}
	for key, v := range meta {
		if err := m.Set(key, v); err != nil {
			t.Fatal(err)
		}
	}
	var table []gguf.Tensor
	for _, p := range parts {
		table = append(table, gguf.Tensor{Name: p.name, Shape: p.shape, Type: gguf.F32})
	}
	var out bytes.Buffer
	w, err := gguf.NewWriter(&out, m, table)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		if err := w.WriteTensor(p.name, littleEndian(p.data)); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func described() map[string]any {
	return map[string]any{keyDatasets: []string{"text"}, keyChunks: uint32(2), keyChunkSize: uint32(8)}
}

// dat appends numbers and strings as the older form has them.
func dat(values ...any) []byte {
	var b []byte
	for _, v := range values {
		switch v := v.(type) {
		case int:
			b = binary.LittleEndian.AppendUint32(b, uint32(int32(v)))
		case string:
			b = binary.LittleEndian.AppendUint32(b, uint32(len(v)))
			b = append(b, v...)
		case float32:
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
	}
	return b
}

func TestParseGGUF(t *testing.T) {
	data := file(t, described(),
		part{"b.in_sum2", []int64{2, 3}, []float32{2, 4, 30, 60, 5, 7}}, part{"b.counts", []int64{1, 3}, []float32{2, 10, 0}},
		part{"a.counts", []int64{1}, []float32{4}}, part{"a.in_sum2", []int64{2}, []float32{1, 2}}, part{"a.something",
			[]int64{1}, []float32{9}})
	m, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if m.Chunks != 2 || m.ChunkSize != 8 || !slices.Equal(m.Datasets, []string{"text"}) || len(m.Entries()) != 2 ||
		m.Entries()[0].Name != "a" {
		t.Errorf("read %+v", m)
	}
	if got := m.Entry("b").Importance(); !slices.Equal(got, []float32{1, 2, 3, 6, 1, 1}) {
		t.Errorf("importance of b %v", got)
	}
	if m.Entry("c") != nil {
		t.Error("an entry that is not there")
	}
}

func TestParseDat(t *testing.T) {
	entries := dat(2, "b", 4, 2, float32(4), float32(8), "a", 0, 1, float32(3))
	for name, c := range map[string]struct {
		tail     []byte
		chunks   int
		datasets []string
	}{
		"nothing follows":   {nil, 0, nil},
		"windows":           {dat(7), 7, nil},
		"windows and text":  {dat(7, "text"), 7, []string{"text"}},
		"text without name": {dat(7, ""), 7, nil},
	} {
		m, err := Parse(slices.Concat(entries, c.tail))
		if err != nil || m.Chunks != c.chunks || !slices.Equal(m.Datasets, c.datasets) {
			t.Errorf("%s: %+v, %v", name, m, err)
			continue
		}
		if got := m.Entry("b").Importance(); !slices.Equal(got, []float32{1, 2}) {
			t.Errorf("%s: importance of b %v", name, got)
		}
		if got := m.Entry("a").Importance(); !slices.Equal(got, []float32{3}) {
			t.Errorf("%s: importance of a, of no window, %v", name, got)
		}
	}
}

// TestLies: each way in which a file can be wrong, and the word by which the error tells.
func TestLies(t *testing.T) {
	sums, counts := part{"a.in_sum2", []int64{2}, []float32{1, 2}}, part{"a.counts", []int64{1}, []float32{1}}
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	without := func(key string) map[string]any { m := described(); delete(m, key); return m }
	with := func(key string, v any) map[string]any { m := described(); m[key] = v; return m }
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "ends within the number of entries: 0 bytes"},
		{"GGUF that is cut", file(t, described(), sums, counts)[:60], "gguf"},
		{"no datasets", file(t, without(keyDatasets), sums, counts), `"imatrix.datasets" is missing`},
		{"datasets a number", file(t, with(keyDatasets, uint32(1)), sums, counts), `"imatrix.datasets" is 1`},
		{"no windows", file(t, without(keyChunks), sums, counts), `"imatrix.chunk_count" is missing`},
		{"window size negative", file(t, with(keyChunkSize, int32(-1)), sums, counts), `"imatrix.chunk_size" is -1`},
		{"no tensors", file(t, described()), "holds no tensor that ends in .in_sum2"},
		{"sums alone", file(t, described(), sums), `sums but no counts of "a"`},
		{"counts alone", file(t, described(), counts), `counts but no sums of "a"`},
		{"sums no multiple of counts", file(t, described(), sums, part{"a.counts", []int64{1, 3}, []float32{1, 2, 3}}),
			"2 sums, no multiple of its 3 counts"},
		{"NaN", file(t, described(), part{"a.in_sum2", []int64{2}, []float32{1, nan}}, counts), "sum 1 is NaN"},
		{"infinite", file(t, described(), part{"a.in_sum2", []int64{2}, []float32{inf, 1}}, counts), "sum 0 is +Inf"},
		{"count NaN", file(t, described(), sums, part{"a.counts", []int64{1}, []float32{nan}}), "a count is NaN"},
		{"count negative", file(t, described(), sums, part{"a.counts", []int64{1}, []float32{-1}}), "a count is -1"},
		{"count huge", file(t, described(), sums, part{"a.counts", []int64{1}, []float32{1e30}}),
			"a count is 1.0000000150474662e+30"},
		{"older, no entries", dat(0), "holds no entries"},
		{"older, negative count", dat(-1), "the number of entries at byte 0 is -1"},
		{"older, many entries", dat(1 << 30), "entry 1 of 1073741824: the file ends within the length of a name"},
		{"older, long name", dat(1, 1<<30, 5), "the file ends within a name: 4 bytes at byte 8, expected 1073741824"},
		{"older, many values", append(dat(1, "a", 1, 1<<30), 1, 2, 3), `the values of "a": 3 bytes at byte 17`},
		{"older, no values", dat(1, "a", 1, 0), "0 sums"},
		{"older, NaN", dat(1, "a", 1, 1, nan), "sum 0 is NaN"},
		{"older, twice", dat(2, "a", 1, 1, float32(1), "a", 1, 1, float32(1)), `two entries are named "a"`},
		{"older, text that is cut", append(dat(1, "a", 1, 1, float32(1), 2, 9), 'x'), "ends within the name of the text"},
		{"text", []byte("Once upon a time there was a file"), "expected"},
	} {
		m, err := Parse(c.data)
		if err == nil || m != nil {
			t.Errorf("%s: read %+v, %v", c.name, m, err)
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %q lacks %q", c.name, err, c.want)
		}
	}
}

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.dat")
	if err := os.WriteFile(path, dat(1, "a", 1, 1, float32(2)), 0o644); err != nil {
		t.Fatal(err)
	}
	if m, err := Open(path); err != nil || m.Path != path {
		t.Errorf("%+v, %v", m, err)
	}
	if err := os.WriteFile(path, []byte("GGUFwhat"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v does not name the file", err)
	}
}

func TestMerge(t *testing.T) {
	first, err := Parse(file(t, described(), part{"a.in_sum2", []int64{2}, []float32{16, 32}},
		part{"a.counts", []int64{1}, []float32{16}},
		part{"e.in_sum2", []int64{1, 2}, []float32{1, 2}}, part{"e.counts", []int64{1, 2}, []float32{3, 4}}))
	if err != nil {
		t.Fatal(err)
	}
	older, err := Parse(dat(2, "a", 3, 2, float32(3), float32(6), "b", 1, 1, float32(5), 3, "more"))
	if err != nil {
		t.Fatal(err)
	}
	m := &Matrix{ChunkSize: 8}
	for _, next := range []*Matrix{first, older, first} {
		if err := m.Merge(next); err != nil {
			t.Fatal(err)
		}
	}
	if m.Chunks != (16+24+16)/8 || !slices.Equal(m.Datasets, []string{"text", "more", "text"}) {
		t.Errorf("%d windows of %v", m.Chunks, m.Datasets)
	}
	for name, want := range map[string]Entry{
		"a": {Sums: []float32{16 + 24 + 16, 32 + 48 + 32}, Counts: []int64{16 + 24 + 16}},
		"b": {Sums: []float32{40}, Counts: []int64{8}},
		"e": {Sums: []float32{2, 4}, Counts: []int64{6, 8}},
	} {
		if e := m.Entry(name); e == nil || !slices.Equal(e.Sums, want.Sums) || !slices.Equal(e.Counts, want.Counts) {
			t.Errorf("entry %s is %+v, want %+v", name, e, want)
		}
	}
	if e := first.Entry("a"); e.Sums[0] != 16 || e.Counts[0] != 16 {
		t.Errorf("merging changed what was merged: %+v", e)
	}
	other, err := Parse(dat(1, "a", 3, 3, float32(3), float32(6), float32(1)))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Merge(other); err == nil || !strings.Contains(err.Error(), "not of one model") {
		t.Errorf("merging another model's: %v", err)
	}
}

// TestAllocation reads short files that announce a great deal, and long ones of the smallest entries.
func TestAllocation(t *testing.T) {
	const n = 1000
	small, parts := []any{n}, []part{}
	for i := range n {
		name := strconv.Itoa(i)
		small = append(small, name, 1, 1, float32(1))
		parts = append(parts, part{name + sumsSuffix, []int64{1, 1}, []float32{1}},
			part{name + countsSuffix, []int64{1, 1}, []float32{1}})
	}
	for name, data := range map[string][]byte{
		"entries":         dat(math.MaxInt32, "a", 1, 1, float32(1)),
		"name":            append(dat(1, math.MaxInt32), make([]byte, 1000)...),
		"values":          append(dat(1, "a", 1, math.MaxInt32), make([]byte, 1000)...),
		"dataset":         append(dat(1, "a", 1, 1, float32(1), 1, math.MaxInt32), make([]byte, 1000)...),
		"many small":      dat(small...),
		"many small ones": file(t, described(), parts...),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Parse(data)
		runtime.ReadMemStats(&after)
		if (err == nil) != strings.HasPrefix(name, "many") {
			t.Errorf("%s: %v", name, err)
		}
		n := after.TotalAlloc - before.TotalAlloc
		t.Logf("%s: %.1f times the file", name, float64(n)/float64(len(data)))
		if n > 20*uint64(len(data))+64<<10 {
			t.Errorf("%s: %d bytes allocated for a file of %d", name, n, len(data))
		}
	}
}

// FuzzParse reads anything. What can be read is written and read again, and must weigh the same.
func FuzzParse(f *testing.F) {
	f.Add(file(f, described(), part{"a.in_sum2", []int64{2, 2}, []float32{1, 2, 3, 4}},
		part{"a.counts", []int64{1, 2}, []float32{1, 0}}))
	f.Add(dat(2, "b", 4, 2, float32(4), float32(8), "a", 0, 1, float32(3), 7, "text"))
	f.Add(dat(1, "", 1, 1, float32(1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := m.Write(&out); err != nil {
			return // names that GGUF cannot have
		}
		again, err := Parse(out.Bytes())
		if err != nil {
			return // sums beyond what float32 holds, times the tokens of a window
		}
		if len(again.Entries()) != len(m.Entries()) {
			t.Fatalf("%d entries, %d before", len(again.Entries()), len(m.Entries()))
		}
		for i, e := range again.Entries() {
			if was := m.Entries()[i]; e.Name != was.Name || len(e.Importance()) != len(was.Importance()) {
				t.Errorf("entry %+v, before %+v", e, was)
			}
		}
	})
}
