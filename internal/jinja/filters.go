package jinja

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

type (
	filterFunc func(r *run, v any, a args) any
	testFunc   func(r *run, v any, a args) bool
)

var filters map[string]filterFunc

// filterNamed is a filter. One that does not exist fails where it is reached, as in Jinja: templates have such in
// branches for other programs.
func filterNamed(name string) filterFunc {
	if f, ok := filters[name]; ok {
		return f
	}
	return func(r *run, _ any, _ args) any { panic(r.errorf("unknown filter %q", name)) }
}

func init() { // here, because filters apply filters
	filters = map[string]filterFunc{
		"abs":        filterAbs,
		"attr":       func(r *run, v any, a args) any { return r.attribute(v, r.str(a.get(0, "name", nil))) },
		"batch":      filterBatch,
		"capitalize": onString(capitalize),
		"count":      filterLength,
		"d":          filterDefault,
		"default":    filterDefault,
		"dictsort":   filterDictsort,
		"e":          filterEscape,
		"escape":     filterEscape,
		"first":      func(r *run, v any, _ args) any { return r.end(v, false) },
		"float":      filterFloat,
		"format":     func(r *run, v any, a args) any { return r.format(r.str(v), a) },
		"from_json":  filterFromJSON,
		"fromjson":   filterFromJSON,
		"groupby":    filterGroupby,
		"indent":     filterIndent,
		"int":        filterInt,
		"items":      filterItems,
		"join":       filterJoin,
		"last":       func(r *run, v any, _ args) any { return r.end(v, true) },
		"length":     filterLength,
		"list":       func(r *run, v any, _ args) any { return r.list(slices.Clone(r.iterate(v))) },
		"lower":      onString(strings.ToLower),
		"map":        filterMap,
		"max":        func(r *run, v any, a args) any { return r.extreme(v, a, 1) },
		"min":        func(r *run, v any, a args) any { return r.extreme(v, a, -1) },
		"reject":     func(r *run, v any, a args) any { return r.selected(v, a, false, false) },
		"rejectattr": func(r *run, v any, a args) any { return r.selected(v, a, true, false) },
		"replace":    filterReplace,
		"reverse":    filterReverse,
		"round":      filterRound,
		"safe":       func(r *run, v any, _ args) any { return markup(r.text(v)) },
		"select":     func(r *run, v any, a args) any { return r.selected(v, a, false, true) },
		"selectattr": func(r *run, v any, a args) any { return r.selected(v, a, true, true) },
		"slice":      filterSlice,
		"sort":       filterSort,
		"string":     func(r *run, v any, _ args) any { return r.text(v) },
		"sum":        filterSum,
		"title":      onString(title),
		"tojson":     filterTojson,
		"trim":       filterTrim,
		"truncate":   filterTruncate,
		"unique":     filterUnique,
		"upper":      onString(strings.ToUpper),
		"wordcount": func(r *run, v any, _ args) any {
			n := int64(0)
			for range strings.FieldsFuncSeq(r.text(v), isSpace) {
				n++
			}
			return n
		},
	}
}

// get is an argument by place or name, or its default.
func (a args) get(i int, name string, missing any) any {
	if i < len(a.list) {
		return a.list[i]
	}
	if v, ok := a.named[name]; ok {
		return v
	}
	return missing
}

// str is the text of a value that has to be a string.
func (r *run) str(v any) string {
	s, ok := asString(r.defined(v))
	if !ok {
		panic(r.errorf("%s, expected a string", kind(v)))
	}
	return s
}

// int is a value that has to be an integer.
func (r *run) int(v any) int64 {
	i, ok := asInt(r.defined(v))
	if !ok {
		panic(r.errorf("%s, expected an integer", kind(v)))
	}
	return i
}

// onString is a filter that changes the text of any value.
func onString(f func(string) string) filterFunc {
	return func(r *run, v any, _ args) any { return r.string(f(r.text(v))) }
}

func capitalize(s string) string {
	for i, c := range s {
		return string(unicode.ToUpper(c)) + strings.ToLower(s[i+len(string(c)):])
	}
	return s
}

// title begins each word with a capital; words end at white space, hyphens and opening brackets.
func title(s string) string {
	start := true
	return strings.Map(func(c rune) rune {
		begins := start
		start = isSpace(c) || strings.ContainsRune("-({[<", c)
		if begins {
			return unicode.ToUpper(c)
		}
		return unicode.ToLower(c)
	}, s)
}

