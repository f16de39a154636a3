package jinja

import "strings"

// maxRange is the most items of range, as in Jinja's sandbox.
const maxRange = 100_000

// globals are the functions that every template has.
var globals = &scope{}

func init() {
	for name, call := range map[string]func(r *run, a args) any{
		"range":           callRange,
		"dict":            callDict,
		"namespace":       callNamespace,
		"cycler":          callCycler,
		"joiner":          callJoiner,
		"strftime_now":    func(r *run, a args) any { return r.strftime(r.str(a.get(0, "format", nil))) },
		"raise_exception": callRaise,
	} {
		globals.set(name, &function{name, call})
	}
}

func callRaise(r *run, a args) any {
	panic(&Error{Line: r.line, Message: r.text(a.get(0, "message", nil)), Raised: true})
}

func callRange(r *run, a args) any {
	start, stop, step := int64(0), int64(0), int64(1)
	switch len(a.list) {
	case 1:
		stop = r.int(a.list[0])
	case 3:
		step = r.int(a.list[2])
		fallthrough
	case 2:
		start, stop = r.int(a.list[0]), r.int(a.list[1])
	default:
		panic(r.errorf("range of %d arguments", len(a.list)))
	}
	if step == 0 {
		panic(r.errorf("range with step 0"))
	}
	out := []any{}
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		if len(out) == maxRange {
			panic(r.errorf("a range of more than %d", maxRange))
		}
		out = append(out, i)
		if next := i + step; (next > i) != (step > 0) {
			break // beyond the largest integer
		}
	}
	return r.list(out)
}

// callDict makes a Dict of the named arguments, in no order of theirs that a template could know of but that of names.
func callDict(r *run, a args) any {
	d := NewDict()
	if len(a.list) > 0 {
		switch of := a.list[0].(type) {
		case *Dict:
			d = of.Clone()
		default:
			for _, pair := range r.iterate(of) {
				kv := r.iterate(pair)
				if len(kv) != 2 {
					panic(r.errorf("dict of items that are not pairs"))
				}
				d.set(r.key(kv[0]), kv[1])
			}
		}
	}
	for _, name := range sortedNames(a.named) {
		d.set(name, a.named[name])
	}
	r.made(4 * itemBytes * d.Len())
	return d
}

func callNamespace(r *run, a args) any {
	ns := &namespace{values: map[string]any{}}
	if len(a.list) > 0 {
		if d, ok := a.list[0].(*Dict); ok {
			for _, k := range d.Keys() {
				ns.values[k] = d.values[k]
			}
		}
	}
	for name, v := range a.named {
		ns.values[name] = v
	}
	r.made(4 * itemBytes * len(ns.values))
	return ns
}

func callJoiner(r *run, a args) any {
	sep := r.str(a.get(0, "sep", ", "))
	used := false
	return &function{"joiner", func(*run, args) any {
		if !used {
			used = true
			return ""
		}
		return sep
	}}
}

// cycler goes round values.
type cycler struct {
	items []any
	at    int
}

func callCycler(r *run, a args) any {
	if len(a.list) == 0 {
		panic(r.errorf("cycler needs values"))
	}
	return &cycler{items: a.list}
}

func (c *cycler) attribute(name string) any {
	switch name {
	case "current":
		return c.items[c.at]
	case "next":
		return &function{name, func(*run, args) any {
			v := c.items[c.at]
			c.at = (c.at + 1) % len(c.items)
			return v
		}}
	case "reset":
		return &function{name, func(*run, args) any {
			c.at = 0
			return nil
		}}
	}
	return undefined{"cycler." + name}
}

// strftime is the time in a format of C's strftime.
func (r *run) strftime(format string) string {
	layouts := map[byte]string{
		'Y': "2006", 'm': "01", 'd': "02", 'H': "15", 'M': "04", 'S': "05", 'B': "January", 'b': "Jan", 'h': "Jan",
		'A': "Monday", 'a': "Mon", 'p': "PM", 'I': "03", 'y': "06", 'j': "002", 'Z': "MST", 'z': "-0700", 'e': "_2",
		'F': "2006-01-02", 'T': "15:04:05", 'D': "01/02/06", 'R': "15:04", 'c': "Mon Jan _2 15:04:05 2006",
		'x': "01/02/06", 'X': "15:04:05",
	}
	bare := map[byte]string{'d': "2", 'm': "1", 'I': "3", 'M': "4", 'S': "5", 'e': "2"} // after %-
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		from := layouts
		if format[i] == '-' && i+1 < len(format) {
			i++
			from = bare
		}
		switch layout, ok := from[format[i]]; {
		case ok:
			b.WriteString(r.now.Format(layout))
		case format[i] == '%':
			b.WriteByte('%')
		case format[i] == 'f':
			b.WriteString(strings.TrimPrefix(r.now.Format(".000000"), "."))
		case format[i] == 'H': // of %-H
			b.WriteString(strings.TrimPrefix(r.now.Format("15"), "0"))
		default:
			panic(r.errorf("strftime_now does not know %%%c", format[i]))
		}
	}
	return b.String()
}
