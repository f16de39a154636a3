package pattern

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/dlclark/regexp2"
)

// expressions are those of real tokenizers, in the syntax that regexp2, the oracle of these tests, reads as well.
var expressions = []string{
	`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
	`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
	`[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_` + "`" + `{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
	`\p{N}`, `\p{N}{1,3}`, `[\r\n]`, `\s?\p{L}+`, `\s?\p{P}+`, `\s+$`, `[0-9][0-9][0-9]`, `[^\n]+|[\n]+`,
	` ?[^(\s|.,!?…。，、।۔،)]+`,
	`\d{1,3}(?=(?:\d{3})*\b)`, `(?=(\d{3})+(?!\d))`,
	`(?:'[sS]|'[tT])|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+`,
	`((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+`,
	`a+?b|(?:ab|a)*?c|[b-d]{2,3}?x|(?:x|y){2,}|z{0}q`, `\ba\w*|\Bb`, `(?>a+)a|b`, `^a|b$`, `(?i)ä[k-m]`,
}

// pieces is what the oracle cuts s into.
func pieces(t *testing.T, re *regexp2.Regexp, s string) []string {
	t.Helper()
	text := []rune(s)
	var out []string
	done := 0
	m, err := re.FindRunesMatch(text)
	for ; m != nil && err == nil; m, err = re.FindNextMatch(m) {
		if m.Index > done {
			out = append(out, string(text[done:m.Index]))
		}
		if m.Length > 0 {
			out = append(out, m.String())
		}
		done = m.Index + m.Length
	}
	if err != nil {
		t.Fatal(err)
	}
	if done < len(text) {
		out = append(out, string(text[done:]))
	}
	return out
}

func split(p *Pattern, s string) []string {
	var out []string
	p.Split(s, &Scratch{}, func(piece string, _ bool) bool {
		out = append(out, piece)
		return true
	})
	return out
}

// alphabet has members of every class that the expressions ask for.
var alphabet = []rune("aabBzZqxk   '''..,!?-/\t\r\n\n0123459²½ⅧéÉöıǅʰªあ漢한кЙ\u0301\u05b0\u00a0\u0085\u2028\u3000\u200b\x00_€+`^|{}[]()\\😀\u0378\ue000…。，")

func randomText(r *rand.Rand, n int) string {
	var b strings.Builder
	for range n {
		c := alphabet[r.IntN(len(alphabet))]
		for range 1 + r.IntN(2)*r.IntN(4) {
			b.WriteRune(c)
		}
	}
	return b.String()
}

func TestAgainstRegexp2(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, expr := range expressions {
		p, re := MustCompile(expr), regexp2.MustCompile(expr, regexp2.None)
		if strings.Contains(expr, "$") && strings.HasSuffix(expr, "$") {
			re = regexp2.MustCompile(strings.TrimSuffix(expr, "$")+`\z`, regexp2.None)
		}
		for range 400 {
			s := randomText(r, r.IntN(30))
			if got, want := split(p, s), pieces(t, re, s); !slices.Equal(got, want) {
				t.Fatalf("%s\ncuts %q into\n%q, the oracle into\n%q", expr, s, got, want)
			}
		}
	}
}

func FuzzSplit(f *testing.F) {
	for i := range expressions {
		f.Add(i, "Hello, y'all! How are you 😁 ?我想在apple工作1314151天～\r\n  \n\t x")
	}
	f.Add(0, "\xff\xe3\x81 \xf0")
	compiled := make([]*Pattern, len(expressions))
	for i, expr := range expressions {
		compiled[i] = MustCompile(expr)
	}
	f.Fuzz(func(t *testing.T, which int, s string) {
		p := compiled[uint(which)%uint(len(compiled))]
		if got := strings.Join(split(p, s), ""); got != s {
			t.Fatalf("%s: pieces of %q join to %q", p, s, got)
		}
	})
}

func FuzzCompile(f *testing.F) {
	for _, expr := range expressions {
		f.Add(expr, "it's 1234 cats\n")
	}
	f.Add(`[\p{L}&&[^a-z]]++`, "aBc")
	f.Fuzz(func(t *testing.T, expr, s string) {
		if strings.Count(expr, "(") > 3 || strings.ContainsAny(expr, "{") || len(s) > 40 {
			return // a backtracking matcher may need exponential time
		}
		if p, err := Compile(expr); err == nil && strings.Join(split(p, s), "") != s {
			t.Fatalf("%q loses text of %q", expr, s)
		}
	})
}

// TestExponentialExpressions wants expressions that go back exponentially often to give up, and to lose no text.
func TestExponentialExpressions(t *testing.T) {
	text := strings.Repeat("0", 40)
	for _, expr := range []string{`0+*1`, `(0+)*1`, `(?:0|00)+1`} {
		p, err := Compile(expr)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(split(p, text), ""); got != text {
			t.Errorf("%s leaves %q", expr, got)
		}
	}
}

func TestWhatRegexp2Lacks(t *testing.T) {
	for _, c := range []struct{ expr, text, want string }{
		{`[^\r\n\p{L}\p{N}]?+\p{L}+| ?[^\s\p{L}\p{N}]++[\r\n]*`, " ab, c", " ab|,| c"},
		{`a*+a`, "aaa", "aaa"}, // nothing is given back, so nothing matches
		{`(?:ab|a)*+b`, "abab", "a|b|a|b"},
		{`(?i:'s|k)`, "'ſ'Kx", "'ſ|'|K|x"}, // the oracle folds ASCII only
		{`[\p{L}&&[^\p{Han}]]+`, "漢字kanji漢", "漢字|kanji|漢"},
		{`[[a-c][x-z]]+`, "abxzd", "abxz|d"},
		{`[a-z&&[^aeiou]&&[^b]]+`, "abcd", "ab|cd"},
		{`[^a&&\w]`, "ab", "a|b"},
		{`\p{Script=Greek}+|\P{L}+`, "αβ12x", "αβ|12|x"},
		{`\x{1F600}|\u00e9|\x41`, "😀éA", "😀|é|A"},
		{`a{,2}|{`, "a{,2}{", "a{,2}|{"},
		{`[]a]+`, "a]b", "a]|b"},
		{`[a-]+`, "-ab", "-a|b"},
		{`[\s\S]`, "\xff漢", "\xff|漢"},
		{`[^a]+`, "\xe3\x81a\xf0", "\xe3\x81|a|\xf0"},
		{`.+`, "a\nb", "a|\n|b"},
		{``, "ab", "a|b"},
	} {
		p, err := Compile(c.expr)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := strings.Join(split(p, c.text), "|"); got != c.want {
			t.Errorf("%s cuts %q into %q, want %q", c.expr, c.text, got, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	for expr, want := range map[string]string{
		`(a`:                       "missing )",
		`a)`:                       "unmatched )",
		`[a`:                       "missing ]",
		`[z-a]`:                    "bad range",
		`*a`:                       "* repeats nothing",
		`(?<x>a)`:                  "unknown kind of group",
		`\p{Nonsense}`:             `\p{Nonsense}`,
		`\p{L`:                     "missing }",
		`\x{110000}`:               "bad hexadecimal",
		`\xg1`:                     "bad hexadecimal",
		`\y`:                       `unknown escape \y`,
		`\`:                        "unexpected end",
		`a{3,2}`:                   "in order",
		`a{9999}`:                  "at most",
		`(?:a?)*`:                  "may be empty",
		`(?:(?:ab){999}){999}`:     "instructions",
		`(?=a)*`:                   "without width",
		`ab\q`:                     "byte 4",
		strings.Repeat("(", 99999): "too deep",
		strings.Repeat("[", 99999): "too deep",
	} {
		_, err := Compile(expr)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20s: error %v, want one with %q", expr, err, want)
		}
	}
}

func TestSets(t *testing.T) {
	for _, name := range []string{"L", "Lu", "M", "N", "P", "S", "Z", "Han", "Cyrillic"} {
		r, err := property(name)
		if err != nil {
			t.Fatal(err)
		}
		table := unicode.Categories[name]
		if table == nil {
			table = unicode.Scripts[name]
		}
		s, not := newSet(r), newSet(r.negate())
		for c := rune(0); c <= unicode.MaxRune; c++ {
			want := unicode.Is(table, c)
			for _, added := range additions[name] {
				want = want || c >= added[0] && c <= added[1]
			}
			if s.has(c) != want || not.has(c) == want {
				t.Fatalf("%s of %U: %v, negated %v, want %v", name, c, s.has(c), not.has(c), want)
			}
		}
	}
}

// A megabyte without a place to cut takes time in proportion to its length.
func TestLong(t *testing.T) {
	for _, expr := range append(expressions[:3:3], `\s+$`, `\s*x`) {
		p := MustCompile(expr)
		for _, s := range []string{"a", " ", "\n", "漢", "1", "'", " \n"} {
			text := strings.Repeat(s, 1<<20/len(s)) + "."
			if got := strings.Join(split(p, text), ""); got != text {
				t.Fatalf("%s loses text of a megabyte of %q", expr, s)
			}
		}
	}
}

func BenchmarkSplit(b *testing.B) {
	text := strings.Repeat("First Citizen:\nBefore we proceed any further, hear me speak 1234 times. It's good.\n\n", 1000)
	for i, expr := range expressions[:4] {
		b.Run(fmt.Sprint(i), func(b *testing.B) {
			p := MustCompile(expr)
			var m Scratch
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				p.Split(text, &m, func(string, bool) bool { return true })
			}
		})
	}
}

func ExamplePattern_Split() {
	p := MustCompile(` ?\p{L}+|\p{N}{1,3}`)
	p.Split("I count 12345.", &Scratch{}, func(piece string, matched bool) bool {
		fmt.Printf("%q %v\n", piece, matched)
		return true
	})
	// Output:
	// "I" true
	// " count" true
	// " " false
	// "123" true
	// "45" true
	// "." false
}
