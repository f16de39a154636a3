package jinja

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"time"
)

// run is one rendering.
type run struct {
	left  Limits
	now   time.Time
	line  int
	depth int // of calls and blocks
	out   *output
}

// output is a text in the making; spans are those of generation blocks in it.
type output struct {
	text  []byte
	spans []Span
}

// scope holds the variables of a block; names that it lacks are those of its parent.
type scope struct {
	names  []string
	values []any
	parent *scope
}

func (s *scope) set(name string, v any) {
	for i, n := range s.names {
		if n == name {
			s.values[i] = v
			return
		}
	}
	s.names, s.values = append(s.names, name), append(s.values, v)
}

func (s *scope) get(name string) any {
	for ; s != nil; s = s.parent {
		for i, n := range s.names {
			if n == name {
				return s.values[i]
			}
		}
	}
	return undefined{name}
}

func (r *run) errorf(format string, a ...any) *Error {
	return &Error{Line: r.line, Message: fmt.Sprintf(format, a...)}
}

// step counts work.
func (r *run) step(n int) {
	if r.left.Steps -= int64(n); r.left.Steps < 0 {
		panic(r.errorf("the template takes too long; it may be endless"))
	}
}

// made counts the bytes of a new value.
func (r *run) made(n int) {
	if r.left.Bytes -= int64(n); r.left.Bytes < 0 {
		panic(r.errorf("the template takes too much memory"))
	}
	r.step(n >> 8)
}

// make counts the bytes of n things of some size before they are made.
func (r *run) room(n, size int64) {
	if n > 0 && size > 0 && n > r.left.Bytes/size {
		panic(r.errorf("the template takes too much memory"))
	}
	r.made(int(max(n, 0) * size))
}

// itemBytes is about what an item of a list takes.
const itemBytes = 16

func (r *run) list(items []any) *List {
	r.made(itemBytes * len(items))
	return &List{Items: items}
}

func (r *run) string(s string) string {
	r.made(len(s))
	return s
}

// deeper counts the nesting; the call of its result ends it.
func (r *run) deeper() func() {
	if r.depth++; r.depth > maxDepth {
		panic(r.errorf("calls nested deeper than %d", maxDepth))
	}
	return func() { r.depth-- }
}

// flow is how a body ends.
type flow uint8

const (
	flowOn flow = iota
	flowBreak
	flowContinue
)

func (r *run) body(body []stmt, s *scope) flow {
	for i := range body {
		if f := r.do(&body[i], s); f != flowOn {
			return f
		}
	}
	return flowOn
}

func (r *run) write(text string) {
	r.made(len(text))
	r.out.text = append(r.out.text, text...)
}

func (r *run) do(st *stmt, s *scope) flow {
	r.step(1)
	r.line = st.line
	switch do := st.do.(type) {
	case *textStmt:
		r.write(do.text)
	case *printStmt:
		r.write(r.text(r.eval(do.value, s)))
	case *ifStmt:
		for _, b := range do.branches {
			if b.cond == nil || truth(r.eval(b.cond, s)) {
				return r.body(b.body, s)
			}
		}
	case *forStmt:
		r.loop(do, r.eval(do.over, s), s, 0)
	case *setStmt:
		r.assign(do.target, r.eval(do.value, s), s)
	case *setBlock:
		var v any = r.captured(do.body, s)
		if do.filter != nil {
			v = r.filterText(do.filter, v, s)
		}
		r.assign(do.target, v, s)
	case *macroStmt:
		s.set(do.macro.name, r.macro(&do.macro, s))
	case *callStmt:
		c := do.call.(*call)
		a := r.args(&c.args, s)
		if a.named == nil {
			a.named = map[string]any{}
		}
		a.named["caller"] = r.macro(&do.caller, s)
		r.write(r.text(r.call(r.eval(c.of, s), a)))
	case *filterStmt:
		r.write(r.text(r.filterText(do.filter, r.captured(do.body, s), s)))
	case *withStmt:
		inner := &scope{parent: s}
		for i, t := range do.targets {
			r.assign(t, r.eval(do.values[i], s), inner)
		}
		return r.body(do.body, inner)
	case *generationStmt:
		start := len(r.out.text)
		f := r.body(do.body, &scope{parent: s})
		r.out.spans = append(r.out.spans, Span{start, len(r.out.text)})
		return f
	case *breakStmt:
		return flowBreak
	case *continueStmt:
		return flowContinue
	}
	return flowOn
}

