package jinja

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Expressions.
type (
	expr interface{}

	constant struct{ value any }
	name     struct{ name string }
	items    struct {
		items []expr
		tuple bool
	}
	dictOf    struct{ keys, values []expr }
	attribute struct {
		of   expr
		name string
	}
	item  struct{ of, index expr }
	slice struct{ of, start, stop, step expr } // nil: left out
	unary struct {
		op string
		of expr
	}
	binary struct {
		op          string
		left, right expr
	}
	chain struct { // a < b < c
		first expr
		ops   []string
		rest  []expr
	}
	choice struct{ cond, yes, no expr } // no is nil where it is left out
	call   struct {
		of   expr
		args callArgs
	}
	filter struct {
		of   expr // nil in a filter block: its text
		name string
		args callArgs
		run  filterFunc
	}
	test struct {
		of   expr
		name string
		args callArgs
		not  bool
		run  testFunc
	}
	callArgs struct {
		list        []expr
		named       []named
		rest, extra expr // *rest and **extra, or nil
	}
	named struct {
		name  string
		value expr
	}
)

// Statements.
type (
	stmt struct {
		line int
		do   any // one of those below
	}
	textStmt  struct{ text string }
	printStmt struct{ value expr }
	ifStmt    struct{ branches []branch }
	branch    struct {
		cond expr // nil of else
		body []stmt
	}
	forStmt struct {
		target      target
		over, where expr // where is nil where it is left out
		recursive   bool
		body, empty []stmt
	}
	setStmt struct {
		target target
		value  expr
	}
	setBlock struct {
		target target
		filter expr
		body   []stmt
	}
	macroStmt struct{ macro macro }
	callStmt  struct {
		caller macro
		call   expr
	}
	filterStmt struct {
		filter expr
		body   []stmt
	}
	withStmt struct {
		targets []target
		values  []expr
		body    []stmt
	}
	generationStmt struct{ body []stmt }
	breakStmt      struct{}
	continueStmt   struct{}

	macro struct {
		name   string
		params []named // value nil: no default
		body   []stmt
	}
	// target is what is assigned to: a name, an attribute of a namespace, or several of them.
	target struct {
		name, attribute string
		several         []target
	}
)

type parser struct {
	parts      []part
	at         int // in parts
	tokens     []token
	pos        int // in tokens
	depth      int
	loops      int  // how many loops are around
	generation bool // there was a generation block
}

func (p *parser) errorf(format string, a ...any) *Error {
	line := 0
	if p.pos < len(p.tokens) {
		line = p.tokens[p.pos].line
	}
	return &Error{Line: line, Message: fmt.Sprintf(format, a...)}
}

func (p *parser) peek() token { return p.tokens[p.pos] }

func (p *parser) next() token {
	t := p.tokens[p.pos]
	if t.kind != tokenEnd {
		p.pos++
	}
	return t
}

// is says whether the next token is an operator or a word.
func (p *parser) is(text string) bool {
	t := p.peek()
	return (t.kind == tokenOperator || t.kind == tokenName) && t.text == text
}

func (p *parser) accept(text string) bool {
	if p.is(text) {
		p.pos++
		return true
	}
	return false
}

func (p *parser) expect(text string) {
	if !p.accept(text) {
		panic(p.errorf("expected %q, found %s", text, p.found()))
	}
}

func (p *parser) found() string {
	t := p.peek()
	if t.kind == tokenEnd {
		return "the end of the tag"
	}
	return strconv.Quote(t.text)
}

func (p *parser) end() {
	if p.peek().kind != tokenEnd {
		panic(p.errorf("expected the end of the tag, found %s", p.found()))
	}
}

func (p *parser) word() string {
	if p.peek().kind != tokenName {
		panic(p.errorf("expected a name, found %s", p.found()))
	}
	return p.next().text
}

// deeper counts the nesting; the call of its result ends it.
func (p *parser) deeper() func() {
	if p.depth++; p.depth > maxDepth {
		panic(p.errorf("nested deeper than %d", maxDepth))
	}
	return func() { p.depth-- }
}

