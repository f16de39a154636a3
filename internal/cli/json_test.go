package cli

import (
	"bytes"
	"encoding/json"
	"runtime"
	"testing"
)

// shout is a text with a form of its own, of which only the pointer has the method.
type shout struct{ text string }

func (s *shout) MarshalJSON() ([]byte, error) { return json.Marshal(s.text + "!") }

// counted is a list with a form of its own.
type counted []string

func (c counted) MarshalJSON() ([]byte, error) { return json.Marshal(len(c)) }

type item struct {
	Name  string            `json:"name"`
	Shape []int64           `json:"shape"`
	More  map[string]string `json:"more,omitempty"`
}

// TestPrintJSON compares with what encoding/json prints.
func TestPrintJSON(t *testing.T) {
	type document struct {
		Name    string `json:"name"`
		Plain   int
		None    []item  `json:"none"`
		Empty   []item  `json:"empty"`
		Gone    []item  `json:"gone,omitempty"`
		Zero    float64 `json:"zero,omitempty"`
		Missing *item   `json:"missing,omitempty"`
		Items   []item  `json:"items"`
		Bytes   []byte  `json:"bytes"`
		Own     counted `json:"own"`
		Shouts  []shout `json:"shouts"`
		Shout   shout   `json:"shout"`
		Inner   struct{ Lists [][]int }
		Hidden  int `json:"-"`
		private int
	}
	items := []item{{Name: "a<b>&\u2028\"", Shape: []int64{1, 2}}, {}, {More: map[string]string{"x": "y\n"}}}
	full := document{Name: "é", Empty: []item{}, Items: items, Bytes: []byte("abc"), Own: counted{"a", "b"},
		Shouts: []shout{{"a"}, {"b"}}, Shout: shout{"c"}, private: 1}
	full.Inner.Lists = [][]int{{1}, {}, nil}
	for _, d := range []any{&full, full, document{},
		&document{}, struct{}{}, nil, items, 7, "a", &shout{"x"}, counted{"a"},
		struct{ item }{items[0]}, struct {
			N int `json:",string"`
		}{5}, map[string]any{"b": 1, "a": items}, (*document)(nil), struct{ A any }{items}} {
		var got, want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(d); err != nil {
			t.Fatal(err)
		}
		if err := PrintJSON(&got, d); err != nil {
			t.Errorf("%T: %v", d, err)
		}
		if got.String() != want.String() {
			t.Errorf("%T:\n%s, want\n%s", d, &got, &want)
		}
	}
	if err := PrintJSON(&bytes.Buffer{}, struct{ A []any }{[]any{func() {}}}); err == nil {
		t.Error("a function was printed")
	}
}

// TestPrintJSONInPieces wants a long list not to be in memory as a text.
func TestPrintJSONInPieces(t *testing.T) {
	d := struct{ Items []item }{make([]item, 50_000)}
	for i := range d.Items {
		d.Items[i] = item{Name: "a name of a tensor", Shape: []int64{64, 64}}
	}
	most, written := uint64(0), 0
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before := m.HeapAlloc
	err := PrintJSON(writer(func(p []byte) {
		if written += len(p); written%(1<<20) < len(p) {
			runtime.GC()
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
	}), d)
	if err != nil || written < 4<<20 || most > before+(1<<20) {
		t.Errorf("%v: %d bytes written with %d more in memory", err, written, int64(most-before))
	}
	runtime.KeepAlive(d)
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}
