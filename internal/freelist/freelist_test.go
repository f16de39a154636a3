package freelist

import "testing"

// TestList: what was put comes back, last first, and then new values.
func TestList(t *testing.T) {
	var l List[int]
	a, b := l.Get(), l.Get()
	*a, *b = 1, 2
	l.Put(a)
	l.Put(b)
	if got := [...]int{*l.Get(), *l.Get(), *l.Get()}; got != [...]int{2, 1, 0} {
		t.Errorf("%v, expected 2, 1 and a new 0", got)
	}
}