// block parses up to one of some statements, and gives which. Without names it parses to the end of the template.
func (p *parser) block(until ...string) (body []stmt, end string) {
	defer p.deeper()()
	opened := p.tokens
	for p.at < len(p.parts) {
		part := p.parts[p.at]
		p.at++
		if part.tag == 0 {
			body = append(body, stmt{part.line, &textStmt{part.text}})
			continue
		}
		p.tokens, p.pos = part.tokens, 0
		if part.tag == '{' {
			body = append(body, stmt{part.line, &printStmt{p.tuple()}})
			p.end()
			continue
		}
		word := p.word()
		if slices.Contains(until, word) {
			return body, word
		}
		body = append(body, stmt{part.line, p.statement(word)})
	}
	if len(until) > 0 {
		p.tokens, p.pos = opened, 0
		panic(p.errorf("a block without %s", until[len(until)-1]))
	}
	return body, ""
}

func (p *parser) statement(word string) any {
	switch word {
	case "if":
		return p.ifs()
	case "for":
		return p.loop()
	case "set":
		return p.set()
	case "macro":
		m := macro{name: p.word()}
		m.params = p.params()
		m.body = p.inner("endmacro")
		return &macroStmt{m}
	case "call":
		m := macro{name: "caller"}
		if p.is("(") {
			m.params = p.params()
		}
		c := p.expression()
		if _, ok := c.(*call); !ok {
			panic(p.errorf("call needs the call of a macro"))
		}
		m.body = p.inner("endcall")
		return &callStmt{m, c}
	case "filter":
		f := p.filterNamed(nil)
		for p.accept("|") {
			f = p.filterNamed(f)
		}
		return &filterStmt{f, p.inner("endfilter")}
	case "with":
		return p.with()
	case "generation":
		p.generation = true
		return &generationStmt{p.inner("endgeneration")}
	case "break", "continue":
		if p.loops == 0 {
			panic(p.errorf("%s outside of a loop", word))
		}
		p.end()
		if word == "break" {
			return &breakStmt{}
		}
		return &continueStmt{}
	case "include", "import", "from", "extends", "block":
		panic(p.errorf("{%% %s %%} is not for chat templates, which read no files", word))
	}
	panic(p.errorf("unknown statement %q", word))
}

// inner is the rest of a statement's tag, which is empty, and its body.
func (p *parser) inner(end string) []stmt {
	p.end()
	loops := p.loops
	if end != "endgeneration" && end != "endwith" {
		p.loops = 0
	}
	body, _ := p.block(end)
	p.loops = loops
	p.end()
	return body
}

func (p *parser) ifs() any {
	s := &ifStmt{}
	for word := "if"; word != "endif"; {
		var b branch
		if word != "else" {
			b.cond = p.tuple()
		}
		p.end()
		if word == "else" {
			b.body, word = p.block("endif")
		} else {
			b.body, word = p.block("elif", "else", "endif")
		}
		s.branches = append(s.branches, b)
	}
	p.end()
	return s
}

func (p *parser) loop() any {
	s := &forStmt{target: p.target(false)}
	p.expect("in")
	s.over = p.tupleOf(p.or)
	if p.accept("if") {
		s.where = p.expression()
	}
	s.recursive = p.accept("recursive")
	p.end()
	p.loops++
	var end string
	s.body, end = p.block("else", "endfor")
	p.loops--
	if end == "else" {
		p.end()
		s.empty, _ = p.block("endfor")
	}
	p.end()
	return s
}

func (p *parser) set() any {
	t := p.target(true)
	if p.accept("=") {
		s := &setStmt{t, p.tuple()}
		p.end()
		return s
	}
	var f expr
	for p.accept("|") {
		f = p.filterNamed(f)
	}
	return &setBlock{t, f, p.inner("endset")}
}

func (p *parser) with() any {
	s := &withStmt{}
	for p.peek().kind != tokenEnd {
		if len(s.targets) > 0 {
			p.expect(",")
		}
		s.targets = append(s.targets, p.target(false))
		p.expect("=")
		s.values = append(s.values, p.expression())
	}
	s.body = p.inner("endwith")
	return s
}

