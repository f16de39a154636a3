package pattern

import (
	"encoding/binary"
	"errors"
	"fmt"
)

type opcode uint8

const (
	opSet        opcode = iota // one rune of set
	opRun                      // as many runes of set as there are, min to max (max -1: no end); given back one by one
	opLazyRun                  // as few as needed
	opPossRun                  // as many as there are, none given back
	opSplit                    // try x, then y
	opJump                     // go on at x
	opLook                     // what begins at pc+1 has to fit here; go on at x
	opLookNot                  // the opposite
	opAtomic                   // what begins at pc+1 fits, its first way only; go on at x
	opBegin                    // ^
	opEnd                      // $
	opBoundary                 // \b
	opNoBoundary               // \B
	opMatch
)

type inst struct {
	op       opcode
	set      *set
	min, max int
	x, y     int
}

// maxProgram is the most instructions that an expression may need.
const maxProgram = 20000

var errTooLong = fmt.Errorf("needs more than %d instructions", maxProgram)

// bytes256 is a set of bytes.
type bytes256 [4]uint64

func (b *bytes256) has(c byte) bool { return b[c>>6]>>(c&63)&1 != 0 }

func (b *bytes256) or(o bytes256) {
	for i := range b {
		b[i] |= o[i]
	}
}

// branch is one alternative at the top of an expression.
type branch struct {
	pc    int
	first bytes256 // bytes that it can begin with
	empty bool     // may match nothing, hence anywhere
	run   *set     // it begins with any number of these, or with at least one
}

// Pattern is a compiled expression. It is safe for concurrent use.
type Pattern struct {
	expr     string
	prog     []inst
	branches []branch
	first    bytes256 // bytes that any branch can begin with
	empty    bool     // some branch may match nothing
	words    *set     // \w, where \b asks for it

	sets map[string]*set // while compiling: the sets made so far, by their ranges
}

// Compile makes a Pattern of an expression. The error names the byte of the expression that is not understood.
func Compile(expr string) (*Pattern, error) {
	tree, err := parse(expr)
	if err != nil {
		return nil, err
	}
	p := &Pattern{expr: expr, sets: map[string]*set{}}
	top, ok := tree.(alt)
	if !ok {
		top = alt{[]node{tree}}
	}
	for _, n := range top.of {
		b := branch{pc: len(p.prog), empty: nullable(n)}
		b.first, _ = firstBytes(n)
		if err := p.emit(n); err != nil {
			return nil, fmt.Errorf("expression %q: %w", expr, err)
		}
		p.add(inst{op: opMatch})
		if in := p.prog[b.pc]; (in.op == opRun || in.op == opPossRun) && in.min <= 1 && in.max < 0 {
			b.run = in.set
		}
		p.branches = append(p.branches, b)
		p.first.or(b.first)
		p.empty = p.empty || b.empty
	}
	p.sets = nil
	return p, nil
}

// MustCompile is Compile for expressions that are known to be good; it panics where they are not.
func MustCompile(expr string) *Pattern {
	p, err := Compile(expr)
	if err != nil {
		panic("pattern: " + err.Error())
	}
	return p
}

// String is the expression.
func (p *Pattern) String() string { return p.expr }

// set is the set of r, made once.
func (p *Pattern) set(r ranges) *set {
	key := make([]byte, 0, 8*len(r))
	for _, pair := range r {
		key = binary.LittleEndian.AppendUint32(key, uint32(pair[0]))
		key = binary.LittleEndian.AppendUint32(key, uint32(pair[1]))
	}
	s := p.sets[string(key)]
	if s == nil {
		s = newSet(r)
		p.sets[string(key)] = s
	}
	return s
}

func (p *Pattern) add(i inst) int {
	p.prog = append(p.prog, i)
	return len(p.prog) - 1
}

// emit appends the program of n.
func (p *Pattern) emit(n node) error {
	if len(p.prog) > maxProgram {
		return errTooLong
	}
	switch n := n.(type) {
	case class:
		p.add(inst{op: opSet, set: p.set(n.r)})
	case seq:
		for _, m := range n.of {
			if err := p.emit(m); err != nil {
				return err
			}
		}
	case alt:
		return p.emitAlt(n.of)
	case assert:
		if p.words == nil && (n.op == opBoundary || n.op == opNoBoundary) {
			p.words = p.set(shorthand('w'))
		}
		p.add(inst{op: n.op})
	case look:
		op := opLook
		if n.neg {
			op = opLookNot
		}
		return p.emitInner(op, n.of)
	case atomic:
		return p.emitInner(opAtomic, n.of)
	case repeat:
		return p.emitRepeat(n)
	}
	return nil
}