var escaper = strings.NewReplacer("&", "&amp;", ">", "&gt;", "<", "&lt;", "'", "&#39;", `"`, "&#34;")

func escape(s string) string { return escaper.Replace(s) }

func filterEscape(r *run, v any, _ args) any {
	if m, ok := v.(markup); ok {
		return m
	}
	return markup(r.string(escape(r.text(v))))
}

func filterAbs(r *run, v any, _ args) any {
	switch v := r.defined(v).(type) {
	case float64:
		return math.Abs(v)
	case int64, bool:
		i, _ := asInt(v)
		return max(i, -i)
	}
	panic(r.errorf("abs of %s", kind(v)))
}

func filterDefault(r *run, v any, a args) any {
	_, missing := v.(undefined)
	if missing || truth(a.get(1, "boolean", false)) && !truth(v) {
		return a.get(0, "default_value", "")
	}
	return v
}

func filterLength(r *run, v any, _ args) any {
	switch v := v.(type) {
	case undefined:
		return int64(0)
	case string:
		return int64(len([]rune(v)))
	case markup:
		return int64(len([]rune(v)))
	case *List:
		return int64(len(v.Items))
	case *Dict:
		return int64(len(v.keys))
	}
	panic(r.errorf("%s has no length", kind(v)))
}

// end is the first or last item.
func (r *run) end(v any, last bool) any {
	all := r.iterate(v)
	switch {
	case len(all) == 0:
		return undefined{"the first or last of nothing"}
	case last:
		return all[len(all)-1]
	}
	return all[0]
}

func filterBatch(r *run, v any, a args) any {
	n := r.int(a.get(0, "linecount", nil))
	if n < 1 {
		panic(r.errorf("batch of %d", n))
	}
	var out []any
	for part := range slices.Chunk(r.iterate(v), int(n)) {
		part = slices.Clone(part)
		if fill := a.get(1, "fill_with", nil); fill != nil {
			r.room(n, itemBytes)
			for int64(len(part)) < n {
				part = append(part, fill)
			}
		}
		out = append(out, r.list(part))
	}
	return r.list(out)
}

// filterSlice divides items into some lists of nearly the same length.
func filterSlice(r *run, v any, a args) any {
	all, n := r.iterate(v), r.int(a.get(0, "slices", nil))
	if n < 1 {
		panic(r.errorf("%d slices", n))
	}
	r.room(n, itemBytes)
	fill := a.get(1, "fill_with", nil)
	var out []any
	each, more := int64(len(all))/n, int64(len(all))%n
	at := int64(0)
	for i := range n {
		end := at + each
		if i < more {
			end++
		}
		part := slices.Clone(all[at:end])
		if fill != nil && i >= more {
			part = append(part, fill)
		}
		out = append(out, r.list(part))
		at = end
	}
	return r.list(out)
}

func filterFloat(r *run, v any, a args) any {
	if s, ok := asString(v); ok {
		if f, err := strconv.ParseFloat(strings.TrimSpace(s), 64); err == nil {
			return f
		}
	} else if f, ok := asFloat(v); ok {
		return f
	}
	return a.get(0, "default", 0.0)
}

func filterInt(r *run, v any, a args) any {
	switch x := v.(type) {
	case bool, int64:
		i, _ := asInt(x)
		return i
	case bigInt:
		return x
	case float64:
		if !math.IsNaN(x) && !math.IsInf(x, 0) {
			return Number(strconv.FormatFloat(math.Trunc(x), 'f', 0, 64))
		}
	case string:
		s := strings.TrimSpace(x)
		if i, err := strconv.ParseInt(s, 10, 64); err == nil {
			return i
		}
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			return filterInt(r, f, a)
		}
	}
	return a.get(0, "default", int64(0))
}

func filterItems(r *run, v any, _ args) any {
	switch v := v.(type) {
	case undefined:
		return r.list(nil)
	case *Dict:
		return r.pairs(v)
	}
	panic(r.errorf("Can only get item pairs from a mapping."))
}

func (r *run) pairs(d *Dict) *List {
	out := make([]any, len(d.keys))
	for i, k := range d.keys {
		out[i] = r.tuple(k, d.values[k])
	}
	return r.list(out)
}