// captured is the text that a body writes.
func (r *run) captured(body []stmt, s *scope) string {
	defer r.deeper()()
	outer := r.out
	r.out = &output{}
	r.body(body, &scope{parent: s})
	text := string(r.out.text)
	r.out = outer
	return text
}

// text is what a value prints as.
func (r *run) text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case *List, *Dict:
		r.weigh(v, 0)
	}
	return text(v)
}

// weigh counts the size of a nested value before it is written: its parts may be shared, so that what is written is
// larger than what there is. A value that contains itself is too deep.
func (r *run) weigh(v any, depth int) {
	if depth > maxDepth {
		panic(r.errorf("a value nested deeper than %d", maxDepth))
	}
	switch v := v.(type) {
	case string:
		r.made(len(v))
	case markup:
		r.made(len(v))
	case *List:
		r.made(itemBytes * (len(v.Items) + 1))
		for _, item := range v.Items {
			r.weigh(item, depth+1)
		}
	case *Dict:
		r.made(itemBytes * (len(v.keys) + 1))
		for _, k := range v.keys {
			r.weigh(k, depth+1)
			r.weigh(v.values[k], depth+1)
		}
	default:
		r.step(1)
	}
}

// filterText applies filters whose innermost value is left open to a text.
func (r *run) filterText(f expr, v any, s *scope) any {
	node := f.(*filter)
	if node.of != nil {
		v = r.filterText(node.of, v, s)
	}
	return node.run(r, v, r.args(&node.args, s))
}

func (r *run) assign(t target, v any, s *scope) {
	switch {
	case t.several != nil:
		values := r.iterate(v)
		if len(values) != len(t.several) {
			panic(r.errorf("%d values for %d names", len(values), len(t.several)))
		}
		for i, one := range t.several {
			r.assign(one, values[i], s)
		}
	case t.attribute != "":
		ns, ok := s.get(t.name).(*namespace)
		if !ok {
			panic(r.errorf("%s.%s cannot be set: %s is no namespace", t.name, t.attribute, t.name))
		}
		ns.values[t.attribute] = v
	default:
		s.set(t.name, v)
	}
}

// iterate is the items of a value.
func (r *run) iterate(v any) []any {
	switch v := v.(type) {
	case *List:
		return v.Items
	case *Dict:
		r.made(itemBytes * len(v.keys))
		return append([]any(nil), v.keys...)
	case string:
		r.room(int64(len(v)), itemBytes)
		var out []any
		for _, c := range v {
			out = append(out, string(c))
		}
		return out
	case markup:
		return r.iterate(string(v))
	case undefined:
		return nil
	case *loopState:
		return r.iterate(&List{Items: v.items})
	}
	panic(r.errorf("%s has no items to go through", kind(v)))
}

// loopState is the variable loop.
type loopState struct {
	items   []any
	at      int
	depth   int
	changed []any // what changed was called with last; nil: not called
	again   func(v any) any
}

func (r *run) loop(f *forStmt, over any, s *scope, depth int) {
	defer r.deeper()()
	all := r.iterate(over)
	if f.where != nil {
		var some []any
		for _, v := range all {
			r.step(1)
			inner := &scope{parent: s}
			r.assign(f.target, v, inner)
			if truth(r.eval(f.where, inner)) {
				some = append(some, v)
			}
		}
		r.made(itemBytes * len(some))
		all = some
	}
	state := &loopState{items: all, depth: depth}
	if f.recursive {
		state.again = func(v any) any {
			outer := r.out
			r.out = &output{}
			r.loop(f, v, s, depth+1)
			text := string(r.out.text)
			r.out = outer
			return text
		}
	}
	for state.at = range all {
		r.step(1)
		inner := &scope{parent: s}
		inner.set("loop", state)
		r.assign(f.target, all[state.at], inner)
		if r.body(f.body, inner) == flowBreak {
			break
		}
	}
	if len(all) == 0 {
		r.body(f.empty, &scope{parent: s})
	}
}

