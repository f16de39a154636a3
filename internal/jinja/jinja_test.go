package jinja

import (
	"strings"
	"testing"
)

// render compiles and renders a template with variables in JSON.
func render(t testing.TB, source, variables string) (string, []Span, error) {
	t.Helper()
	v, err := FromJSON([]byte(variables))
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := Compile(source)
	if err != nil {
		return "", nil, err
	}
	return tmpl.Render(v.(*Dict), goldenNow)
}

// The results are those of Jinja2 3.1 in transformers' configuration.
func TestRender(t *testing.T) {
	const variables = `{"s": "aäb", "n": 7, "f": 1.0, "big": 12345678901234567890, "none": null, "l": [3, 1, 2],
		"d": {"b": 1, "a": "x<y>&'\"", "items": 5}, "m": [{"k": "B", "v": 1}, {"k": "a", "v": 2}, {"k": "B"}]}`
	for _, c := range []struct{ source, want string }{
		{"{{ -7 % 3 }} {{ 7 % -3 }} {{ -7 // 2 }} {{ -7.5 % 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7 / 2 }}",
			"2 -2 -4 0.5 1024 0.5 3.5"},
		{"{{ 1e16 }} {{ 1e-5 }} {{ 1.0 }} {{ f }} {{ big }} {{ big + 1 > big }} {{ 9223372036854775807 + 1 }}",
			"1e+16 1e-05 1.0 1.0 12345678901234567890 True 9223372036854775808"},
		{"{{ none }}|{{ nothing }}|{{ true }}|{{ [1, 'a', none] }}|{{ (1,) }}|{{ {'a': \"it's\"} }}",
			`None||True|[1, 'a', None]|(1,)|{'a': "it's"}`},
		{"{{ s[1] }} {{ s[-1] }} {{ s[::-1] }} {{ s | length }} {{ l[1:] }} {{ l[:-1] }} {{ l[5:] }} {{ s[10] }}",
			"ä b bäa 3 [1, 2] [3, 1] [] "},
		{"{{ d | tojson }}", `{"b": 1, "a": "x<y>&'\"", "items": 5}`},
		{"{{ d | tojson(indent=2) }}", "{\n  \"b\": 1,\n  \"a\": \"x<y>&'\\\"\",\n  \"items\": 5\n}"},
		{"{{ s | tojson(ensure_ascii=true) }} {{ [] | tojson(indent=1) }} {{ l | tojson(separators=(',', ':')) }}", `"a\u00e4b" [] [3,1,2]`},
		{"{{ d | tojson(sort_keys=true) }}", `{"a": "x<y>&'\"", "b": 1, "items": 5}`},
		{"{{ d.items() | list }}{{ d['items'] }}{{ d.get('zz') }}{{ d.get('zz', 1) }}", `[('b', 1), ('a', 'x<y>&\'"'), ('items', 5)]5None1`},
		{"{% for k, v in d.items() %}{{ loop.index }}{{ k }}{% if not loop.last %},{% endif %}{% endfor %}", "1b,2a,3items"},
		{"{% for x in l if x > 1 %}{{ x }}{{ loop.length }}{% else %}none{% endfor %}{% for x in nothing %}{% else " +
			"%}none{% endfor %}", "3222none"},
		{"{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% break %}{% endfor %}", "3"},
		{"{% set x = 1 %}{% for y in l %}{% set x = y %}{% endfor %}{{ x }}", "1"},
		{"{% set ns = namespace(x=1) %}{% for y in l %}{% set ns.x = ns.x + y %}{% endfor %}{{ ns.x }}", "7"},
		{"{% macro f(a, b=a ~ '!') %}[{{ a }}{{ b }}{{ varargs }}{{ kwargs }}]{% endmacro %}{{ f(1) }}{{ f(1, 2, 3, z=4) " +
			"}}{{ f(b=1) }}",
			"[11!(){}][12(3,){'z': 4}][1(){}]"},
		{"{% macro f() %}<{{ caller(1) }}>{% endmacro %}{% call(x) f() %}{{ x }}{% endcall %}", "<1>"},
		{"{% filter upper | replace('A', 'b') %}a{% endfilter %}{% set x | trim %} y {% endset %}{{ x }}", "by"},
		{"{% for x in [1, [2, [3]]] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}{% endif %}{% " +
			"endfor %}", "1(2(3))"},
		{"{{ m | map(attribute='k') | join(',') }} {{ m | selectattr('v', 'defined') | list | length }} {{ m | " +
			"map(attribute='v', default=0) | sum }}", "B,a,B 2 3"},
		{"{{ m | groupby('k') | map('first') | list }} {{ l | sort }} {{ l | sort(reverse=true) | first }} {{ m | " +
			"map(attribute='k') | unique | list }}",
			"['a', 'B'] [1, 2, 3] 3 ['B', 'a']"},
		{"{{ '%s is %05.2f%%' | format('x', 3.14159) }} {{ '%d %(x)s' is string }} {{ 'a%sb' % 1 }} {{ '{} {} " +
			"{n:.1f}'.format(1, 2, n=3) }}",
			"x is 03.14% True a1b 1 2 3.0"},
		{"{{ ' a '.strip() }}{{ 'a,b'.split(',') }}{{ 'a b  c'.split(none, 1) }}{{ 'aXbX'.rstrip('X') }}{{ " +
			"'ab'.startswith(('x', 'a')) }}",
			"a['a', 'b']['a', 'b  c']aXbTrue"},
		{"{{ 'x' in d }} {{ 'b' in d }} {{ 2 in l }} {{ 'ä' in s }} {{ 1 not in l }} {{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }}",
			"False True True True False True False"},
		{"{{ n if n > 9 else 'small' }}{{ 'x' if false }}{{ nothing or 'or' }}{{ none and 1 }}{{ not n }}",
			"smallorNoneFalse"},
		{"{{ nothing | default('d') }}{{ '' | default('d', true) }}{{ none is none }}{{ nothing is undefined }}{{ d.zz is " +
			"defined }}{{ n is divisibleby 7 }}",
			"ddTrueTrueFalseTrue"},
		{"{{ strftime_now('%d %b %Y %H:%M, %A %-d %j') }}", "05 Mar 2026 09:07, Thursday 5 064"},
		{"a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  b\nc"},
		{"a\n  {%- if true -%}\n  b\n  {%- endif +%}\nc", "ab\nc"},
		{"{%+ if true +%}\nb{% endif %}", "\nb"},
		{"x {#- c -#} y{# c #}\nz {{- 1 -}} w", "xyz1w"},
		{"{% raw %}{{ x }}{% endraw %}{{ '}}' }}{{ {'a': {'b': 1}}['a'].b }}", "{{ x }}}}1"},
		{"{{ '<' | e }}{{ ('<b>' | safe) + '<' }}{{ 'a' 'b' }}{{ 'a\\n\\u00e4\\x41' }}{{ 3 | string | length }}",
			"&lt;<b>&lt;aba\näA1"},
		{"{{ range(3) | list }}{{ range(5, 0, -2) | list }}{{ 'ab' * 2 }}{{ [0] * 2 }}{{ 'A b' | title }}{{ 'é' | upper " +
			"}}", "[0, 1, 2][5, 3, 1]abab[0, 0]A BÉ"},
		{"{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ dict(x=1) }}{{ [1, 2] | batch(1) | list }}{{ 2.5 | round }}{{ " +
			"7 | float }}", "3{'x': 1}[[1], [2]]2.07.0"},
	} {
		got, _, err := render(t, c.source, variables)
		if err != nil || got != c.want {
			t.Errorf("%s\ngot  %q, %v\nwant %q", c.source, got, err, c.want)
		}
	}
}