func (r *run) tuple(items ...any) *List {
	l := r.list(items)
	l.tuple = true
	return l
}

func filterJoin(r *run, v any, a args) any {
	all := r.iterate(v)
	sep := r.text(a.get(0, "d", ""))
	of := a.get(1, "attribute", nil)
	var b strings.Builder
	for i, x := range all {
		if of != nil {
			x = r.path(x, of)
		}
		s := r.text(x)
		if i > 0 {
			s = sep + s
		}
		r.made(len(s))
		b.WriteString(s)
	}
	return b.String()
}

// path is the attribute of a value that a dotted name, or a number, says.
func (r *run) path(v, attribute any) any {
	name, ok := asString(attribute)
	if !ok {
		return r.item(v, attribute)
	}
	for _, part := range strings.Split(name, ".") {
		if i, err := strconv.ParseInt(part, 10, 64); err == nil {
			v = r.item(v, i)
		} else {
			v = r.item(v, part)
		}
	}
	return v
}

// filterFromJSON is a filter of llama.cpp; transformers has none.
func filterFromJSON(r *run, v any, _ args) any {
	s := r.str(v)
	r.room(int64(len(s)), itemBytes)
	out, err := FromJSON([]byte(s))
	if err != nil {
		panic(r.errorf("from_json: %v", err))
	}
	return out
}

func filterMap(r *run, v any, a args) any {
	if !truth(v) {
		return r.list(nil)
	}
	all := r.iterate(v)
	out := make([]any, 0, len(all))
	of, byAttribute := a.named["attribute"]
	if !byAttribute && len(a.list) == 0 {
		panic(r.errorf("map needs a filter or an attribute"))
	}
	for _, x := range all {
		r.step(1)
		if byAttribute {
			x = r.path(x, of)
			if _, missing := x.(undefined); missing {
				if d, ok := a.named["default"]; ok {
					x = d
				}
			}
		} else {
			x = filterNamed(r.str(a.list[0]))(r, x, args{a.list[1:], a.named})
		}
		out = append(out, x)
	}
	return r.list(out)
}

// selected is the items that pass a test, or those that do not.
func (r *run) selected(v any, a args, byAttribute, pass bool) any {
	var of any
	rest := a.list
	if byAttribute {
		if len(rest) == 0 {
			panic(r.errorf("selectattr needs an attribute"))
		}
		of, rest = rest[0], rest[1:]
	}
	passes := func(_ *run, x any, _ args) bool { return truth(x) }
	if len(rest) > 0 {
		passes, rest = testNamed(r.str(rest[0])), rest[1:]
	}
	var out []any
	if !truth(v) {
		return r.list(nil)
	}
	for _, x := range r.iterate(v) {
		r.step(1)
		y := x
		if byAttribute {
			y = r.path(x, of)
		}
		if passes(r, y, args{rest, a.named}) == pass {
			out = append(out, x)
		}
	}
	return r.list(out)
}

func filterReplace(r *run, v any, a args) any {
	s, old, by := r.text(v), r.text(a.get(0, "old", "")), r.text(a.get(1, "new", ""))
	n := -1
	if c := a.get(2, "count", nil); c != nil {
		n = int(r.int(c))
	}
	return r.replace(s, old, by, n)
}

func (r *run) replace(s, old, by string, n int) string {
	r.room(int64(len(s)), 1)
	r.room(int64(strings.Count(s, old)), int64(len(by)))
	return strings.Replace(s, old, by, n)
}

func filterReverse(r *run, v any, _ args) any {
	if s, ok := asString(v); ok {
		runes := []rune(s)
		r.made(5 * len(runes))
		slices.Reverse(runes)
		return string(runes)
	}
	out := slices.Clone(r.iterate(v))
	slices.Reverse(out)
	return r.list(out)
}

func filterRound(r *run, v any, a args) any {
	f, ok := asFloat(r.defined(v))
	if !ok {
		panic(r.errorf("round of %s", kind(v)))
	}
	digits := r.int(a.get(0, "precision", int64(0)))
	_, whole := v.(int64)
	switch r.str(a.get(1, "method", "common")) {
	case "ceil":
		p := math.Pow(10, float64(digits))
		return math.Ceil(f*p) / p
	case "floor":
		p := math.Pow(10, float64(digits))
		return math.Floor(f*p) / p
	}
	if digits < 0 {
		p := math.Pow(10, float64(-digits))
		f = math.RoundToEven(f/p) * p
	}
	if whole { // Python's round of an integer is one
		return int64(f)
	}
	out, _ := strconv.ParseFloat(strconv.FormatFloat(f, 'f', int(min(max(digits, 0), 300)), 64), 64)
	return out
}

