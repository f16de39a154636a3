package jinja

import (
	"maps"
	"slices"
	"strings"
	"unicode"
)

func sortedNames(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

// dictMethod is a method of a Dict, or nil.
func (r *run) dictMethod(d *Dict, name string) any {
	var call func(r *run, a args) any
	switch name {
	case "items":
		call = func(r *run, _ args) any { return r.pairs(d) }
	case "keys":
		call = func(r *run, _ args) any { return r.list(slices.Clone(d.keys)) }
	case "values":
		call = func(r *run, _ args) any {
			out := make([]any, len(d.keys))
			for i, k := range d.keys {
				out[i] = d.values[k]
			}
			return r.list(out)
		}
	case "get":
		call = func(r *run, a args) any {
			if v, ok := d.values[r.key(a.get(0, "key", nil))]; ok {
				return v
			}
			return a.get(1, "default", nil)
		}
	case "copy":
		call = func(r *run, _ args) any {
			r.made(4 * itemBytes * d.Len())
			return d.Clone()
		}
	case "update", "pop", "popitem", "setdefault", "clear":
		panic(r.errorf("%s would change a mapping, which templates may not", name))
	default:
		return nil
	}
	return &function{name, call}
}

// method is a method of a string or a list, or nil.
func (r *run) method(v any, name string) any {
	switch v := v.(type) {
	case string, markup:
		s, _ := asString(v)
		if call := stringMethods[name]; call != nil {
			return &function{name, func(r *run, a args) any {
				r.read(v)
				return call(r, s, a)
			}}
		}
	case *List:
		return r.listMethod(v, name)
	}
	return nil
}

func (r *run) listMethod(l *List, name string) any {
	switch name {
	case "index":
		return &function{name, func(r *run, a args) any {
			for i, x := range l.Items {
				if r.equal(x, a.get(0, "value", nil)) {
					return int64(i)
				}
			}
			panic(r.errorf("index of a value that is not in the list"))
		}}
	case "count":
		return &function{name, func(r *run, a args) any {
			n := int64(0)
			for _, x := range l.Items {
				if r.equal(x, a.get(0, "value", nil)) {
					n++
				}
			}
			return n
		}}
	case "copy":
		return &function{name, func(r *run, _ args) any { return r.list(slices.Clone(l.Items)) }}
	case "append", "extend", "insert", "pop", "remove", "reverse", "sort", "clear":
		panic(r.errorf("%s would change a list, which templates may not", name))
	}
	return nil
}

var stringMethods map[string]func(r *run, s string, a args) any

func init() {
	changed := func(f func(string) string) func(r *run, s string, a args) any {
		return func(r *run, s string, _ args) any { return r.string(f(s)) }
	}
	all := func(f func(rune) bool) func(r *run, s string, a args) any {
		return func(_ *run, s string, _ args) any {
			return s != "" && strings.IndexFunc(s, func(c rune) bool { return !f(c) }) < 0
		}
	}
	trimmed := func(set func(s, chars string) string, space func(string, func(rune) bool) string) func(
		r *run, s string, a args) any {
		return func(r *run, s string, a args) any {
			if chars := a.get(0, "chars", nil); chars != nil {
				return set(s, r.str(chars))
			}
			return space(s, isSpace)
		}
	}
	affix := func(has func(s, part string) bool) func(r *run, s string, a args) any {
		return func(r *run, s string, a args) any {
			what := a.get(0, "prefix", nil)
			if l, ok := what.(*List); ok {
				return slices.ContainsFunc(l.Items, func(x any) bool { return has(s, r.str(x)) })
			}
			return has(s, r.str(what))
		}
	}
	place := func(index func(s, part string) int, must bool) func(r *run, s string, a args) any {
		return func(r *run, s string, a args) any {
			at := index(s, r.str(a.get(0, "sub", nil)))
			if at < 0 {
				if must {
					panic(r.errorf("a part that is not in the string"))
				}
				return int64(-1)
			}
			return int64(len([]rune(s[:at])))
		}
	}
	stringMethods = map[string]func(r *run, s string, a args) any{
		"upper":      changed(strings.ToUpper),
		"lower":      changed(strings.ToLower),
		"title":      changed(methodTitle),
		"capitalize": changed(capitalize),
		"strip":      trimmed(strings.Trim, strings.TrimFunc),
		"lstrip":     trimmed(strings.TrimLeft, strings.TrimLeftFunc),
		"rstrip":     trimmed(strings.TrimRight, strings.TrimRightFunc),
		"startswith": affix(strings.HasPrefix),
		"endswith":   affix(strings.HasSuffix),
		"find":       place(strings.Index, false),
		"rfind":      place(strings.LastIndex, false),
		"index":      place(strings.Index, true),
		"rindex":     place(strings.LastIndex, true),
		"isdigit":    all(unicode.IsDigit),
		"isalpha":    all(unicode.IsLetter),
		"isspace":    all(isSpace),
		"isalnum":    all(func(c rune) bool { return unicode.IsLetter(c) || unicode.IsDigit(c) }),
		"isupper":    func(_ *run, s string, _ args) any { return s == strings.ToUpper(s) && s != strings.ToLower(s) },
		"islower":    func(_ *run, s string, _ args) any { return s == strings.ToLower(s) && s != strings.ToUpper(s) },
		"count":      func(r *run, s string, a args) any { return int64(strings.Count(s, r.str(a.get(0, "sub", nil)))) },
		"removeprefix": func(r *run, s string, a args) any {
			return strings.TrimPrefix(s, r.str(a.get(0, "prefix", nil)))
		},
		"removesuffix": func(r *run, s string, a args) any {
			return strings.TrimSuffix(s, r.str(a.get(0, "suffix", nil)))
		},
		"replace": func(r *run, s string, a args) any {
			n := int(r.int(a.get(2, "count", int64(-1))))
			return r.replace(s, r.str(a.get(0, "old", nil)), r.str(a.get(1, "new", nil)), n)
		},
		"join": func(r *run, s string, a args) any {
			return filterJoin(r, a.get(0, "iterable", nil), args{list: []any{s}})
		},
		"format":     func(r *run, s string, a args) any { return r.braces(s, a) },
		"split":      func(r *run, s string, a args) any { return r.split(s, a, false) },
		"rsplit":     func(r *run, s string, a args) any { return r.split(s, a, true) },
		"splitlines": func(r *run, s string, a args) any { return r.splitlines(s, truth(a.get(0, "keepends", false))) },
		"partition":  func(r *run, s string, a args) any { return r.partition(s, r.str(a.get(0, "sep", nil)), false) },
		"rpartition": func(r *run, s string, a args) any { return r.partition(s, r.str(a.get(0, "sep", nil)), true) },
		"ljust":      func(r *run, s string, a args) any { return r.justify(s, a, true) },
		"rjust":      func(r *run, s string, a args) any { return r.justify(s, a, false) },
		"zfill":      func(r *run, s string, a args) any { return r.zfill(s, a) },
		"center":     func(r *run, s string, a args) any { return r.center(s, a) },
		"swapcase":   changed(swapcase),
	}
}

// methodTitle is str.title: a word is a run of letters.
func methodTitle(s string) string {
	inside := false
	return strings.Map(func(c rune) rune {
		was := inside
		inside = unicode.IsLetter(c)
		if was {
			return unicode.ToLower(c)
		}
		return unicode.ToUpper(c)
	}, s)
}

func swapcase(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsUpper(c) {
			return unicode.ToLower(c)
		}
		return unicode.ToUpper(c)
	}, s)
}

