package malformed

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"iter"
	"math"
	"strings"
)

// listed are variants that are written out.
func listed(list []Variant) iter.Seq[Variant] {
	return func(yield func(Variant) bool) {
		for _, v := range list {
			if !yield(v) {
				return
			}
		}
	}
}

// ChatTemplates are templates that cannot be read, do not end, or make more than any conversation is.
func ChatTemplates() iter.Seq[Variant] {
	var list []Variant
	add := func(lie, text string) { list = append(list, Variant{lie, []byte(text)}) }
	for _, text := range []string{"", "{{", "{%", "{#", "}}", "{% if %}", "{% if x %}", "{% endif %}",
		"{% for %}", "{{ }}",
		"{{ messages[", "{{ 'a", "{% set %}", "{{ a.b.c.d }}", "{{ messages[99].content }}", "{{ 1/0 }}",
		"{{ 1 % 0 }}",
		"{{ raise_exception('no') }}", "{{ undefined_function() }}", "{{ messages | no_such_filter }}",
		"{% include 'x' %}",
		"{% import 'x' as y %}", "{% extends 'x' %}", "{{ messages.__class__.__mro__ }}", "{{ 10 ** 1000000 }}",
		"{{ strftime_now('%Q%%%') }}", "{% break %}", "{% generation %}", "{{ none.x }}", "{{ '%s' % messages }}",
		"{% for m in messages %}{{ m.content }}", "{{ messages[0]['role'] + 1 }}",
		"{{ -9223372036854775808 // -1 }}"} {
		add(text, text)
	}
	add("a loop of 10^9", "{% for i in range(1000000000) %}{{ i }}{% endfor %}")
	add("loops in loops", strings.Repeat("{% for i in range(10000) %}", 8)+"x"+strings.Repeat("{% endfor %}", 8))
	add("a text of 10^10 bytes", "{{ 'x' * 10000000000 }}")
	add("a list of 10^9", "{{ ([0] * 1000000000) | length }}")
	add("doubling",
		"{% set ns = namespace(s='xx') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}")
	add("a macro of itself", "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}")
	add("a list in itself", "{% set a = [] %}{% set _ = a.append(a) %}{{ a }}{{ a == a }}{{ a | tojson }}")
	add("replace in replace",
		"{% set ns = namespace(s='a') %}{% for i in range(60) %}{% set ns.s = ns.s.replace('a', 'aa') %}"+
			"{% endfor %}{{ ns.s }}")
	add("deep brackets", "{{ "+strings.Repeat("(", 100_000)+"1"+strings.Repeat(")", 100_000)+" }}")
	add("deep ifs", strings.Repeat("{% if true %}", 50_000)+strings.Repeat("{% endif %}", 50_000))
	add("deep lists", "{{ "+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+" }}")
	add("not not not", "{{ "+strings.Repeat("not ", 100_000)+"true }}")
	add("a huge text", strings.Repeat("x", hugeText))
	add("indent of 10^9", "{{ 'x\\ny' | indent(1000000000) }}")
	add("a width of 10^9", "{{ '%1000000000d' % 1 }}{{ '{:>1000000000}'.format('x') }}")
	return listed(list)
}

// Configs are files of flags that no command takes, or that are odd.
func Configs(good []byte) iter.Seq[Variant] {
	var list []Variant
	add := func(lie, text string) { list = append(list, Variant{lie, []byte(text)}) }
	for _, text := range []string{"", "---", "- a\n- b\n", "text", "null", "42", "steps", "steps:",
		"steps: many", "steps: -1",
		"steps: 1.5", "steps: 1e99", "steps: [1, 2]", "steps: {a: 1}", "steps: .nan", "steps: 99999999999999999999",
		"lr: .inf", "lr: .nan", "lr: -1", "lr: [", "rank: 0", "rank: -8", "rank: 2147483648", "alpha: .nan",
		"a: &a [*a]",
		"unknown: 1", "config: x.yaml", "steps: 1\nsteps: 2\n", "\tsteps: 1", "steps: !!binary aGk=",
		"? [a, b]\n: c\n",
		"seq-len: 4294967297", "targets: [[a]]", "{", "}", "steps: \"\\xff\"", "%YAML 9.9\n---\nsteps: 1",
		"steps: *nothing",
		"seed: -1", "threads: 1000000000", "batch-tokens: 1000000000000"} {
		add(text, text)
	}
	add("an alias bomb", aliases())
	add("deep lists", "targets: "+strings.Repeat("[", 20_000)+strings.Repeat("]", 20_000))
	add("deep maps", strings.Repeat("a: {", 5_000)+strings.Repeat("}", 5_000))
	add("a huge text", "targets: "+strings.Repeat("x", hugeText))
	add("deep indentation", deepIndent())
	return func(yield func(Variant) bool) {
		m := &maker{yield: yield}
		for _, v := range list {
			m.add(v.Data, "%s", v.Lie)
		}
		m.bytes(good)
		m.texts(good)
	}
}

