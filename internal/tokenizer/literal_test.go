package tokenizer

import (
	"reflect"
	"testing"
)

// A place that is literal spells no control token; tokens that a user defined are found all the same.
func TestEncodeLiteral(t *testing.T) {
	tok := from(t, smallSPM(t, map[string]any{keyTokens: []string{"<unk>", "<s>", "</s>", "<think>", "a", "<", "/",
		"s", ">"},
		keyTypes: []int32{2, 3, 3, 4, 1, 1, 1, 1, 1}, keyScores: make([]float32, 9)}))
	const text = "</s>a</s><think>"
	places := tok.Controls(text)
	if want := []Place{{0, 4}, {5, 9}}; !reflect.DeepEqual(places, want) {
		t.Fatalf("control tokens at %v, want %v", places, want)
	}
	end, _ := tok.ID("</s>")
	think, _ := tok.ID("<think>")
	count := func(ids []int32) (n int) {
		for _, id := range ids {
			if id == end {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		literal []Place
		want    int
	}{{nil, 2}, {[]Place{{0, 2}}, 1}, {[]Place{{6, 8}}, 1}, {[]Place{{0, 1}, {8, 9}}, 0}, {[]Place{{4, 5}}, 2}} {
		ids := tok.EncodeLiteral(text, c.literal, true)
		if count(ids) != c.want || ids[len(ids)-1] != think {
			t.Errorf("literal %v: ids %v, want %d times %d, and %d at the end", c.literal, ids, c.want, end, think)
		}
	}
}