// sortKey is what an item is sorted by.
func (r *run) sortKey(v, attribute any, sensitive bool) any {
	if attribute != nil {
		v = r.path(v, attribute)
	}
	if s, ok := asString(v); ok && !sensitive {
		return strings.ToLower(s)
	}
	return v
}

func (r *run) sorted(all []any, by func(any) any, reverse bool) []any {
	out := slices.Clone(all)
	slices.SortStableFunc(out, func(x, y any) int {
		if reverse {
			x, y = y, x
		}
		return r.compare(by(x), by(y))
	})
	return out
}

func filterSort(r *run, v any, a args) any {
	sensitive, of := truth(a.get(1, "case_sensitive", false)), a.get(2, "attribute", nil)
	return r.list(r.sorted(r.iterate(v), func(x any) any { return r.sortKey(x, of, sensitive) },
		truth(a.get(0, "reverse", false))))
}

func filterDictsort(r *run, v any, a args) any {
	d, ok := v.(*Dict)
	if !ok {
		panic(r.errorf("dictsort of %s", kind(v)))
	}
	at := 0
	if r.str(a.get(1, "by", "key")) == "value" {
		at = 1
	}
	sensitive := truth(a.get(0, "case_sensitive", false))
	return r.list(r.sorted(r.pairs(d).Items, func(x any) any {
		return r.sortKey(x.(*List).Items[at], nil, sensitive)
	}, truth(a.get(2, "reverse", false))))
}

func filterGroupby(r *run, v any, a args) any {
	of := a.get(0, "attribute", nil)
	by := func(x any) any { return r.sortKey(x, of, truth(a.get(2, "case_sensitive", false))) }
	var out []any
	var group *List
	for _, x := range r.sorted(r.iterate(v), by, false) {
		if group == nil || r.compare(by(group.Items[0]), by(x)) != 0 {
			group = r.list(nil)
			out = append(out, r.tuple(r.path(x, of), group))
		}
		r.made(itemBytes)
		group.Items = append(group.Items, x)
	}
	return r.list(out)
}

func filterSum(r *run, v any, a args) any {
	sum := a.get(1, "start", int64(0))
	of := a.get(0, "attribute", nil)
	for _, x := range r.iterate(v) {
		if of != nil {
			x = r.path(x, of)
		}
		sum = r.binary(&binary{"+", &constant{sum}, &constant{x}}, nil)
	}
	return sum
}

func (r *run) extreme(v any, a args, sign int) any {
	sensitive, of := truth(a.get(0, "case_sensitive", false)), a.get(1, "attribute", nil)
	var best any = undefined{"the extreme of nothing"}
	for i, x := range r.iterate(v) {
		if i == 0 || sign*r.compare(r.sortKey(x, of, sensitive), r.sortKey(best, of, sensitive)) > 0 {
			best = x
		}
	}
	return best
}

func filterUnique(r *run, v any, a args) any {
	sensitive, of := truth(a.get(0, "case_sensitive", false)), a.get(1, "attribute", nil)
	seen := map[any]bool{}
	var out []any
	for _, x := range r.iterate(v) {
		if k := r.key(r.sortKey(x, of, sensitive)); !seen[k] {
			seen[k] = true
			out = append(out, x)
		}
	}
	return r.list(out)
}

func filterTrim(r *run, v any, a args) any {
	s := r.text(v)
	if chars := a.get(0, "chars", nil); chars != nil {
		return strings.Trim(s, r.str(chars))
	}
	return strings.TrimFunc(s, isSpace)
}

func filterTruncate(r *run, v any, a args) any {
	runes := []rune(r.text(v))
	r.made(4 * len(runes))
	n := int(r.int(a.get(0, "length", int64(255))))
	end := r.str(a.get(2, "end", "..."))
	if len(runes) <= n+int(r.int(a.get(3, "leeway", int64(5)))) {
		return string(runes)
	}
	head := string(runes[:max(n-len([]rune(end)), 0)])
	if !truth(a.get(1, "killwords", false)) {
		if at := strings.LastIndexByte(head, ' '); at >= 0 {
			head = head[:at]
		}
	}
	return head + end
}

