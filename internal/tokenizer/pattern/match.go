package pattern

import "unicode/utf8"

// Scratch is the memory of a search. One may serve many patterns, but only one search at a time; its zero value is
// ready.
type Scratch struct {
	stack   []choice
	retries int // how often the current match may still go back
	steps   int
}

// Steps is the work of all searches so far: instructions and runes of runs.
func (m *Scratch) Steps() int { return m.steps }

// leastRetries is how often a match of a short text may go back, retriesPerByte what each byte of the text adds. A
// match that would go back more often is given up: expressions such as (a+)*b would take exponential time.
const (
	leastRetries   = 1 << 16
	retriesPerByte = 64
)

// choice is a place to go back to: another instruction at the same position, or a run that can end earlier or later.
type choice struct {
	pc, pos int
	bound   int // of a run: the position, for opLazyRun the count of runes, that limits it; -1 for a split
}

// Next finds the leftmost match at or after byte at of s. A match may be empty. Where finding out whether there is one
// takes far more steps than the text is long, there is none.
func (p *Pattern) Next(s string, at int, m *Scratch) (start, end int, ok bool) {
	return p.next(s, at, m, new(failures))
}

// failures is up to where each of the first branches cannot match. A branch that begins with a run of a set and fails
// fails from any later place in that run as well: it could only end where it has been tried to end.
type failures [16]int

func (p *Pattern) next(s string, at int, m *Scratch, known *failures) (start, end int, ok bool) {
	for at <= len(s) {
		if !p.empty {
			for at < len(s) && !p.first.has(s[at]) {
				at++
			}
			if at == len(s) {
				break
			}
		}
		m.retries = leastRetries + retriesPerByte*len(s)
		if end := p.matchAt(s, at, m, known); end >= 0 {
			return at, end, true
		}
		at += runeLen(s, at)
		if len(p.branches) == 1 {
			at = max(at, known[0])
		}
	}
	return 0, 0, false
}

// runeLen is the length of the rune at byte at, and 1 at the end of s.
func runeLen(s string, at int) int {
	if at >= len(s) || s[at] < utf8.RuneSelf {
		return 1
	}
	_, n := utf8.DecodeRuneInString(s[at:])
	return n
}

// Split cuts s into its matches and the stretches between them, in order, nothing left out, and calls yield for
// each; an empty match only cuts. It stops when yield returns false.
func (p *Pattern) Split(s string, m *Scratch, yield func(piece string, matched bool) bool) {
	done, from := 0, 0
	var known failures
	for {
		start, end, ok := p.next(s, from, m, &known)
		if !ok {
			break
		}
		if start > done && !yield(s[done:start], false) {
			return
		}
		if end > start && !yield(s[start:end], true) {
			return
		}
		done, from = end, end
		if end == start {
			from += runeLen(s, end)
		}
	}
	if done < len(s) {
		yield(s[done:], false)
	}
}

// matchAt is the end of the match that begins at byte at, or -1.
func (p *Pattern) matchAt(s string, at int, m *Scratch, known *failures) int {
	for i := range p.branches {
		b := &p.branches[i]
		if !b.empty && (at == len(s) || !b.first.has(s[at])) || i < len(known) && at < known[i] {
			continue
		}
		if end := p.exec(b.pc, s, at, m); end >= 0 {
			return end
		}
		if b.run != nil && i < len(known) {
			_, known[i], _ = b.run.span(s, at, 0, -1, m)
		}
	}
	return -1
}