// target parses what is assigned to.
func (p *parser) target(attributes bool) target {
	one := func() target {
		if p.accept("(") {
			t := p.target(attributes)
			p.expect(")")
			return t
		}
		t := target{name: p.word()}
		if attributes && p.accept(".") {
			t.attribute = p.word()
		}
		return t
	}
	defer p.deeper()()
	t := one()
	if !p.is(",") {
		return t
	}
	several := []target{t}
	for p.accept(",") && (p.peek().kind == tokenName && !p.is("in") || p.is("(")) {
		several = append(several, one())
	}
	return target{several: several}
}

func (p *parser) params() (out []named) {
	p.expect("(")
	for !p.accept(")") {
		if len(out) > 0 {
			p.expect(",")
			if p.accept(")") {
				break
			}
		}
		n := named{name: p.word()}
		if p.accept("=") {
			n.value = p.expression()
		}
		out = append(out, n)
	}
	return out
}

// tuple is an expression, or several with commas.
func (p *parser) tuple() expr { return p.tupleOf(p.expression) }

func (p *parser) tupleOf(one func() expr) expr {
	first := one()
	if !p.is(",") {
		return first
	}
	out := []expr{first}
	for p.accept(",") && p.peek().kind != tokenEnd && !p.is(")") && !p.is("if") && !p.is("recursive") {
		out = append(out, one())
	}
	return &items{out, true}
}

func (p *parser) expression() expr {
	defer p.deeper()()
	e := p.or()
	for p.accept("if") {
		c := &choice{cond: p.or(), yes: e}
		if p.accept("else") {
			c.no = p.expression()
		}
		e = c
	}
	return e
}

// left parses operators of one rank, from left to right.
func (p *parser) left(one func() expr, ops ...string) expr {
	e := one()
	for {
		t := p.peek()
		if t.kind == tokenString || !slices.Contains(ops, t.text) {
			return e
		}
		p.pos++
		e = &binary{t.text, e, one()}
	}
}

func (p *parser) or() expr  { return p.left(p.and, "or") }
func (p *parser) and() expr { return p.left(p.not, "and") }

func (p *parser) not() expr {
	defer p.deeper()()
	if p.accept("not") {
		return &unary{"not", p.not()}
	}
	return p.comparison()
}

func (p *parser) comparison() expr {
	c := &chain{first: p.sum()}
	for {
		t := p.peek()
		switch {
		case t.kind == tokenOperator && slices.Contains([]string{"==", "!=", "<", "<=", ">", ">="}, t.text), p.is("in"):
			p.pos++
			c.ops = append(c.ops, t.text)
		case p.is("not") && p.tokens[p.pos+1].kind == tokenName && p.tokens[p.pos+1].text == "in":
			p.pos += 2
			c.ops = append(c.ops, "not in")
		case len(c.ops) == 0:
			return c.first
		default:
			return c
		}
		c.rest = append(c.rest, p.sum())
	}
}

func (p *parser) sum() expr     { return p.left(p.concat, "+", "-") }
func (p *parser) concat() expr  { return p.left(p.product, "~") }
func (p *parser) product() expr { return p.left(p.power, "*", "/", "//", "%") }
func (p *parser) power() expr {
	return p.left(func() expr { return p.unary(true) }, "**")
}

func (p *parser) unary(filters bool) expr {
	defer p.deeper()()
	var e expr
	switch t := p.peek(); {
	case t.kind == tokenOperator && (t.text == "-" || t.text == "+"):
		p.pos++
		e = &unary{t.text, p.unary(false)}
	default:
		e = p.primary()
	}
	e = p.postfix(e)
	if filters {
		e = p.filtered(e)
	}
	return e
}

var constants = map[string]any{
	"true": true, "True": true, "false": false, "False": false, "none": nil, "None": nil,
}

