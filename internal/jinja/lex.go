package jinja

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// part is a stretch of a template: text, or the tokens of a tag.
type part struct {
	text   string // of a text
	tag    byte   // '{' of an expression, '%' of a statement, 0 of a text
	tokens []token
	line   int
}

type token struct {
	kind tokenKind
	text string // of a string its value
	line int
}

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenName
	tokenString
	tokenInt
	tokenFloat
	tokenOperator
)

// lexer cuts a template as Jinja does with trim_blocks and lstrip_blocks.
type lexer struct {
	src   string
	at    int
	line  int
	parts []part
	fresh bool // what was read last ends with a new line, or nothing was read
}

func (x *lexer) errorf(format string, a ...any) error {
	return &Error{Line: x.line, Message: fmt.Sprintf(format, a...)}
}

func lex(src string) ([]part, error) {
	src = strings.ReplaceAll(strings.ReplaceAll(src, "\r\n", "\n"), "\r", "\n")
	x := &lexer{src: strings.TrimSuffix(src, "\n"), line: 1, fresh: true}
	for x.at < len(x.src) {
		if err := x.next(); err != nil {
			return nil, err
		}
	}
	return x.parts, nil
}

// open is the place of the next tag, or the end.
func (x *lexer) open() int {
	for i := x.at; ; i++ {
		n := strings.IndexByte(x.src[i:], '{')
		if n < 0 || i+n+1 >= len(x.src) {
			return len(x.src)
		}
		i += n
		if c := x.src[i+1]; c == '{' || c == '%' || c == '#' {
			return i
		}
	}
}

// next reads a text and the tag after it.
func (x *lexer) next() error {
	start, begin := x.at, x.open()
	text := x.src[start:begin]
	if begin == len(x.src) {
		x.text(text)
		x.at = begin
		return nil
	}
	tag := x.src[begin+1]
	x.at = begin + 2
	sign := x.sign()
	x.line += strings.Count(text, "\n")
	x.text(x.stripBefore(text, sign, tag))
	switch {
	case tag == '#':
		return x.comment()
	case tag == '%':
		if end, ok := x.word("raw"); ok {
			x.at = end
			return x.raw()
		}
	}
	return x.tag(tag)
}

func (x *lexer) text(s string) {
	if s != "" {
		x.parts = append(x.parts, part{text: s, line: x.line})
	}
}

// sign is the sign after the opening of a tag, or 0.
func (x *lexer) sign() byte {
	if x.at < len(x.src) && (x.src[x.at] == '-' || x.src[x.at] == '+') {
		x.at++
		return x.src[x.at-1]
	}
	return 0
}

func (x *lexer) stripBefore(text string, sign, tag byte) string {
	switch {
	case sign == '-':
		return strings.TrimRightFunc(text, isSpace)
	case sign == '+' || tag == '{':
		return text
	}
	start := strings.LastIndexByte(text, '\n') + 1
	if (start > 0 || x.fresh) && strings.TrimSpace(text[start:]) == "" {
		return text[:start]
	}
	return text
}

// after goes over the white space that the end of a tag swallows.
func (x *lexer) after(sign, tag byte) {
	x.fresh = false
	rest := x.src[x.at:]
	end := x.at
	switch {
	case sign == '-':
		end += len(rest) - len(strings.TrimLeftFunc(rest, isSpace))
	case sign != '+' && tag != '{' && strings.HasPrefix(rest, "\n"):
		end++
	}
	if end > x.at {
		x.fresh = x.src[end-1] == '\n'
		x.line += strings.Count(x.src[x.at:end], "\n")
	}
	x.at = end
}

// ending is the sign and length of what ends a tag at a place; n is 0 where nothing does.
func (x *lexer) ending(at int, end string) (sign byte, n int) {
	rest := x.src[at:]
	if strings.HasPrefix(rest, end) {
		return 0, len(end)
	}
	if len(rest) > 0 && (rest[0] == '-' || rest[0] == '+' && end != "}}") && strings.HasPrefix(rest[1:], end) {
		return rest[0], len(end) + 1
	}
	return 0, 0
}

func (x *lexer) comment() error {
	n := strings.Index(x.src[x.at:], "#}")
	if n < 0 {
		return x.errorf("a comment {# that does not end")
	}
	body := x.src[x.at : x.at+n]
	x.line += strings.Count(body, "\n")
	x.at += n + 2
	sign := byte(0)
	if strings.HasSuffix(body, "-") || strings.HasSuffix(body, "+") {
		sign = body[len(body)-1]
	}
	x.after(sign, '#')
	return nil
}

// word is the end of a whole statement of one word that begins here.
func (x *lexer) word(word string) (end int, ok bool) {
	rest := strings.TrimLeftFunc(x.src[x.at:], isSpace)
	if !strings.HasPrefix(rest, word) {
		return 0, false
	}
	rest = strings.TrimLeftFunc(rest[len(word):], isSpace)
	at := len(x.src) - len(rest)
	if _, n := x.ending(at, "%}"); n > 0 {
		return at, true
	}
	return 0, false
}