func (l *loopState) attribute(name string) any {
	n := len(l.items)
	at := func(i int) any {
		if i < 0 || i >= n {
			return undefined{"loop." + name}
		}
		return l.items[i]
	}
	switch name {
	case "index":
		return int64(l.at + 1)
	case "index0":
		return int64(l.at)
	case "revindex":
		return int64(n - l.at)
	case "revindex0":
		return int64(n - l.at - 1)
	case "first":
		return l.at == 0
	case "last":
		return l.at == n-1
	case "length":
		return int64(n)
	case "depth":
		return int64(l.depth + 1)
	case "depth0":
		return int64(l.depth)
	case "previtem":
		return at(l.at - 1)
	case "nextitem":
		return at(l.at + 1)
	case "cycle":
		return &function{"cycle", func(r *run, a args) any {
			if len(a.list) == 0 {
				panic(r.errorf("cycle needs values"))
			}
			return a.list[l.at%len(a.list)]
		}}
	case "changed":
		return &function{"changed", func(r *run, a args) any {
			same := l.changed != nil && r.equal(&List{Items: l.changed}, &List{Items: a.list})
			l.changed = append([]any{}, a.list...)
			return !same
		}}
	}
	return undefined{"loop." + name}
}

// macro makes the function of a macro defined in a scope.
func (r *run) macro(m *macro, s *scope) *function {
	return &function{m.name, func(r *run, a args) any {
		defer r.deeper()()
		line := r.line
		inner := &scope{parent: s}
		used := 0
		for i, p := range m.params {
			v, ok := a.named[p.name]
			if ok {
				used++
			}
			switch {
			case i < len(a.list):
				v = a.list[i]
			case ok:
			case p.value != nil:
				v = r.eval(p.value, inner)
			default:
				v = undefined{p.name}
			}
			inner.set(p.name, v)
		}
		r.extras(m, inner, a)
		text := r.captured(m.body, inner)
		r.line = line
		return text
	}}
}

// extras sets the variables caller, varargs and kwargs of a macro.
func (r *run) extras(m *macro, s *scope, a args) {
	var rest []any
	if len(a.list) > len(m.params) {
		rest = a.list[len(m.params):]
	}
	extra := NewDict()
	for name, v := range a.named {
		known := name == "caller"
		for _, p := range m.params {
			known = known || p.name == name
		}
		if !known {
			extra.set(name, v)
		}
	}
	s.set("varargs", &List{Items: rest, tuple: true})
	s.set("kwargs", extra)
	if caller, ok := a.named["caller"]; ok {
		s.set("caller", caller)
	} else if m.name != "caller" {
		s.set("caller", undefined{"caller"})
	}
}

func (r *run) args(c *callArgs, s *scope) args {
	var a args
	if n := len(c.list); n > 0 {
		a.list = make([]any, n)
	}
	for i, e := range c.list {
		a.list[i] = r.eval(e, s)
	}
	if c.rest != nil {
		a.list = append(a.list, r.list(r.iterate(r.eval(c.rest, s))).Items...)
	}
	if len(c.named) > 0 || c.extra != nil {
		a.named = make(map[string]any, len(c.named))
	}
	for _, n := range c.named {
		a.named[n.name] = r.eval(n.value, s)
	}
	if c.extra != nil {
		d, ok := r.eval(c.extra, s).(*Dict)
		if !ok {
			panic(r.errorf("** needs a mapping"))
		}
		for _, k := range d.Keys() {
			a.named[k] = d.values[k]
		}
	}
	return a
}

func (r *run) call(f any, a args) any {
	r.step(1)
	switch f := f.(type) {
	case *function:
		return f.call(r, a)
	case *loopState:
		if f.again != nil && len(a.list) == 1 {
			return f.again(a.list[0])
		}
	}
	panic(r.errorf("%s cannot be called", kind(f)))
}