func (p *parser) primary() expr {
	t := p.next()
	switch t.kind {
	case tokenName:
		if v, ok := constants[t.text]; ok {
			return &constant{v}
		}
		return &name{t.text}
	case tokenString:
		s := t.text
		for p.peek().kind == tokenString {
			s += p.next().text
		}
		return &constant{s}
	case tokenInt, tokenFloat:
		return &constant{Number(strings.ReplaceAll(t.text, "_", ""))}
	case tokenOperator:
		switch t.text {
		case "(":
			if p.accept(")") {
				return &items{tuple: true}
			}
			e := p.tuple()
			p.expect(")")
			return e
		case "[":
			return &items{items: p.list("]")}
		case "{":
			return p.dict()
		}
	}
	if t.kind != tokenEnd {
		p.pos--
	}
	panic(p.errorf("expected a value, found %s", p.found()))
}

func (p *parser) list(end string) (out []expr) {
	for !p.accept(end) {
		if len(out) > 0 {
			p.expect(",")
			if p.accept(end) {
				break
			}
		}
		out = append(out, p.expression())
	}
	return out
}

func (p *parser) dict() expr {
	d := &dictOf{}
	for !p.accept("}") {
		if len(d.keys) > 0 {
			p.expect(",")
			if p.accept("}") {
				break
			}
		}
		d.keys = append(d.keys, p.expression())
		p.expect(":")
		d.values = append(d.values, p.expression())
	}
	return d
}

// postfix parses attributes, subscripts and calls.
func (p *parser) postfix(e expr) expr {
	for {
		switch {
		case p.accept("."):
			if t := p.peek(); t.kind == tokenInt {
				p.pos++
				e = &item{e, &constant{Number(t.text)}}
			} else {
				e = &attribute{e, p.word()}
			}
		case p.accept("["):
			e = p.subscript(e)
			p.expect("]")
		case p.is("("):
			e = &call{e, p.args()}
		default:
			return e
		}
	}
}

func (p *parser) subscript(of expr) expr {
	bound := func() expr {
		if p.is(":") || p.is("]") {
			return nil
		}
		return p.expression()
	}
	start := bound()
	if !p.accept(":") {
		if start == nil {
			panic(p.errorf("an empty subscript"))
		}
		return &item{of, start}
	}
	s := &slice{of: of, start: start, stop: bound()}
	if p.accept(":") {
		s.step = bound()
	}
	return s
}

func (p *parser) args() (a callArgs) {
	p.expect("(")
	for first := true; !p.accept(")"); first = false {
		if !first {
			p.expect(",")
			if p.accept(")") {
				break
			}
		}
		switch {
		case p.accept("*"):
			a.rest = p.expression()
		case p.accept("**"):
			a.extra = p.expression()
		case p.peek().kind == tokenName && p.tokens[p.pos+1].kind == tokenOperator && p.tokens[p.pos+1].text == "=":
			n := p.word()
			p.expect("=")
			a.named = append(a.named, named{n, p.expression()})
		default:
			a.list = append(a.list, p.expression())
		}
	}
	return a
}

// filtered parses filters, tests and calls after a value.
func (p *parser) filtered(e expr) expr {
	for {
		switch {
		case p.accept("|"):
			e = p.filterNamed(e)
		case p.is("is"):
			p.pos++
			e = p.test(e)
		case p.is("("):
			e = &call{e, p.args()}
		default:
			return e
		}
	}
}

func (p *parser) filterNamed(of expr) expr {
	f := &filter{of: of, name: p.word()}
	f.run = filterNamed(f.name)
	if p.is("(") {
		f.args = p.args()
	}
	return f
}

func (p *parser) test(of expr) expr {
	t := &test{of: of, not: p.accept("not"), name: p.peek().text}
	p.pos = min(p.pos+1, len(p.tokens)-1)
	t.run = testNamed(t.name)
	switch next := p.peek(); {
	case p.is("("):
		t.args = p.args()
	case next.kind == tokenString, next.kind == tokenInt, next.kind == tokenFloat, p.is("["), p.is("{"),
		next.kind == tokenName && !slices.Contains([]string{"else", "or", "and", "if", "is", "in", "not",
			"recursive"}, next.text):
		t.args.list = []expr{p.postfix(p.primary())}
	}
	return t
}
