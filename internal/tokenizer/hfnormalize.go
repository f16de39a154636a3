package tokenizer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/graphemes"
	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/unicode/rangetable"

	"github.com/peftconv/peftconv/internal/tokenizer/pattern"
)

// forms are the normalizers that are normal forms of Unicode.
var forms = map[string]norm.Form{"NFC": norm.NFC, "NFD": norm.NFD, "NFKC": norm.NFKC, "NFKD": norm.NFKD}

// assigned is the runes of Unicode 9, which the normal forms of the tokenizers library know.
var assigned = sync.OnceValue(func() *unicode.RangeTable { return rangetable.Assigned("9.0.0") })

// oldForm is a normal form as of Unicode 9: later runes neither change nor let anything past them.
func oldForm(form norm.Form) func(string) string {
	return func(text string) string {
		if form.IsNormalString(text) {
			return text // in the old form too
		}
		var b strings.Builder
		b.Grow(len(text))
		from := 0
		for at, r := range text {
			if r < utf8.RuneSelf || unicode.Is(assigned(), r) {
				continue
			}
			_, n := utf8.DecodeRuneInString(text[at:])
			b.WriteString(form.String(text[from:at]))
			b.WriteString(text[at : at+n])
			from = at + n
		}
		b.WriteString(form.String(text[from:]))
		return b.String()
	}
}

// normalizer is the function of all normalizers; nil: there are none.
func (f *hfFile) normalizer() (func(string) string, error) {
	var steps []func(string) string
	for _, s := range f.normalizers() {
		step, err := s.normalizer()
		if err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	switch len(steps) {
	case 0:
		return nil, nil
	case 1:
		return steps[0], nil
	}
	return func(text string) string {
		for _, step := range steps {
			text = step(text)
		}
		return text
	}, nil
}

func (f *hfFile) normalizers() []hfStep {
	return flatten(f.Normalizer, func(s *hfStep) []hfStep { return s.Normalizers })
}

// normalizer is the function of one step.
func (s *hfStep) normalizer() (func(string) string, error) {
	if form, ok := forms[s.Type]; ok {
		return oldForm(form), nil
	}
	switch s.Type {
	case "Lowercase":
		return lowercase, nil
	case "StripAccents":
		return func(text string) string { return without(text, unicode.M, assigned()) }, nil
	case "BertNormalizer":
		return s.bertNormalizer(), nil
	case "Nmt":
		return nmt, nil
	case "Strip":
		return s.strip, nil
	case "Prepend":
		return func(text string) string {
			if text == "" {
				return ""
			}
			return s.Prepend + text
		}, nil
	case "ByteLevel":
		return spellBytes, nil
	case "Replace":
		p, err := s.Pattern.compile()
		if err != nil {
			return nil, fmt.Errorf("the normalizer Replace: %w", err)
		}
		return func(text string) string { return replace(text, p, s.Content) }, nil
	case "Precompiled":
		if len(s.Charsmap) == 0 {
			return func(text string) string { return text }, nil
		}
		c, err := parseCharsmap(s.Charsmap)
		if err != nil {
			return nil, fmt.Errorf("the normalizer Precompiled: %w", err)
		}
		return c.replaceClusters, nil
	}
	return nil, fmt.Errorf("the normalizer %q is not supported", s.Type)
}

// compile is the expression of a pattern; a string stands for itself.
func (p hfPattern) compile() (stage, error) {
	switch {
	case p.String != nil && *p.String != "":
		return literal(*p.String), nil
	case p.Regex != nil:
		return compile(*p.Regex)
	}
	return nil, errors.New("neither a String nor a Regex to look for")
}

// literal is a stage whose matches are one string.
type literal string

func (l literal) Split(text string, _ *pattern.Scratch, yield func(piece string, matched bool) bool) {
	for text != "" {
		at := strings.Index(text, string(l))
		if at < 0 {
			yield(text, false)
			return
		}
		if at > 0 && !yield(text[:at], false) || !yield(text[at:at+len(l)], true) {
			return
		}
		text = text[at+len(l):]
	}
}

func replace(text string, p stage, content string) string {
	var b strings.Builder
	p.Split(text, new(pattern.Scratch), func(piece string, matched bool) bool {
		if matched {
			piece = content
		}
		b.WriteString(piece)
		return true
	})
	return b.String()
}

// lowercase maps each rune to lower case; one of them becomes two.
func lowercase(text string) string {
	if strings.Contains(text, "İ") {
		text = strings.ReplaceAll(text, "İ", "i\u0307")
	}
	return strings.Map(unicode.ToLower, text)
}

// without leaves out the runes of a table, as far as they are known.
func without(text string, table, known *unicode.RangeTable) string {
	return strings.Map(func(r rune) rune {
		if r >= utf8.RuneSelf && unicode.Is(table, r) && unicode.Is(known, r) {
			return -1
		}
		return r
	}, text)
}

func (s *hfStep) strip(text string) string {
	if s.StripLeft {
		text = strings.TrimLeftFunc(text, unicode.IsSpace)
	}
	if s.StripRight {
		text = strings.TrimRightFunc(text, unicode.IsSpace)
	}
	return text
}

// nmt drops control characters and turns white space of any kind into spaces.
func nmt(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 1 <= r && r <= 8, r == 0xb, 0xe <= r && r <= 0x1f, r == 0x7f, r == 0x8f, r == 0x9f:
			return -1
		case r == 9, r == 0xa, r == 0xc, r == 0xd, r == 0x1680, 0x200b <= r && r <= 0x200f, r == 0x2028, r == 0x2029,
			r == 0x2581, r == 0xfeff, r == 0xfffd:
			return ' '
		}
		return r
	}, text)
}