// raw reads a text up to endraw as it is.
func (x *lexer) raw() error {
	sign, n := x.ending(x.at, "%}")
	x.at += n
	x.after(sign, '%')
	for from := x.at; ; {
		i := strings.Index(x.src[from:], "{%")
		if i < 0 {
			return x.errorf("a raw block that does not end")
		}
		text := x.src[x.at : from+i]
		save := x.at
		x.at = from + i + 2
		before := x.sign()
		end, ok := x.word("endraw")
		if !ok {
			from, x.at = x.at, save
			continue
		}
		x.line += strings.Count(text, "\n")
		x.text(x.stripBefore(text, before, '%'))
		sign, n := x.ending(end, "%}")
		x.at = end + n
		x.after(sign, '%')
		return nil
	}
}

var operators = []string{"**", "//", "==", "!=", "<=", ">="}

// tag reads the tokens of an expression or a statement.
func (x *lexer) tag(tag byte) error {
	end := "}}"
	if tag == '%' {
		end = "%}"
	}
	p := part{tag: tag, line: x.line}
	var open []byte
	for {
		x.space()
		if x.at >= len(x.src) {
			x.line = p.line
			return x.errorf("a tag {%c that does not end", tag)
		}
		if sign, n := x.ending(x.at, end); n > 0 && len(open) == 0 {
			x.at += n
			p.tokens = append(p.tokens, token{kind: tokenEnd, line: x.line})
			x.parts = append(x.parts, p)
			x.after(sign, tag)
			return nil
		}
		t, err := x.token()
		if err != nil {
			return err
		}
		if t.kind == tokenOperator {
			switch c := t.text[0]; c {
			case '(', '[', '{':
				open = append(open, c)
			case ')', ']', '}':
				if len(open) == 0 || open[len(open)-1] != map[byte]byte{')': '(', ']': '[', '}': '{'}[c] {
					return x.errorf("%q without its opening", c)
				}
				open = open[:len(open)-1]
			}
		}
		p.tokens = append(p.tokens, t)
	}
}

func (x *lexer) space() {
	for x.at < len(x.src) {
		r, n := utf8.DecodeRuneInString(x.src[x.at:])
		if !isSpace(r) {
			return
		}
		if r == '\n' {
			x.line++
		}
		x.at += n
	}
}

func (x *lexer) token() (token, error) {
	rest := x.src[x.at:]
	c := rest[0]
	t := token{line: x.line}
	switch {
	case c == '\'' || c == '"':
		return x.quoted()
	case c >= '0' && c <= '9':
		t.kind, t.text = lexNumber(rest)
		x.at += len(t.text)
		return t, nil
	}
	n := strings.IndexFunc(rest, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if n < 0 {
		n = len(rest)
	}
	if n > 0 {
		t.kind, t.text = tokenName, rest[:n]
		x.at += n
		return t, nil
	}
	t.kind = tokenOperator
	for _, o := range operators {
		if strings.HasPrefix(rest, o) {
			t.text = o
			x.at += len(o)
			return t, nil
		}
	}
	if !strings.ContainsRune("+-/*%~[](){}<>=.:|,;", rune(c)) {
		r, _ := utf8.DecodeRuneInString(rest)
		return t, x.errorf("unexpected %q", r)
	}
	t.text = rest[:1]
	x.at++
	return t, nil
}

func lexNumber(s string) (tokenKind, string) {
	digits := func(i int) int {
		for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '_') {
			i++
		}
		return i
	}
	n, kind := digits(0), tokenInt
	if n+1 < len(s) && s[n] == '.' && s[n+1] >= '0' && s[n+1] <= '9' {
		n, kind = digits(n+1), tokenFloat
	}
	if n < len(s) && (s[n] == 'e' || s[n] == 'E') {
		e := n + 1
		if e < len(s) && (s[e] == '+' || s[e] == '-') {
			e++
		}
		if m := digits(e); m > e {
			n, kind = m, tokenFloat
		}
	}
	return kind, s[:n]
}

// quoted reads a string with its escapes.
func (x *lexer) quoted() (token, error) {
	t := token{kind: tokenString, line: x.line}
	quote := x.src[x.at]
	var b strings.Builder
	for i := x.at + 1; i < len(x.src); {
		switch c := x.src[i]; {
		case c == quote:
			x.line += strings.Count(x.src[x.at:i], "\n")
			x.at = i + 1
			t.text = b.String()
			return t, nil
		case c == '\\' && i+1 < len(x.src):
			i += 1 + writeEscape(&b, x.src[i+1:])
		default:
			b.WriteByte(c)
			i++
		}
	}
	return t, x.errorf("a string that does not end")
}

// writeEscape writes what an escape, without its backslash, stands for, and gives its length.
func writeEscape(b *strings.Builder, s string) int {
	if i := strings.IndexByte(`ntr\'"abfv`, s[0]); i >= 0 {
		b.WriteByte("\n\t\r\\'\"\a\b\f\v"[i])
		return 1
	}
	if n := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[0]]; n > 0 && len(s) > n {
		if code, err := strconv.ParseUint(s[1:1+n], 16, 32); err == nil {
			b.WriteRune(rune(code))
			return 1 + n
		}
	}
	n := 0
	for n < 3 && n < len(s) && s[n] >= '0' && s[n] <= '7' {
		n++
	}
	if n > 0 {
		code, _ := strconv.ParseUint(s[:n], 8, 32)
		b.WriteRune(rune(code))
		return n
	}
	if s[0] == '\n' {
		return 1
	}
	b.WriteByte('\\')
	return 0
}
