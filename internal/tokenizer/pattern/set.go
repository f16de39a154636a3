package pattern

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// ranges is a set of runes while it is being put together: sorted, disjoint, not touching [lo, hi] pairs.
type ranges [][2]rune

// clean sorts the pairs and joins those that overlap or touch.
func (r ranges) clean() ranges {
	slices.SortFunc(r, func(a, b [2]rune) int { return int(a[0]) - int(b[0]) })
	out := r[:0]
	for _, p := range r {
		if n := len(out); n > 0 && p[0] <= out[n-1][1]+1 {
			out[n-1][1] = max(out[n-1][1], p[1])
			continue
		}
		out = append(out, p)
	}
	return out
}

// negate is every rune that is not in r.
func (r ranges) negate() ranges {
	var out ranges
	next := rune(0)
	for _, p := range r {
		if p[0] > next {
			out = append(out, [2]rune{next, p[0] - 1})
		}
		next = p[1] + 1
	}
	if next <= unicode.MaxRune {
		out = append(out, [2]rune{next, unicode.MaxRune})
	}
	return out
}

// intersect is what r and s have in common.
func (r ranges) intersect(s ranges) ranges {
	return append(slices.Clone(r.negate()), s.negate()...).clean().negate()
}

// fold adds every rune that differs from a member only in case.
func (r ranges) fold() ranges {
	out := slices.Clone(r)
	for _, p := range r {
		for c := p[0]; c <= p[1]; c++ {
			for f := unicode.SimpleFold(c); f != c; f = unicode.SimpleFold(f) {
				out = append(out, [2]rune{f, f})
			}
		}
	}
	return out.clean()
}

// tableRanges is a table of package unicode as ranges.
func tableRanges(t *unicode.RangeTable) ranges {
	var out ranges
	add := func(lo, hi, stride rune) {
		if stride == 1 {
			out = append(out, [2]rune{lo, hi})
			return
		}
		for c := lo; c <= hi; c += stride {
			out = append(out, [2]rune{c, c})
		}
	}
	for _, p := range t.R16 {
		add(rune(p.Lo), rune(p.Hi), rune(p.Stride))
	}
	for _, p := range t.R32 {
		add(rune(p.Lo), rune(p.Hi), rune(p.Stride))
	}
	return out.clean()
}

// additions is what Unicode 15.1 added to the categories of 15.0, which package unicode has and tokenizers have left
// behind.
var additions = map[string]ranges{
	"S": {{0x2ffc, 0x2fff}, {0x31ef, 0x31ef}}, "So": {{0x2ffc, 0x2fff}, {0x31ef, 0x31ef}},
	"L": {{0x2ebf0, 0x2ee5d}}, "Lo": {{0x2ebf0, 0x2ee5d}}, "Han": {{0x2ebf0, 0x2ee5d}},
}

// property is the set that \p{name} stands for.
func property(name string) (ranges, error) {
	name, negated := strings.CutPrefix(name, "^")
	name, _ = strings.CutPrefix(name, "Script=")
	t := unicode.Categories[name]
	if t == nil {
		t = unicode.Scripts[name]
	}
	if t == nil {
		return nil, fmt.Errorf("unknown property \\p{%s}", name)
	}
	r := append(tableRanges(t), additions[name]...).clean()
	if negated {
		r = r.negate()
	}
	return r, nil
}

// shorthand is the set of \s, \d, \w and of their negations.
func shorthand(c byte) ranges {
	var r ranges
	switch c | 0x20 {
	case 's':
		r = tableRanges(unicode.White_Space)
	case 'd':
		r = tableRanges(unicode.Nd)
	case 'w':
		r = append(r, [2]rune{'_', '_'})
		for _, t := range []*unicode.RangeTable{unicode.L, unicode.M, unicode.Nd, unicode.Pc} {
			r = append(r, tableRanges(t)...)
		}
		r = r.clean()
	}
	if c < 'a' {
		r = r.negate()
	}
	return r
}

// page holds 256 membership bits.
type page [4]uint64

// set is a set of runes made for asking: a bitmap of pages, equal pages stored once.
type set struct {
	ascii [2]uint64
	wide  bool     // has members that are not ASCII; without them there are no pages
	index []uint16 // the page of each 256 runes
	pages []page
}

func newSet(r ranges) *set {
	s := &set{wide: len(r) > 0 && r[len(r)-1][1] >= 0x80}
	for _, pair := range r {
		for c := pair[0]; c <= min(pair[1], 0x7f); c++ {
			s.ascii[c>>6] |= 1 << (c & 63)
		}
	}
	if !s.wide {
		return s
	}
	s.index = make([]uint16, (unicode.MaxRune+1)>>8)
	known := map[page]uint16{}
	next := 0 // the first pair that ends in this page or after it
	for i := range s.index {
		var p page
		first, last := rune(i)<<8, rune(i)<<8|0xff
		for next < len(r) && r[next][1] < first {
			next++
		}
		for _, pair := range r[next:] {
			if pair[0] > last {
				break
			}
			p.fill(max(pair[0], first)-first, min(pair[1], last)-first)
		}
		n, ok := known[p]
		if !ok {
			n = uint16(len(s.pages))
			known[p] = n
			s.pages = append(s.pages, p)
		}
		s.index[i] = n
	}
	return s
}

// fill sets the bits lo to hi.
func (p *page) fill(lo, hi rune) {
	if lo == 0 && hi == 0xff {
		*p = page{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
		return
	}
	for c := lo; c <= hi; c++ {
		p[c>>6] |= 1 << (c & 63)
	}
}

func (s *set) has(c rune) bool {
	if c < 0x80 {
		return s.ascii[c>>6&1]>>(c&63)&1 != 0
	}
	if !s.wide {
		return false
	}
	p := &s.pages[s.index[c>>8]]
	return p[c>>6&3]>>(c&63)&1 != 0
}
