// Package jinja renders chat templates: the language of Jinja2 as Hugging Face's transformers sets it up, with
// trim_blocks and lstrip_blocks, the statements break, continue and generation, and the functions raise_exception and
// strftime_now. What transformers' sandbox refuses is refused here.
//
// A template can do nothing but make a text: there is no statement, filter or function that reads a file or reaches a
// network. Its work and its memory are counted, and it ends with an error where it takes more than [Limits] allow.
package jinja

import (
	"fmt"
	"time"
)

// Error is why a template cannot be compiled or rendered.
type Error struct {
	Line    int    // of the template, from 1; 0: unknown
	Message string // of raise_exception, where Raised is set
	Raised  bool   // by the template itself
}

func (e *Error) Error() string {
	switch {
	case e.Raised:
		return "the template refuses: " + e.Message
	case e.Line > 0:
		return fmt.Sprintf("line %d of the template: %s", e.Line, e.Message)
	}
	return e.Message
}

// Limits bound one rendering.
type Limits struct {
	Steps int64 // expressions and statements evaluated, and items gone through
	Bytes int64 // of all texts and lists made, also of those that are dropped again
}

// limitsOf are the limits of a rendering: some for every one, and more for long conversations.
func limitsOf(variables *Dict) Limits {
	values, bytes := size(variables)
	return Limits{Steps: 2e6 + 2000*values + bytes, Bytes: 64<<20 + 32*bytes}
}

// size is the number of values in a value, and about the bytes that they take.
func size(v any) (values, bytes int64) {
	values, bytes = 1, itemBytes
	add := func(v any) {
		n, b := size(v)
		values, bytes = values+n, bytes+b
	}
	switch v := v.(type) {
	case string:
		bytes += int64(len(v))
	case *List:
		for _, item := range v.Items {
			add(item)
		}
	case *Dict:
		for _, k := range v.keys {
			add(k)
			add(v.values[k])
		}
	}
	return values, bytes
}

// maxSource is the most bytes of a template.
const maxSource = 4 << 20

// Template is a compiled template. It is safe for concurrent use.
type Template struct {
	body       []stmt
	generation bool
}

// Compile parses a template. Errors are of type [*Error].
func Compile(source string) (t *Template, err error) {
	if len(source) > maxSource {
		return nil, &Error{Message: fmt.Sprintf("a template of %d bytes, expected at most %d", len(source), maxSource)}
	}
	defer catch(&err)
	parts, err := lex(source)
	if err != nil {
		return nil, err
	}
	p := &parser{parts: parts}
	t = &Template{}
	t.body, _ = p.block()
	t.generation = p.generation
	return t, nil
}

// catch turns the panic of an *Error into an error.
func catch(err *error) {
	switch p := recover().(type) {
	case nil:
	case *Error:
		*err = p
	default:
		panic(p)
	}
}

// HasGeneration says whether the template marks what the model writes with generation blocks.
func (t *Template) HasGeneration() bool { return t.generation }

// Span is a stretch of a text, in bytes.
type Span struct{ Start, End int }

// Render renders the template with variables: values as [FromJSON] makes them. now is the time of strftime_now. spans
// are what generation blocks have written. Errors are of type [*Error].
func (t *Template) Render(variables *Dict, now time.Time) (text string, spans []Span, err error) {
	return t.render(variables, now, limitsOf(variables))
}

func (t *Template) render(variables *Dict, now time.Time, l Limits) (text string, spans []Span, err error) {
	r := &run{left: l, now: now, out: &output{}}
	defer catch(&err)
	s := &scope{parent: globals}
	for _, key := range variables.Keys() {
		v, _ := variables.Get(key)
		s.set(key, v)
	}
	r.body(t.body, s)
	return string(r.out.text), r.out.spans, nil
}
