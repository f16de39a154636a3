package jinja

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// jsonStyle is how filterTojson writes.
type jsonStyle struct {
	r             *run
	b             strings.Builder
	ascii, sorted bool
	indent        string // of one level
	lines         bool   // an item a line
	comma, colon  string
}

// filterTojson writes a value as json.dumps of Python does, without escapes for HTML.
func filterTojson(r *run, v any, a args) any {
	j := &jsonStyle{r: r, ascii: truth(a.get(0, "ensure_ascii", false)), sorted: truth(a.get(3, "sort_keys", false)),
		comma: ", ", colon: ": "}
	switch indent := a.get(1, "indent", nil).(type) {
	case nil:
	case string:
		j.indent, j.lines, j.comma = indent, true, ","
	default:
		n := min(max(r.int(indent), 0), 100)
		j.indent, j.lines, j.comma = strings.Repeat(" ", int(n)), true, ","
	}
	if sep := a.get(2, "separators", nil); sep != nil {
		pair := r.iterate(sep)
		if len(pair) != 2 {
			panic(r.errorf("separators are two strings"))
		}
		j.comma, j.colon = r.str(pair[0]), r.str(pair[1])
	}
	j.write(v, 0)
	return j.b.String()
}

// ToJSON writes a value of [FromJSON] as the filter tojson does.
func ToJSON(v any) string {
	r := &run{left: Limits{Steps: math.MaxInt64, Bytes: math.MaxInt64}}
	return filterTojson(r, v, args{}).(string)
}

func (j *jsonStyle) put(s string) {
	j.r.made(len(s))
	j.b.WriteString(s)
}

func (j *jsonStyle) line(depth int) {
	if j.lines {
		j.put("\n" + strings.Repeat(j.indent, depth))
	}
}

func (j *jsonStyle) write(v any, depth int) {
	if depth > maxDepth {
		panic(j.r.errorf("a value nested deeper than %d", maxDepth))
	}
	j.r.step(1)
	switch v := v.(type) {
	case nil:
		j.put("null")
	case bool:
		j.put(strconv.FormatBool(v))
	case string:
		j.quote(v)
	case markup:
		j.quote(string(v))
	case float64:
		j.put(jsonFloat(v))
	case int64, bigInt:
		j.put(text(v))
	case *List:
		j.several("[", "]", len(v.Items), depth, func(i int) { j.write(v.Items[i], depth+1) })
	case *Dict:
		keys := v.keys
		if j.sorted {
			keys = j.r.sorted(keys, func(k any) any { return k }, false)
		}
		j.several("{", "}", len(keys), depth, func(i int) {
			if s, ok := keys[i].(string); ok {
				j.quote(s)
			} else {
				var k strings.Builder
				inner := &jsonStyle{r: j.r}
				inner.write(keys[i], 0)
				k.WriteString(inner.b.String())
				j.quote(k.String())
			}
			j.put(j.colon)
			j.write(v.values[keys[i]], depth+1)
		})
	default:
		panic(j.r.errorf("%s cannot be written as JSON", kind(v)))
	}
}

func (j *jsonStyle) several(open, end string, n, depth int, write func(i int)) {
	j.put(open)
	for i := range n {
		if i > 0 {
			j.put(j.comma)
		}
		j.line(depth + 1)
		write(i)
	}
	if n > 0 {
		j.line(depth)
	}
	j.put(end)
}

func jsonFloat(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case math.IsNaN(f):
		return "NaN"
	}
	return floatText(f)
}

func (j *jsonStyle) quote(s string) {
	j.r.made(len(s) + 2)
	b := &j.b
	b.WriteByte('"')
	for i := 0; i < len(s); {
		c, n := utf8.DecodeRuneInString(s[i:])
		switch at := strings.IndexRune("\"\\\n\r\t\b\f", c); {
		case at >= 0:
			b.WriteByte('\\')
			b.WriteByte(`"\nrtbf`[at])
		case c < ' ' || j.ascii && c > '~' && c < 0x10000:
			fmt.Fprintf(b, `\u%04x`, c)
		case j.ascii && c >= 0x10000:
			c -= 0x10000
			fmt.Fprintf(b, `\u%04x\u%04x`, 0xd800+c>>10, 0xdc00+c&0x3ff)
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	b.WriteByte('"')
}

// maxWidth is the most columns that a format may pad a value to, and the most digits it may ask for.
const maxWidth = 1000

// printf is Python's text % values.
func (r *run) printf(format string, values any) string {
	l, ok := values.(*List)
	if !ok || !l.tuple {
		l = &List{Items: []any{values}}
	}
	d, _ := values.(*Dict)
	out, used := r.verbs(format, l.Items, d)
	if d == nil && used < len(l.Items) {
		panic(r.errorf("more values than the format %q takes", format))
	}
	return out
}

// format is the filter of that name: a % format with the arguments as values.
func (r *run) format(format string, a args) string {
	var d *Dict
	if len(a.named) > 0 {
		d = NewDict()
		for name, v := range a.named {
			d.set(name, v)
		}
	}
	out, used := r.verbs(format, a.list, d)
	if used < len(a.list) {
		panic(r.errorf("more values than the format %q takes", format))
	}
	return out
}

// verbs fills the verbs of a % format.
func (r *run) verbs(format string, values []any, byName *Dict) (out string, used int) {
	var b strings.Builder
	r.made(len(format))
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			b.WriteByte(format[i])
			continue
		}
		i++
		var v any = undefined{"the value of a format"}
		name := false
		if i < len(format) && format[i] == '(' {
			end := strings.IndexByte(format[i:], ')')
			if end < 0 || byName == nil {
				panic(r.errorf("the format %q needs a mapping", format))
			}
			v, name = r.item(byName, format[i+1:i+end]), true
			i += end + 1
		}
		start := i
		for i < len(format) && strings.IndexByte("#0- +.123456789hlL", format[i]) >= 0 {
			i++
		}
		if i == len(format) {
			panic(r.errorf("the format %q ends in a verb", format))
		}
		if format[i] == '%' {
			b.WriteByte('%')
			continue
		}
		if !name {
			if used == len(values) {
				panic(r.errorf("fewer values than the format %q takes", format))
			}
			v = values[used]
			used++
		}
		flags := strings.Trim(format[start:i], "hlL")
		s := r.verb(flags, format[i], v)
		r.made(len(s))
		b.WriteString(s)
	}
	return b.String(), used
}