// exec executes the program from pc at byte pos: the end of the match, or -1.
func (p *Pattern) exec(pc int, s string, pos int, m *Scratch) int {
	base := len(m.stack)
	for {
		in := &p.prog[pc]
		ok := true
		m.steps++
		switch in.op {
		case opSet:
			var n int
			if n, ok = in.set.at(s, pos); ok {
				pos += n
				pc++
			}
		case opRun, opPossRun:
			pos, ok = p.greedy(in, pc, s, pos, m)
			pc++
		case opLazyRun:
			var low int
			if low, _, ok = in.set.span(s, pos, in.min, in.min, m); ok {
				if in.max != in.min {
					m.stack = append(m.stack, choice{pc, low, in.min})
				}
				pos = low
				pc++
			}
		case opSplit:
			m.stack = append(m.stack, choice{in.y, pos, -1})
			pc = in.x
		case opJump:
			pc = in.x
		case opLook, opLookNot:
			ok = (p.exec(pc+1, s, pos, m) >= 0) == (in.op == opLook)
			pc = in.x
		case opAtomic:
			end := p.exec(pc+1, s, pos, m)
			ok = end >= 0
			pos, pc = max(end, 0), in.x
		case opMatch:
			m.stack = m.stack[:base]
			return pos
		default:
			ok = p.assertion(in.op, s, pos)
			pc++
		}
		if !ok {
			if pc, pos, ok = p.back(s, m, base); !ok {
				return -1
			}
		}
	}
}

// greedy takes a run and remembers where it may end earlier.
func (p *Pattern) greedy(in *inst, pc int, s string, pos int, m *Scratch) (end int, ok bool) {
	low, high, ok := in.set.span(s, pos, in.min, in.max, m)
	if ok && high > low && in.op == opRun {
		m.stack = append(m.stack, choice{pc, high, low})
	}
	return high, ok
}

// back returns to the latest choice.
func (p *Pattern) back(s string, m *Scratch, base int) (pc, pos int, ok bool) {
	m.steps++
	if m.retries--; m.retries < 0 {
		m.stack = m.stack[:base]
	}
	for len(m.stack) > base {
		top := &m.stack[len(m.stack)-1]
		if top.bound < 0 {
			pc, pos = top.pc, top.pos
			m.stack = m.stack[:len(m.stack)-1]
			return pc, pos, true
		}
		in := &p.prog[top.pc]
		if in.op == opRun {
			_, n := utf8.DecodeLastRuneInString(s[:top.pos])
			top.pos -= n
			pc, pos = top.pc+1, top.pos
			if top.pos <= top.bound {
				m.stack = m.stack[:len(m.stack)-1]
			}
			return pc, pos, true
		}
		// A lazy run takes one more, if there is one.
		n, more := in.set.at(s, top.pos)
		if !more || in.max >= 0 && top.bound >= in.max {
			m.stack = m.stack[:len(m.stack)-1]
			continue
		}
		top.pos += n
		top.bound++
		return top.pc + 1, top.pos, true
	}
	return 0, 0, false
}

// at is the length of the rune at byte pos, if it is in the set.
func (s *set) at(text string, pos int) (n int, ok bool) {
	if pos >= len(text) {
		return 0, false
	}
	if c := text[pos]; c < utf8.RuneSelf {
		return 1, s.ascii[c>>6]>>(c&63)&1 != 0
	}
	if !s.wide {
		return 0, false
	}
	c, n := utf8.DecodeRuneInString(text[pos:])
	return n, s.has(c)
}

// span takes up to max runes of the set (-1: all): low is the position after min of them, high after the last.
func (s *set) span(text string, pos, min, max int, m *Scratch) (low, high int, ok bool) {
	low = pos
	count := 0
	for ; count != max; count++ {
		n, ok := s.at(text, pos)
		if !ok {
			break
		}
		pos += n
		if count < min {
			low = pos
		}
	}
	m.steps += count
	return low, pos, count >= min
}

func (p *Pattern) assertion(op opcode, s string, pos int) bool {
	switch op {
	case opBegin:
		return pos == 0
	case opEnd:
		return pos == len(s)
	}
	before := false
	if pos > 0 {
		c, _ := utf8.DecodeLastRuneInString(s[:pos])
		before = p.words.has(c)
	}
	_, after := p.words.at(s, pos)
	return (before != after) == (op == opBoundary)
}