func (r *run) eval(e expr, s *scope) any {
	r.step(1)
	switch e := e.(type) {
	case *constant:
		return e.value
	case *name:
		return s.get(e.name)
	case *attribute:
		return r.attribute(r.eval(e.of, s), e.name)
	case *item:
		return r.item(r.eval(e.of, s), r.eval(e.index, s))
	case *slice:
		return r.slice(e, s)
	case *items:
		out := make([]any, len(e.items))
		for i, x := range e.items {
			out[i] = r.eval(x, s)
		}
		l := r.list(out)
		l.tuple = e.tuple
		return l
	case *dictOf:
		d := NewDict()
		r.made(4 * itemBytes * len(e.keys))
		for i, k := range e.keys {
			d.set(r.key(r.eval(k, s)), r.eval(e.values[i], s))
		}
		return d
	case *unary:
		return r.unary(e.op, r.eval(e.of, s))
	case *binary:
		return r.binary(e, s)
	case *chain:
		return r.chain(e, s)
	case *choice:
		switch {
		case truth(r.eval(e.cond, s)):
			return r.eval(e.yes, s)
		case e.no != nil:
			return r.eval(e.no, s)
		}
		return undefined{"the value of an if without else"}
	case *call:
		f := r.eval(e.of, s)
		return r.call(f, r.args(&e.args, s))
	case *filter:
		return e.run(r, r.read(r.eval(e.of, s)), r.args(&e.args, s))
	case *test:
		return e.run(r, r.read(r.eval(e.of, s)), r.args(&e.args, s)) != e.not
	}
	panic(r.errorf("unknown expression"))
}

// read counts the work of going through a text; it gives the value.
func (r *run) read(v any) any {
	if s, ok := asString(v); ok {
		r.step(len(s) >> 6)
	}
	return v
}

// key is a value as a key of a Dict.
func (r *run) key(v any) any {
	switch v := r.read(v).(type) {
	case markup:
		return string(v)
	case nil, bool, int64, float64, string, bigInt:
		return v
	}
	panic(r.errorf("%s cannot be a key", kind(v)))
}

func (r *run) defined(v any) any {
	if u, ok := v.(undefined); ok {
		panic(r.errorf("%q is undefined", u.name))
	}
	return v
}

// attribute is v.name.
func (r *run) attribute(v any, name string) any {
	switch v := r.defined(v).(type) {
	case *Dict:
		if m := r.dictMethod(v, name); m != nil {
			return m
		}
		if x, ok := v.values[name]; ok {
			return x
		}
	case *namespace:
		if x, ok := v.values[name]; ok {
			return x
		}
	case *loopState:
		return v.attribute(name)
	case *cycler:
		return v.attribute(name)
	default:
		if m := r.method(v, name); m != nil {
			return m
		}
	}
	return undefined{name}
}

// item is v[index].
func (r *run) item(v, index any) any {
	switch v := r.defined(v).(type) {
	case *Dict:
		switch index.(type) {
		case *List, *Dict, undefined:
		default:
			if x, ok := v.values[r.key(index)]; ok {
				return x
			}
		}
	case *List:
		if i, ok := asInt(index); ok {
			if i < 0 {
				i += int64(len(v.Items))
			}
			if i >= 0 && i < int64(len(v.Items)) {
				return v.Items[i]
			}
			return undefined{fmt.Sprintf("item %d of a list of %d", i, len(v.Items))}
		}
	case string, markup:
		if i, ok := asInt(index); ok {
			s, _ := asString(v)
			return r.character(s, i)
		}
	}
	if name, ok := index.(string); ok {
		return r.attribute(v, name)
	}
	return undefined{r.text(index)}
}

func (r *run) character(s string, i int64) any {
	runes := []rune(s)
	r.made(4 * len(runes))
	if i < 0 {
		i += int64(len(runes))
	}
	if i < 0 || i >= int64(len(runes)) {
		return undefined{fmt.Sprintf("character %d of a string of %d", i, len(runes))}
	}
	return string(runes[i])
}