// verb is one value in a % format.
func (r *run) verb(flags string, verb byte, v any) string {
	for _, n := range strings.FieldsFunc(flags, func(c rune) bool { return c < '0' || c > '9' }) {
		if width, _ := strconv.Atoi(n); width > maxWidth {
			panic(r.errorf("a width of %s, expected at most %d", n, maxWidth))
		}
	}
	switch verb {
	case 's', 'r':
		s := r.text(v)
		if verb == 'r' {
			r.weigh(v, 0)
			var b strings.Builder
			writeRepr(&b, v)
			s = b.String()
		}
		return fmt.Sprintf("%"+strings.Trim(flags, "0")+"s", s)
	case 'd', 'i', 'u', 'x', 'X', 'o', 'c':
		if f, ok := v.(float64); ok {
			v = int64(f)
		}
		if s, ok := asString(v); ok && verb == 'c' {
			return s
		}
		if verb == 'i' || verb == 'u' {
			verb = 'd'
		}
		return fmt.Sprintf("%"+flags+string(verb), r.int(v))
	case 'f', 'F', 'e', 'E', 'g', 'G':
		f, ok := asFloat(v)
		if !ok {
			panic(r.errorf("%s for %%%c", kind(v), verb))
		}
		return fmt.Sprintf("%"+flags+string(verb), f)
	}
	panic(r.errorf("unknown verb %%%c", verb))
}

// braces is str.format: {} and {0} and {name}, with :d, :s, :.2f and widths.
func (r *run) braces(format string, a args) string {
	var b strings.Builder
	next := int64(0)
	for i := 0; i < len(format); i++ {
		c := format[i]
		if (c == '{' || c == '}') && i+1 < len(format) && format[i+1] == c {
			b.WriteByte(c)
			i++
			continue
		}
		if c != '{' {
			b.WriteByte(c)
			continue
		}
		end := strings.IndexByte(format[i:], '}')
		if end < 0 {
			panic(r.errorf("the format %q has { without }", format))
		}
		field, spec, _ := strings.Cut(format[i+1:i+end], ":")
		i += end
		if field == "" {
			field = strconv.FormatInt(next, 10)
			next++
		}
		s := r.spec(spec, r.field(field, a))
		r.made(len(s))
		b.WriteString(s)
	}
	return b.String()
}

// field is the argument that a field of str.format names.
func (r *run) field(field string, a args) any {
	name, rest, dotted := strings.Cut(field, ".")
	v, ok := a.named[name]
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(a.list) {
		v, ok = a.list[i], true
	}
	if !ok {
		panic(r.errorf("no value for {%s}", field))
	}
	if dotted {
		v = r.path(v, rest)
	}
	return v
}

// spec is a value in the format that follows a colon in str.format.
func (r *run) spec(spec string, v any) string {
	if spec == "" {
		return r.text(v)
	}
	body, verb := spec[:len(spec)-1], spec[len(spec)-1]
	if verb >= '0' && verb <= '9' {
		body, verb = spec, 's'
		if _, ok := asFloat(v); ok {
			verb = 'd'
		}
		if _, ok := v.(float64); ok {
			verb = 'g'
		}
	}
	switch {
	case strings.HasPrefix(body, "<"):
		body = "-" + body[1:]
	case strings.HasPrefix(body, ">"):
		body = body[1:]
	case verb == 's' && body != "":
		body = "-" + body
	}
	if strings.Trim(body, "+-0123456789.") != "" {
		panic(r.errorf("the format {:%s} is not supported", spec))
	}
	return r.verb(body, verb, v)
}