func TestGeneration(t *testing.T) {
	const source = "{% for m in messages %}<{{ m.r }}>{% if m.r == 'a' %}{% generation %}{{ m.c }}</s>{% endgeneration " +
		"%}\n{% else %}{{ m.c }}{% endif %}{% endfor %}"
	text, spans, err := render(t, source, `{"messages": [{"r": "u", "c": "x"}, {"r": "a", "c": "yy"}, {"r": "a", "c": "z"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range spans {
		got = append(got, text[s.Start:s.End])
	}
	if strings.Join(got, "|") != "yy</s>|z</s>" {
		t.Errorf("spans %q of %q", got, text)
	}
	tmpl, err := Compile(source)
	if err != nil || !tmpl.HasGeneration() {
		t.Errorf("HasGeneration is false, error %v", err)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{"{{ raise_exception('No ' ~ 1) }}", "the template refuses: No 1"},
		{"a\n{{ x.y }}", `line 2 of the template: "x" is undefined`},
		{"{{ {}.a.b }}", `"a" is undefined`},
		{"{{ x + 'a' }}", `"x" is undefined`},
		{"{{ none + 'a' }}", "None + a string"},
		{"{{ [].append(1) }}", "templates may not"},
		{"{{ 1 | nosuch }}", `unknown filter "nosuch"`},
		{"{{ 1 is nosuch }}", `unknown test "nosuch"`},
		{"{{ x() }}", "cannot be called"},
		{"{{ 1 // 0 }}", "division by zero"},
		{"{% include 'x' %}", "read no files"},
		{"{% if x %}", "a block without endif"},
		{"{% for x in y %}{% endif %}", `unknown statement "endif"`},
		{"{{ 'a }}", "a string that does not end"},
		{"{{ (1 }}", "without its opening"},
		{"{{ 1 1 }}", `expected the end of the tag, found "1"`},
		{"{% break %}", "break outside of a loop"},
		{"{{ 1 ? 2 }}", `unexpected '?'`},
		{"{# c", "a comment"},
		{strings.Repeat("(", 1000), ""},
		{"{{ " + strings.Repeat("(", 1000) + strings.Repeat(")", 1000) + " }}", "nested deeper"},
		{strings.Repeat("{% if 1 %}", 1000), "nested deeper"},
	} {
		_, _, err := render(t, c.source, "{}")
		if c.want == "" {
			if err != nil {
				t.Errorf("%.60s: %v", c.source, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: error %v, want one with %q", c.source, err, c.want)
		}
	}
}

// Templates that would never end, or take all memory, end with an error.
func TestLimits(t *testing.T) {
	for name, source := range map[string]string{
		"loops in loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor " +
			"%}{% endfor %}{% endfor %}",
		"recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
		"mutual recursion": "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{% for x in [1] %}{{ f() }}{% endfor " +
			"%}{% endmacro %}{{ f() }}",
		"caller":         "{% macro f() %}{% call f() %}{% endcall %}{% endmacro %}{{ f() }}",
		"recursive loop": "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
		"a text doubled": "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% " +
			"endfor %}",
		"joined": "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% " +
			"endfor %}",
		"a list doubled": "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% " +
			"endfor %}",
		"a list in itself": "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% " +
			"endfor %}{{ ns.x }}",
		"as JSON": "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% " +
			"endfor %}{{ ns.x | tojson }}",
		"compared": "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] " +
			"%}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
		"deep": "{% set ns = namespace(x=[1]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor " +
			"%}{{ ns.x }}{{ ns.x == ns.x }}",
		"repeated":        "{{ 'abc' * 9999999999 }}",
		"a list repeated": "{{ [1] * 9999999999 }}",
		"a long range":    "{{ range(99999999999) }}",
		"replaced": "{% set ns = namespace(x='aaaa') %}{% for i in range(99) %}{% set ns.x = ns.x | " +
			"replace('a', 'aaaa') %}{% endfor %}",
		"a wide format": "{{ '%999999999d' % 1 }}",
		"a wide indent": "{{ 'a\\nb' | indent(99999999999) }}",
		"justified":     "{{ 'a'.ljust(99999999999) }}",
		"a large power": "{{ 9 ** 999999999 }}",
		"powers": "{% set ns = namespace(x=9) %}{% for i in range(99) %}{% set ns.x = ns.x ** 4096 %}{% " +
			"endfor %}",
		"output": "{% for a in range(99999) %}{% for b in range(99999) " +
			"%}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{% endfor %}{% endfor %}",
		"split": "{% set x = 'a ' * 1000000 %}{% for a in range(9999) %}{% set y = x.split() %}{% endfor %}",
		"searched": "{% set x = 'a ' * 1000000 %}{% for a in range(99999) %}{% if 'b' in x or x.find('b') > 0 " +
			"or x.strip() == '' %}{% endif %}{% endfor %}",
		"found":   "{% set x = 'a ' * 1000000 %}{% for a in range(99999) %}{% set y = x.find('b') %}{% endfor %}",
		"counted": "{% set x = 'a ' * 1000000 %}{% for a in range(99999) %}{% set y = x | wordcount %}{% endfor %}",
		"a long key": "{% set x = 'a ' * 1000000 %}{% set d = {} %}{% for a in range(99999) %}{% set y = d[x] %}{% " +
			"endfor %}",
		"many arguments": "{% macro f() %}{% endmacro %}{% set x = range(99999) %}{% for a in x %}{{ f(*x) }}{% endfor %}",
		"a representation": "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}" +
			"{% endfor %}{{ '%r' % (ns.x, ) }}",
		"a namespace in one": "{% set ns = namespace(x=1) %}{% set ns.x = [ns] %}{% for i in range(99999) %}{% for i in " +
			"range(99999) %}{% endfor %}{% endfor %}",
	} {
		tmpl, err := Compile(source)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := tmpl.Render(NewDict(), goldenNow); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzRender(f *testing.F) {
	f.Add("{% for m in messages %}{{ m.role | upper }}{{ m['content'][1:] ~ '\\n' }}{% endfor %}")
	f.Add("{%- set ns = namespace(x=[1, 2.5]) -%}{{ ns.x | tojson(indent=2) }}{# c #}{% raw %}{{{% endraw %}")
	f.Add("{% macro f(a, b=1) %}{{ a if a is defined else b }}{% endmacro %}{{ f(*[1], **{'b': 2}) }}{{ '%5s' % 1 }}")
	v, err := FromJSON([]byte(`{"messages": [{"role": "user", "content": "aä"}], "l": [1, 2.5, null, true], "d": {"a": {}}}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, source string) {
		tmpl, err := Compile(source)
		if err == nil {
			tmpl.render(v.(*Dict), goldenNow, Limits{Steps: 1e5, Bytes: 1 << 20})
		}
	})
}