func (r *run) slice(e *slice, s *scope) any {
	v := r.defined(r.eval(e.of, s))
	bound := func(e expr) *int64 {
		if e == nil {
			return nil
		}
		x := r.eval(e, s)
		if x == nil {
			return nil
		}
		i, ok := asInt(x)
		if !ok {
			panic(r.errorf("%s as the bound of a slice", kind(x)))
		}
		return &i
	}
	start, stop, step := bound(e.start), bound(e.stop), bound(e.step)
	switch v := v.(type) {
	case *List:
		var out []any
		for _, i := range r.indices(len(v.Items), start, stop, step) {
			out = append(out, v.Items[i])
		}
		l := r.list(out)
		l.tuple = v.tuple
		return l
	case string, markup:
		text, _ := asString(v)
		runes := []rune(text)
		r.made(4 * len(runes))
		var b strings.Builder
		for _, i := range r.indices(len(runes), start, stop, step) {
			b.WriteRune(runes[i])
		}
		return b.String()
	}
	panic(r.errorf("%s cannot be sliced", kind(v)))
}

// indices are those of a slice as Python has it.
func (r *run) indices(n int, start, stop, step *int64) []int {
	by := int64(1)
	if step != nil {
		by = *step
	}
	if by == 0 {
		panic(r.errorf("a slice with step 0"))
	}
	low, high := int64(0), int64(n)
	if by < 0 {
		low, high = -1, int64(n)-1
	}
	clamp := func(p *int64, missing int64) int64 {
		if p == nil {
			return missing
		}
		i := *p
		if i < 0 {
			i = max(i, -int64(n)-1) + int64(n)
		}
		return min(max(i, low), high)
	}
	first, last := low, high
	if by < 0 {
		first, last = high, low
	}
	var out []int
	i, end := clamp(start, first), clamp(stop, last)
	by = min(max(by, -int64(n)-1), int64(n)+1)
	for ; by > 0 && i < end || by < 0 && i > end; i += by {
		out = append(out, int(i))
	}
	r.made(8 * len(out))
	return out
}

func (r *run) unary(op string, v any) any {
	if op == "not" {
		return !truth(v)
	}
	switch x := r.defined(v).(type) {
	case bool, int64, bigInt:
		i, _ := asBig(x)
		return r.onInts(op, new(big.Int), i)
	case float64:
		if op == "-" {
			x = -x
		}
		return x
	}
	panic(r.errorf("%s of %s", op, kind(v)))
}

func (r *run) chain(c *chain, s *scope) any {
	left := r.eval(c.first, s)
	for i, op := range c.ops {
		right := r.eval(c.rest[i], s)
		if !r.related(op, left, right) {
			return false
		}
		left = right
	}
	return true
}

