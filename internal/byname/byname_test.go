package byname

import (
	"strconv"
	"testing"
)

type thing struct{ name string }

// TestIndex has an index grow, and asks it for what is there and what is not.
func TestIndex(t *testing.T) {
	var none Index[thing]
	if none.Find("") != nil {
		t.Error("something is found in nothing")
	}
	for _, room := range []int{0, 10, 5000} {
		x := New(room, func(t *thing) string { return t.name })
		const n = 5000
		list := make([]thing, n)
		for i := range list {
			list[i].name = strconv.Itoa(i)
			if x.Find(list[i].name) != nil || x.Add(&list[i]) != nil {
				t.Fatalf("%d is there before it is added", i)
			}
		}
		for i := range list {
			if x.Find(strconv.Itoa(i)) != &list[i] || x.Add(&thing{list[i].name}) != &list[i] {
				t.Fatalf("%d is not found", i)
			}
		}
		if x.Find("") != nil || x.Find(strconv.Itoa(n)) != nil {
			t.Error("something is found that was not added")
		}
	}
}
