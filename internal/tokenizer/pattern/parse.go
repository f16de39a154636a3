package pattern

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// node is a piece of a parsed expression: one of the types below.
type node any

type (
	class  struct{ r ranges }  // one rune
	seq    struct{ of []node } // one after the other
	alt    struct{ of []node } // the first that fits
	assert struct{ op opcode } // ^ $ \b \B
	look   struct {            // (?=…) (?!…)
		of  node
		neg bool
	}
	atomic struct{ of node } // (?>…)
	repeat struct {
		of         node
		min, max   int // max -1: without end
		lazy, poss bool
	}
)

// maxRepeat is the largest count in {m,n}.
const maxRepeat = 1024

// parser reads an expression from left to right.
type parser struct {
	src   string
	pos   int
	fold  bool // (?i)
	depth int
}

func parse(expr string) (node, error) {
	p := &parser{src: expr}
	n, err := p.alternatives()
	if err == nil && p.pos < len(p.src) {
		err = errors.New("unmatched )")
	}
	if err != nil {
		return nil, fmt.Errorf("expression %q, byte %d: %w", expr, p.pos, err)
	}
	return n, nil
}

// take moves past prefix if the rest begins with it.
func (p *parser) take(prefix string) bool {
	if !strings.HasPrefix(p.src[p.pos:], prefix) {
		return false
	}
	p.pos += len(prefix)
	return true
}

// until returns what comes before the next end, and moves past it.
func (p *parser) until(end string) (string, error) {
	text, _, ok := strings.Cut(p.src[p.pos:], end)
	if !ok {
		return "", fmt.Errorf("missing %s", end)
	}
	p.pos += len(text) + len(end)
	return text, nil
}

func (p *parser) rune() (rune, error) {
	c, n := utf8.DecodeRuneInString(p.src[p.pos:])
	if n == 0 {
		return 0, errors.New("unexpected end")
	}
	p.pos += n
	return c, nil
}

func (p *parser) alternatives() (node, error) {
	if p.depth++; p.depth > 100 {
		return nil, errors.New("groups nested too deep")
	}
	defer func() { p.depth-- }()
	var all alt
	for {
		n, err := p.sequence()
		if err != nil {
			return nil, err
		}
		all.of = append(all.of, n)
		if !p.take("|") {
			break
		}
	}
	if len(all.of) == 1 {
		return all.of[0], nil
	}
	return all, nil
}

func (p *parser) sequence() (node, error) {
	var s seq
	for p.pos < len(p.src) && p.src[p.pos] != '|' && p.src[p.pos] != ')' {
		n, err := p.atom()
		if err != nil {
			return nil, err
		}
		if n == nil {
			continue
		}
		for {
			r, ok, err := p.repetition(n)
			if err != nil {
				return nil, err
			}
			if !ok {
				break
			}
			n = r
		}
		s.of = append(s.of, n)
	}
	return s, nil
}

// repetition reads a quantifier after n; ok is false when there is none.
func (p *parser) repetition(n node) (_ node, ok bool, err error) {
	r := repeat{of: n}
	switch {
	case p.take("*"):
		r.max = -1
	case p.take("+"):
		r.min, r.max = 1, -1
	case p.take("?"):
		r.max = 1
	case strings.HasPrefix(p.src[p.pos:], "{"):
		if ok, err = p.counts(&r); !ok || err != nil {
			return nil, false, err
		}
	default:
		return nil, false, nil
	}
	switch n.(type) {
	case assert, look:
		return nil, false, errors.New("repetition of something without width")
	}
	switch {
	case p.take("?"):
		r.lazy = true
	case p.take("+"):
		r.poss = true
	}
	return r, true, nil
}

// counts reads {m}, {m,} or {m,n}; ok is false when the brace is only a brace.
func (p *parser) counts(r *repeat) (ok bool, err error) {
	text, _, closed := strings.Cut(p.src[p.pos+1:], "}")
	lo, hi, two := strings.Cut(text, ",")
	if !closed || lo == "" || strings.Trim(lo+hi, "0123456789") != "" {
		return false, nil
	}
	p.pos += len(text) + 2
	if r.min, err = strconv.Atoi(lo); err != nil {
		return false, err
	}
	switch {
	case !two:
		r.max = r.min
	case hi == "":
		r.max = -1
	default:
		if r.max, err = strconv.Atoi(hi); err != nil {
			return false, err
		}
	}
	if r.min > maxRepeat || r.max > maxRepeat || r.max >= 0 && r.max < r.min {
		return false, fmt.Errorf("repetition {%s} (at most %d, and in order)", text, maxRepeat)
	}
	return true, nil
}

// atom reads one thing that can be repeated; nil where it was only a flag.
func (p *parser) atom() (node, error) {
	switch c := p.src[p.pos]; c {
	case '(':
		return p.group()
	case '[':
		r, err := p.class()
		return class{r}, err
	case '\\':
		return p.escape()
	case '^', '$':
		p.pos++
		return assert{map[byte]opcode{'^': opBegin, '$': opEnd}[c]}, nil
	case '.':
		p.pos++
		return class{ranges{{'\n', '\n'}}.negate()}, nil
	case '*', '+', '?':
		return nil, fmt.Errorf("%c repeats nothing", c)
	}
	// A lone { reaches this point as a literal.
	c, err := p.rune()
	return p.literal(c), err
}

