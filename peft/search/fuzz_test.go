package search

import (
	"encoding/json"
	"reflect"
	"testing"
	"unicode/utf8"
)

// FuzzParsePrompt writes what it could read, and reads it again.
func FuzzParsePrompt(f *testing.F) {
	f.Add([]byte("Say {text}: {label}"))
	f.Add([]byte(`{"format":"` + promptFormat + `","template":"a {text} {label}","slots":"[a] {text} {label}",` +
		`"verbalizer":{"x":["yes"]},"base":"m"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parsePrompt(data)
		if err != nil {
			return
		}
		if _, err := p.Fields(); err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		out, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var again Prompt
		if err := json.Unmarshal(out, &again); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		once, _ := json.Marshal(&again)
		if utf8.Valid(data) && string(once) != string(out) && !reflect.DeepEqual(&again, p) {
			t.Fatalf("%s came back as %s", out, once)
		}
	})
}