// zfill puts zeros behind the sign of a number.
func (r *run) zfill(s string, a args) any {
	sign := ""
	if strings.HasPrefix(s, "-") || strings.HasPrefix(s, "+") {
		sign, s = s[:1], s[1:]
	}
	width := r.int(a.get(0, "width", nil)) - int64(len(sign))
	return sign + r.justify(s, args{list: []any{width, "0"}}, false)
}

func (r *run) center(s string, a args) any {
	n := int64(len([]rune(s)))
	width := r.int(a.get(0, "width", nil))
	pad := max(width-n, 0)
	left := pad/2 + pad&width&1 // as Python divides an odd number
	return r.justify(r.justify(s, args{list: []any{n + left, a.get(1, "fillchar", " ")}}, false), a, true)
}

func (r *run) strings(parts []string) *List {
	r.room(int64(len(parts)), itemBytes)
	out := make([]any, len(parts))
	for i, p := range parts {
		out[i] = p
	}
	return &List{Items: out}
}

func (r *run) split(s string, a args, fromRight bool) any {
	n := int(r.int(a.get(1, "maxsplit", int64(-1))))
	sep := a.get(0, "sep", nil)
	if sep == nil {
		return r.fields(s, n, fromRight)
	}
	by := r.str(sep)
	if by == "" {
		panic(r.errorf("split by an empty string"))
	}
	r.room(int64(strings.Count(s, by)), itemBytes)
	switch {
	case n < 0:
		return r.strings(strings.Split(s, by))
	case !fromRight:
		return r.strings(strings.SplitN(s, by, n+1))
	}
	var out []string
	for ; n > 0; n-- {
		at := strings.LastIndex(s, by)
		if at < 0 {
			break
		}
		out = append(out, s[at+len(by):])
		s = s[:at]
	}
	out = append(out, s)
	slices.Reverse(out)
	return r.strings(out)
}

// fields splits at white space, at most n times where n is not negative.
func (r *run) fields(s string, n int, fromRight bool) any {
	words := strings.FieldsFunc(s, isSpace)
	if n < 0 || len(words) <= n {
		return r.strings(words)
	}
	if fromRight {
		rest := strings.TrimFunc(s, isSpace)
		for _, w := range words[len(words)-n:] {
			rest = strings.TrimRightFunc(rest[:strings.LastIndex(rest, w)], isSpace)
		}
		return r.strings(append([]string{rest}, words[len(words)-n:]...))
	}
	rest := s
	for _, w := range words[:n] {
		rest = strings.TrimLeftFunc(rest, isSpace)[len(w):]
	}
	return r.strings(append(words[:n:n], strings.TrimLeftFunc(rest, isSpace)))
}

func (r *run) splitlines(s string, keep bool) any {
	var out []string
	for s != "" {
		at := strings.IndexAny(s, "\n\r")
		if at < 0 {
			out = append(out, s)
			break
		}
		end := at + 1
		if strings.HasPrefix(s[at:], "\r\n") {
			end++
		}
		if keep {
			at = end
		}
		out = append(out, s[:at])
		s = s[end:]
	}
	return r.strings(out)
}

func (r *run) partition(s, sep string, last bool) any {
	at := strings.Index(s, sep)
	if last {
		at = strings.LastIndex(s, sep)
	}
	switch {
	case at >= 0:
		return r.tuple(s[:at], sep, s[at+len(sep):])
	case last:
		return r.tuple("", "", s)
	}
	return r.tuple(s, "", "")
}

func (r *run) justify(s string, a args, left bool) string {
	fill := r.str(a.get(1, "fillchar", " "))
	n := r.int(a.get(0, "width", nil)) - int64(len([]rune(s)))
	r.room(n, int64(len(fill)))
	pad := strings.Repeat(fill, int(max(n, 0)))
	if left {
		return s + pad
	}
	return pad + s
}