// bertNormalizer cleans the text, puts spaces around ideographs, strips accents and makes lower case, as far as asked.
func (s *hfStep) bertNormalizer() func(string) string {
	is := func(b *bool, def bool) bool {
		if b == nil {
			return def
		}
		return *b
	}
	clean, chinese, lower := is(s.CleanText, true), is(s.Chinese, true), is(s.Lowercase, true)
	strip, nfd := is(s.StripAccents, lower), oldForm(norm.NFD)
	return func(text string) string {
		if clean {
			text = strings.Map(cleaned, text)
		}
		if chinese {
			text = apartIdeographs(text)
		}
		if strip {
			text = without(nfd(text), unicode.Mn, categories())
		}
		if lower {
			text = lowercase(text)
		}
		return text
	}
}

// categories is the runes of Unicode 8: of later ones the tokenizers library knows no category.
var categories = sync.OnceValue(func() *unicode.RangeTable { return rangetable.Assigned("8.0.0") })

func cleaned(r rune) rune {
	switch {
	case r == '\t' || r == '\n' || r == '\r':
		return ' '
	case r == 0 || r == utf8.RuneError || unicode.Is(unicode.C, r) && unicode.Is(categories(), r):
		return -1
	case unicode.IsSpace(r):
		return ' '
	}
	return r
}

func apartIdeographs(text string) string {
	if !strings.ContainsFunc(text, isIdeograph) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if isIdeograph(r) {
			b.WriteByte(' ')
			b.WriteRune(r)
			b.WriteByte(' ')
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// spellBytes writes each byte as the rune that stands for it in byte-level vocabularies.
func spellBytes(text string) string {
	var b strings.Builder
	b.Grow(len(text) + len(text)/4)
	for i := range len(text) {
		b.WriteRune(runeOfByte[text[i]])
	}
	return b.String()
}

// replaceClusters replaces as the tokenizers library does: grapheme clusters of up to five bytes as wholes, the rune of
// others one by one, each by the replacement of its shortest known prefix.
func (c *charsmap) replaceClusters(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	shortest := func(s string) (piece string, ok bool) {
		c.each(s, func(p string, _ int) bool {
			piece, ok = p, true
			return false
		})
		return piece, ok
	}
	for clusters := graphemes.FromString(text); clusters.Next(); {
		cluster := clusters.Value()
		if len(cluster) < 6 {
			if piece, ok := shortest(cluster); ok {
				b.WriteString(piece)
				continue
			}
		}
		for _, r := range cluster {
			s := string(r)
			if piece, ok := shortest(s); ok {
				s = piece
			}
			b.WriteString(s)
		}
	}
	return b.String()
}

// spaceForm says how a text is prepared whose spaces become ▁, so that this can be left to the words: a normal form
// before that (nil: none), and whether ▁ is put before the text. ok is false for any other list of normalizers.
func (f *hfFile) spaceForm() (form func(string) string, prepends, ok bool) {
	steps := f.normalizers()
	if len(steps) > 0 {
		if n, is := forms[steps[0].Type]; is {
			form, steps = oldForm(n), steps[1:]
		}
	}
	marks := func(s hfStep) bool {
		return s.Type == "Replace" && s.Pattern.String != nil && *s.Pattern.String == " " && s.Content == spaceMark
	}
	prepends = slices.ContainsFunc(steps, func(s hfStep) bool { return s.Type == "Prepend" && s.Prepend == spaceMark })
	switch {
	case len(steps) == 1 && marks(steps[0]):
		return form, false, true
	case len(steps) == 2 && prepends && (marks(steps[0]) || marks(steps[1])):
		return form, true, true
	}
	return nil, false, false
}