func (r *run) related(op string, a, b any) bool {
	switch op {
	case "==":
		return r.equal(a, b)
	case "!=":
		return !r.equal(a, b)
	case "in":
		return r.contains(b, a)
	case "not in":
		return !r.contains(b, a)
	}
	c := r.compare(r.defined(a), r.defined(b))
	switch op {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

func (r *run) contains(in, v any) bool {
	switch in := in.(type) {
	case string, markup:
		whole, _ := asString(in)
		part, ok := asString(v)
		if !ok {
			panic(r.errorf("%s in a string", kind(v)))
		}
		r.read(whole)
		return strings.Contains(whole, part)
	case *Dict:
		_, ok := in.values[r.key(v)]
		return ok
	}
	for _, x := range r.iterate(in) {
		if r.equal(x, v) {
			return true
		}
	}
	return false
}

func (r *run) binary(e *binary, s *scope) any {
	left := r.eval(e.left, s)
	switch e.op {
	case "and":
		if !truth(left) {
			return left
		}
		return r.eval(e.right, s)
	case "or":
		if truth(left) {
			return left
		}
		return r.eval(e.right, s)
	}
	right := r.eval(e.right, s)
	if e.op == "~" {
		a, b := r.text(left), r.text(right)
		r.made(len(a) + len(b))
		return a + b
	}
	r.defined(left)
	r.defined(right)
	if v, ok := r.onTexts(e.op, left, right); ok {
		return v
	}
	if a, ok := asBig(left); ok {
		if b, ok := asBig(right); ok && e.op != "/" {
			return r.onInts(e.op, a, b)
		}
	}
	a, ok := asFloat(left)
	b, ok2 := asFloat(right)
	if !ok || !ok2 {
		panic(r.errorf("%s %s %s", kind(left), e.op, kind(right)))
	}
	return r.onFloats(e.op, a, b)
}

// onTexts is what operators do with strings and lists.
func (r *run) onTexts(op string, left, right any) (v any, ok bool) {
	switch a := left.(type) {
	case string, markup:
		s, _ := asString(a)
		if op == "%" {
			return r.printf(s, right), true
		}
		if b, ok := asString(right); ok && op == "+" {
			r.made(len(s) + len(b))
			_, x := left.(markup)
			_, y := right.(markup)
			switch {
			case x && !y:
				return markup(s + escape(b)), true
			case y && !x:
				return markup(escape(s) + b), true
			case x:
				return markup(s + b), true
			}
			return s + b, true
		}
		if n, ok := asInt(right); ok && op == "*" {
			r.room(n, int64(len(s)))
			return strings.Repeat(s, int(max(n, 0))), true
		}
	case *List:
		if b, ok := right.(*List); ok && op == "+" {
			l := r.list(append(append([]any{}, a.Items...), b.Items...))
			l.tuple = a.tuple
			return l, true
		}
		if n, ok := asInt(right); ok && op == "*" {
			r.room(n, int64(itemBytes*len(a.Items)))
			var out []any
			for range max(n, 0) {
				if len(a.Items) == 0 {
					break
				}
				out = append(out, a.Items...)
			}
			return &List{out, a.tuple}, true
		}
	case int64:
		if _, number := asFloat(right); op == "*" && !number {
			return r.onTexts(op, right, left)
		}
	}
	return nil, false
}

// maxPower is the largest exponent, and maxBits the size of the largest number.
const maxPower, maxBits = 4096, 1 << 20

func (r *run) onInts(op string, a, b *big.Int) any {
	var z big.Int
	switch op {
	case "+":
		z.Add(a, b)
	case "-":
		z.Sub(a, b)
	case "*":
		z.Mul(a, b)
	case "//", "%":
		if b.Sign() == 0 {
			panic(r.errorf("division by zero"))
		}
		// Python rounds down, and the remainder has the sign of the divisor.
		m := new(big.Int)
		z.QuoRem(a, b, m)
		if m.Sign() != 0 && m.Sign() != b.Sign() {
			z.Sub(&z, big.NewInt(1))
			m.Add(m, b)
		}
		if op == "%" {
			z.Set(m)
		}
	case "**":
		if b.Sign() < 0 {
			x, _ := new(big.Float).SetInt(a).Float64()
			y, _ := new(big.Float).SetInt(b).Float64()
			return math.Pow(x, y)
		}
		if b.Cmp(big.NewInt(maxPower)) > 0 || b.Int64()*int64(a.BitLen()) > maxBits {
			panic(r.errorf("a power of %v, expected at most %d and a result of at most %d bits", b, maxPower, maxBits))
		}
		z.Exp(a, b, nil)
	}
	if z.BitLen() > maxBits {
		panic(r.errorf("an integer of %d bits, expected at most %d", z.BitLen(), maxBits))
	}
	r.made(z.BitLen() / 8)
	if z.IsInt64() {
		return z.Int64()
	}
	return bigInt(z.String())
}

func (r *run) onFloats(op string, a, b float64) any {
	if b == 0 && op != "+" && op != "-" && op != "*" && op != "**" {
		panic(r.errorf("division by zero"))
	}
	switch op {
	case "+":
		return a + b
	case "-":
		return a - b
	case "*":
		return a * b
	case "/":
		return a / b
	case "//":
		return math.Floor(a / b)
	case "%":
		m := math.Mod(a, b)
		if m != 0 && (m < 0) != (b < 0) {
			m += b
		}
		return m
	case "**":
		return math.Pow(a, b)
	}
	panic(r.errorf("unknown operator %s", op))
}