func (p *Pattern) emitAlt(of []node) error {
	var ends []int
	for i, m := range of {
		split := -1
		if i+1 < len(of) {
			split = p.add(inst{op: opSplit})
			p.prog[split].x = len(p.prog)
		}
		if err := p.emit(m); err != nil {
			return err
		}
		if split >= 0 {
			ends = append(ends, p.add(inst{op: opJump}))
			p.prog[split].y = len(p.prog)
		}
	}
	for _, e := range ends {
		p.prog[e].x = len(p.prog)
	}
	return nil
}

// emitInner appends a program that runs apart: a lookahead or an atomic group.
func (p *Pattern) emitInner(op opcode, n node) error {
	at := p.add(inst{op: op})
	if err := p.emit(n); err != nil {
		return err
	}
	p.add(inst{op: opMatch})
	p.prog[at].x = len(p.prog)
	return nil
}

func (p *Pattern) emitRepeat(n repeat) error {
	if c, ok := n.of.(class); ok {
		op := opRun
		switch {
		case n.poss:
			op = opPossRun
		case n.lazy:
			op = opLazyRun
		}
		p.add(inst{op: op, set: p.set(c.r), min: n.min, max: n.max})
		return nil
	}
	if n.poss {
		n.poss = false
		return p.emitInner(opAtomic, n)
	}
	if n.max < 0 && nullable(n.of) {
		return errors.New("endless repetition of something that may be empty")
	}
	for range n.min {
		if err := p.emit(n.of); err != nil {
			return err
		}
	}
	if n.max < 0 {
		return p.emitStar(n)
	}
	return p.emitOptional(n)
}

// emitStar appends: again: split body, out; body; jump again; out.
func (p *Pattern) emitStar(n repeat) error {
	again := p.add(inst{op: opSplit})
	if err := p.emit(n.of); err != nil {
		return err
	}
	p.add(inst{op: opJump, x: again})
	p.prog[again].x, p.prog[again].y = again+1, len(p.prog)
	if n.lazy {
		p.prog[again].x, p.prog[again].y = len(p.prog), again+1
	}
	return nil
}

// emitOptional appends max-min copies of the body, each with a way out.
func (p *Pattern) emitOptional(n repeat) error {
	var splits []int
	for range n.max - n.min {
		splits = append(splits, p.add(inst{op: opSplit}))
		if err := p.emit(n.of); err != nil {
			return err
		}
	}
	for _, s := range splits {
		p.prog[s].x, p.prog[s].y = s+1, len(p.prog)
		if n.lazy {
			p.prog[s].x, p.prog[s].y = len(p.prog), s+1
		}
	}
	return nil
}

// nullable says whether n may match nothing.
func nullable(n node) bool {
	switch n := n.(type) {
	case class:
		return false
	case seq:
		for _, m := range n.of {
			if !nullable(m) {
				return false
			}
		}
	case alt:
		for _, m := range n.of {
			if nullable(m) {
				return true
			}
		}
		return false
	case atomic:
		return nullable(n.of)
	case repeat:
		return n.min == 0 || nullable(n.of)
	}
	return true
}

// firstBytes is the bytes that a match of n can begin with; pass says that n may also match nothing.
func firstBytes(n node) (b bytes256, pass bool) {
	switch n := n.(type) {
	case class:
		return n.r.firstBytes(), false
	case seq:
		for _, m := range n.of {
			f, empty := firstBytes(m)
			b.or(f)
			if !empty {
				return b, false
			}
		}
	case alt:
		for _, m := range n.of {
			f, empty := firstBytes(m)
			b.or(f)
			pass = pass || empty
		}
		return b, pass
	case atomic:
		return firstBytes(n.of)
	case repeat:
		b, pass = firstBytes(n.of)
		return b, pass || n.min == 0
	}
	return b, true
}

// firstBytes is the bytes that the UTF-8 of a member can begin with; all of 0x80 and up where there is one beyond
// ASCII.
func (r ranges) firstBytes() (b bytes256) {
	for _, p := range r {
		for c := p[0]; c <= min(p[1], 0x7f); c++ {
			b[c>>6] |= 1 << (c & 63)
		}
		if p[1] >= 0x80 {
			b[2], b[3] = ^uint64(0), ^uint64(0)
		}
	}
	return b
}