// aliases are lists of lists, ten times each.
func aliases() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 9 {
		from, to := string(rune('0'+i)), string(rune('1'+i))
		b.WriteString("a" + to + ": &a" + to + " [" + strings.Repeat("*a"+from+", ", 9) + "*a" + from + "]\n")
	}
	return b.String() + "targets: *a9\n"
}

func deepIndent() string {
	var b strings.Builder
	for i := range 500 {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// Records are lies in the records of a JSONL file, of which good has some lines.
func Records(good []byte) iter.Seq[Variant] {
	line, rest, _ := bytes.Cut(good, []byte("\n"))
	return func(yield func(Variant) bool) {
		m := &maker{yield: yield}
		for v := range JSON(line, 2) {
			m.add(join(v.Data, []byte("\n"), rest), "the first record: %s", v.Lie)
			m.add(join(good, v.Data, []byte("\n")), "the last record: %s", v.Lie)
		}
		m.texts(good)
		m.bytes(good)
	}
}

// Table are lies in a table of values with commas between them.
func Table(good []byte) iter.Seq[Variant] {
	return func(yield func(Variant) bool) {
		m := &maker{yield: yield}
		for _, text := range []string{"\"", "a,b\n1\n", "a,b\n1,2,3\n", "a,a\n1,2\n", ",\n,\n", "a\n\"x\"y\n",
			"a;b\n1;2\n",
			strings.Repeat("a,", 100_000) + "\n" + strings.Repeat("1,", 100_000), "a\n" + strings.Repeat("\"",
				99_999)} {
			m.add([]byte(text), "the text %.20q", text)
		}
		m.texts(good)
		m.bytes(good)
	}
}

// Gzip are lies in a compressed file, one that grows by a factor of 1000 among them.
func Gzip(good []byte) iter.Seq[Variant] {
	return func(yield func(Variant) bool) {
		m := &maker{yield: yield}
		m.bytes(good)
		m.add(compressed(func(w *gzip.Writer) {
			zeros := make([]byte, 1<<20)
			for range 200 {
				w.Write(zeros)
			}
		}), "200 MiB of zeros in one line")
		m.add(compressed(func(w *gzip.Writer) { w.Write([]byte("\x1f\x8b\x08\x00")) }), "a broken file in a file")
		m.add(join(good, good), "two files in one")
	}
}

func compressed(write func(w *gzip.Writer)) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	write(w)
	if w.Close() != nil {
		panic("malformed: a buffer cannot be written to")
	}
	return b.Bytes()
}

// Dat are lies in an importance matrix of the older form: in each of the numbers that its first entry begins with.
func Dat(good []byte) iter.Seq[Variant] {
	return func(yield func(Variant) bool) {
		m := &maker{yield: yield}
		name := int(binary.LittleEndian.Uint32(good[4:]))
		for _, f := range []struct {
			name string
			at   int
		}{{"number of entries", 0}, {"length of a name", 4}, {"number of windows", 8 + name},
			{"number of values", 12 + name},
			{"first value", 16 + name}} {
			for _, n := range []uint32{0, 1, 1 << 20, math.MaxInt32, 1 << 31, math.MaxUint32, 0x7fc00000} {
				data := bytes.Clone(good)
				binary.LittleEndian.PutUint32(data[f.at:], n)
				m.add(data, "%s %d", f.name, n)
			}
		}
		m.bytes(good)
	}
}