func filterIndent(r *run, v any, a args) any {
	pad, ok := asString(a.get(0, "width", nil))
	if !ok {
		n := r.int(a.get(0, "width", int64(4)))
		r.room(n, 1)
		pad = strings.Repeat(" ", int(max(n, 0)))
	}
	lines := strings.Split(r.text(v), "\n")
	r.room(int64(len(lines)), int64(len(pad)+itemBytes))
	for i, line := range lines {
		if (i > 0 || truth(a.get(1, "first", false))) && (line != "" || truth(a.get(2, "blank", false))) {
			lines[i] = pad + line
		}
	}
	return strings.Join(lines, "\n")
}

var tests map[string]testFunc

// testNamed is for tests what filterNamed is for filters.
func testNamed(name string) testFunc {
	if f, ok := tests[name]; ok {
		return f
	}
	return func(r *run, _ any, _ args) bool { panic(r.errorf("unknown test %q", name)) }
}

func init() {
	isKind := func(f func(v any) bool) testFunc { return func(_ *run, v any, _ args) bool { return f(v) } }
	compared := func(op string) testFunc {
		return func(r *run, v any, a args) bool { return r.related(op, v, a.get(0, "other", undefined{"other"})) }
	}
	isString := func(v any) bool { _, ok := asString(v); return ok }
	whole := func(r *run, v any) int64 { return r.int(v) }
	tests = map[string]testFunc{
		"boolean":  isKind(func(v any) bool { _, ok := v.(bool); return ok }),
		"callable": isKind(func(v any) bool { _, ok := v.(*function); return ok }),
		"defined":  isKind(func(v any) bool { _, ok := v.(undefined); return !ok }),
		"divisibleby": func(r *run, v any, a args) bool {
			n := r.int(a.get(0, "num", nil))
			return n != 0 && whole(r, v)%n == 0
		},
		"even":     func(r *run, v any, _ args) bool { return whole(r, v)%2 == 0 },
		"odd":      func(r *run, v any, _ args) bool { return whole(r, v)%2 != 0 },
		"false":    isKind(func(v any) bool { return v == false }),
		"true":     isKind(func(v any) bool { return v == true }),
		"filter":   func(r *run, v any, _ args) bool { _, ok := filters[r.text(v)]; return ok },
		"test":     func(r *run, v any, _ args) bool { _, ok := tests[r.text(v)]; return ok },
		"float":    isKind(func(v any) bool { _, ok := v.(float64); return ok }),
		"integer":  isKind(func(v any) bool { _, ok := v.(int64); _, huge := v.(bigInt); return ok || huge }),
		"number":   isKind(func(v any) bool { _, ok := asFloat(v); return ok }),
		"mapping":  isKind(func(v any) bool { _, ok := v.(*Dict); return ok }),
		"none":     isKind(func(v any) bool { return v == nil }),
		"string":   isKind(isString),
		"escaped":  isKind(func(v any) bool { _, ok := v.(markup); return ok }),
		"iterable": isKind(iterable),
		"sequence": isKind(iterable),
		"lower": func(r *run, v any, _ args) bool {
			s := r.text(v)
			return s == strings.ToLower(s) && s != strings.ToUpper(s)
		},
		"upper": func(r *run, v any, _ args) bool {
			s := r.text(v)
			return s == strings.ToUpper(s) && s != strings.ToLower(s)
		},
		"sameas": func(r *run, v any, a args) bool {
			w := a.get(0, "other", undefined{})
			return kind(v) == kind(w) && r.equal(v, w)
		},
		"undefined": isKind(func(v any) bool { _, ok := v.(undefined); return ok }),
		"in":        func(r *run, v any, a args) bool { return r.contains(a.get(0, "seq", undefined{}), v) },
	}
	for op, names := range map[string][]string{
		"==": {"eq", "equalto", "=="}, "!=": {"ne", "!="}, ">": {"gt", "greaterthan", ">"}, ">=": {"ge", ">="},
		"<": {"lt", "lessthan", "<"}, "<=": {"le", "<="},
	} {
		for _, name := range names {
			tests[name] = compared(op)
		}
	}
}

func iterable(v any) bool {
	switch v.(type) {
	case string, markup, *List, *Dict, undefined:
		return true
	}
	return false
}