func (p *parser) literal(c rune) node {
	r := ranges{{c, c}}
	if p.fold {
		r = r.fold()
	}
	return class{r}
}

func (p *parser) group() (node, error) {
	p.pos++
	fold := p.fold
	var wrap func(node) node
	switch {
	case p.take("?i)"):
		p.fold = true
		return nil, nil
	case p.take("?i:"):
		p.fold = true
	case p.take("?:"):
	case p.take("?="):
		wrap = func(n node) node { return look{of: n} }
	case p.take("?!"):
		wrap = func(n node) node { return look{of: n, neg: true} }
	case p.take("?>"):
		wrap = func(n node) node { return atomic{n} }
	case p.take("?"):
		return nil, errors.New("unknown kind of group (?")
	}
	n, err := p.alternatives()
	p.fold = fold
	if err != nil {
		return nil, err
	}
	if !p.take(")") {
		return nil, errors.New("missing )")
	}
	if wrap != nil {
		n = wrap(n)
	}
	return n, nil
}

// escape reads what a backslash outside a class begins.
func (p *parser) escape() (node, error) {
	for text, op := range map[string]opcode{`\b`: opBoundary, `\B`: opNoBoundary, `\A`: opBegin, `\z`: opEnd} {
		if p.take(text) {
			return assert{op}, nil
		}
	}
	r, err := p.escaped()
	if err == nil && p.fold && len(r) == 1 && r[0][0] == r[0][1] {
		r = r.fold()
	}
	return class{r}, err
}

// escaped reads what a backslash stands for: one rune or a set of them.
func (p *parser) escaped() (ranges, error) {
	p.pos++
	c, err := p.rune()
	if err != nil {
		return nil, err
	}
	switch c {
	case 's', 'S', 'd', 'D', 'w', 'W':
		return shorthand(byte(c)), nil
	case 'p', 'P':
		return p.property(c == 'P')
	case 'x', 'u':
		c, err = p.hex(c)
		return ranges{{c, c}}, err
	}
	if i := strings.IndexRune("tnrfva0e", c); i >= 0 {
		c = rune("\t\n\r\f\v\a\x00\x1b"[i])
	} else if c < 0x80 && (unicode.IsLetter(c) || unicode.IsDigit(c)) {
		return nil, fmt.Errorf("unknown escape \\%c", c)
	}
	return ranges{{c, c}}, nil
}

// property reads the name after \p or \P.
func (p *parser) property(negated bool) (ranges, error) {
	var name string
	var err error
	if p.take("{") {
		name, err = p.until("}")
	} else {
		var c rune
		c, err = p.rune()
		name = string(c)
	}
	if err != nil {
		return nil, err
	}
	r, err := property(name)
	if negated && err == nil {
		r = r.negate()
	}
	return r, err
}

// hex reads the digits after \x or \u.
func (p *parser) hex(kind rune) (rune, error) {
	digits := ""
	width := map[rune]int{'x': 2, 'u': 4}[kind]
	switch {
	case p.take("{"):
		var err error
		if digits, err = p.until("}"); err != nil {
			return 0, err
		}
	case len(p.src)-p.pos >= width:
		digits = p.src[p.pos : p.pos+width]
		p.pos += width
	}
	v, err := strconv.ParseUint(digits, 16, 32)
	if err != nil || v > unicode.MaxRune {
		return 0, fmt.Errorf("bad hexadecimal escape %q", digits)
	}
	return rune(v), nil
}

// class reads a bracketed class.
func (p *parser) class() (ranges, error) {
	if p.depth++; p.depth > 100 {
		return nil, errors.New("classes nested too deep")
	}
	defer func() { p.depth-- }()
	p.pos++
	negated := p.take("^")
	var all, part ranges
	intersected := false
	for first := true; ; first = false {
		switch {
		case p.pos >= len(p.src):
			return nil, errors.New("missing ]")
		case p.src[p.pos] == ']' && !first:
			p.pos++
			part = part.clean()
			if intersected {
				part = all.intersect(part)
			}
			if p.fold {
				part = part.fold()
			}
			if negated {
				part = part.negate()
			}
			return part, nil
		case p.take("&&"):
			part = part.clean()
			if intersected {
				part = all.intersect(part)
			}
			all, part, intersected = part, nil, true
		default:
			r, err := p.member()
			if err != nil {
				return nil, err
			}
			part = append(part, r...)
		}
	}
}

// member reads a rune, a range, an escape or a nested class.
func (p *parser) member() (ranges, error) {
	if p.src[p.pos] == '[' {
		return p.class()
	}
	lo, err := p.one()
	if err != nil || len(lo) != 1 || lo[0][0] != lo[0][1] {
		return lo, err
	}
	rest := p.src[p.pos:]
	if len(rest) < 2 || rest[0] != '-' || rest[1] == ']' {
		return lo, nil
	}
	p.pos++
	hi, err := p.one()
	if err != nil {
		return nil, err
	}
	if len(hi) != 1 || hi[0][0] != hi[0][1] || hi[0][0] < lo[0][0] {
		return nil, errors.New("bad range in class")
	}
	return ranges{{lo[0][0], hi[0][0]}}, nil
}

func (p *parser) one() (ranges, error) {
	if p.pos < len(p.src) && p.src[p.pos] == '\\' {
		if p.take(`\b`) {
			return ranges{{'\b', '\b'}}, nil
		}
		return p.escaped()
	}
	c, err := p.rune()
	return ranges{{c, c}}, err
}
