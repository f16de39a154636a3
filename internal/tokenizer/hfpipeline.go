package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/peftconv/peftconv/internal/tokenizer/pattern"
)

// pipeline sets up what happens to a text before the model: normalizers, then pre-tokenizers. b is the model where it
// is BPE, else nil. Three common shapes have code of their own, which is faster; all others run step by step.
func (f *hfFile) pipeline(t *Tokenizer, b *bpe) error {
	var err error
	if t.normalize, err = f.normalizer(); err != nil {
		return err
	}
	t.added = newAddedTokens(f.Added, t.normalize)
	steps := flatten(f.PreTokenizer, func(s *hfStep) []hfStep { return s.PreTokenizers })
	for _, s := range steps {
		if scheme := s.prependScheme(); s.Type == "Metaspace" && !slices.Contains(prependSchemes, scheme) {
			return fmt.Errorf("the pre-tokenizer Metaspace has the prepend_scheme %q, want one of %s", scheme,
				strings.Join(prependSchemes, ", "))
		}
	}
	plain := b != nil && b.prefix == "" && b.suffix == ""
	switch {
	case plain && f.words(t, steps):
		return nil
	case plain && byteLevelLast(steps):
		return f.byteLevel(t, b, steps)
	case plain && len(steps) == 1 && steps[0].Type == "Metaspace" && steps[0].Replacement == spaceMark && !b.ignoreMerges:
		steps[0].metaspace(t)
		return nil
	}
	return f.chain(t, steps)
}

// words takes a text whose spaces become ▁, and that nothing cuts, to pieces that merge apart from each other.
func (f *hfFile) words(t *Tokenizer, steps []hfStep) bool {
	form, prepends, ok := f.spaceForm()
	for _, s := range steps {
		// A Split at spaces finds none: they are ▁ by then.
		ok = ok && s.Type == "Split" && s.Pattern.String != nil && *s.Pattern.String == " "
	}
	if !ok || f.Model.IgnoreMerges {
		return false
	}
	t.addSpacePrefix, t.escapeSpaces = prepends, true
	if t.added.anyNormalized() {
		t.cutsPrefix, t.unmarks = true, true // such tokens are looked for in a text with ▁
	} else {
		t.normalize = form
	}
	t.cut, t.joinsUnknown = newPairCutter(t.vocab), t.vocab.fuseUnk
	return true
}

// byteLevelLast says whether the text is cut by expressions, and then spelled in bytes.
func byteLevelLast(steps []hfStep) bool {
	for i, s := range steps {
		last := i == len(steps)-1
		if (s.Type == "ByteLevel") != last || last && s.AddPrefixSpace && i > 0 || s.Type == "Metaspace" {
			return false
		}
	}
	return len(steps) > 0
}

func (f *hfFile) byteLevel(t *Tokenizer, b *bpe, steps []hfStep) error {
	last := steps[len(steps)-1]
	b.raw, t.kind = false, ByteLevel
	t.addSpacePrefix, t.unlessSpace = last.AddPrefixSpace, true
	var stages stageCutter
	for _, s := range steps[:len(steps)-1] {
		all, err := s.stages()
		if err != nil {
			return err
		}
		stages = append(stages, all...)
	}
	if last.UseRegex == nil || *last.UseRegex {
		s, err := compile(gpt2Words)
		if err != nil {
			return err
		}
		stages = append(stages, s)
	}
	t.cut = stages
	return nil
}

// metaspace sets up the step that writes spaces as ▁.
func (s *hfStep) metaspace(t *Tokenizer) {
	scheme := s.prependScheme()
	if scheme != "never" {
		t.addSpacePrefix, t.unlessSpace, t.firstOnly = true, true, scheme == "first"
	}
	t.escapeSpaces = true
	t.cut = everySpace{}
	if s.Split != nil && !*s.Split {
		t.cut, t.joinsUnknown = newPairCutter(t.vocab), t.vocab.fuseUnk
	}
}

// prependSchemes say where Metaspace puts ▁ before a text: never, before the first stretch, before each.
var prependSchemes = []string{"never", "first", "always"}

func (s *hfStep) prependScheme() string {
	switch {
	case s.PrependScheme != nil:
		return *s.PrependScheme
	case !s.AddPrefixSpace:
		return "never"
	}
	return "always"
}

// chain runs the pre-tokenizers one after the other.
func (f *hfFile) chain(t *Tokenizer, steps []hfStep) error {
	var c chain
	for _, s := range steps {
		switch s.Type {
		case "Metaspace":
			c = append(c, metaspaceStep{s.Replacement, s.prependScheme(), s.Split == nil || *s.Split})
		case "ByteLevel":
			step := byteStep{prefix: s.AddPrefixSpace}
			if s.UseRegex == nil || *s.UseRegex {
				var err error
				if step.words, err = compile(gpt2Words); err != nil {
					return err
				}
			}
			c = append(c, step)
			if f.Model.Type == "BPE" {
				t.kind = ByteLevel
			}
		default:
			stages, err := s.stages()
			if err != nil {
				return err
			}
			for _, stage := range stages {
				c = append(c, stageStep{stage})
			}
		}
	}
	t.cut, t.cutsPrefix = c, true
	return nil
}

// step is a pre-tokenizer: it cuts and rewrites a piece.
type step interface {
	apply(piece string, at place, s *pattern.Scratch, yield func(piece string, at place))
}

// chain is a cutter of several steps.
type chain []step

func (c chain) cut(text string, at place, s *pattern.Scratch, yield func(word string)) {
	if len(c) == 0 {
		if text != "" {
			yield(text)
		}
		return
	}
	c[0].apply(text, at, s, func(piece string, at place) {
		if piece != "" {
			c[1:].cut(piece, at, s, yield)
		}
	})
}

// stageStep is a step that only cuts.
type stageStep struct{ stage }

func (p stageStep) apply(piece string, at place, s *pattern.Scratch, yield func(piece string, at place)) {
	p.Split(piece, s, func(part string, _ bool) bool {
		if !strings.HasPrefix(piece, part) {
			at = afterToken // what stood at the beginning was dropped
		}
		yield(part, at)
		at = afterToken
		return true
	})
}

// metaspaceStep writes spaces as another rune, before the piece too, and cuts before each.
type metaspaceStep struct {
	mark, scheme string
	split        bool
}

func (m metaspaceStep) apply(piece string, at place, s *pattern.Scratch, yield func(piece string, at place)) {
	piece = strings.ReplaceAll(piece, " ", m.mark)
	prepends := m.scheme == "always" && at != continued || m.scheme == "first" && at == atStart
	if prepends && !strings.HasPrefix(piece, m.mark) {
		piece = m.mark + piece
	}
	if !m.split || m.mark == "" {
		yield(piece, at)
		return
	}
	stageStep{behaving{literal(m.mark), "MergedWithNext", false}}.apply(piece, at, s, yield)
}

// byteStep spells pieces in runes that stand for bytes, and cuts into words before that (nil: it does not).
type byteStep struct {
	prefix bool
	words  stage
}

func (b byteStep) apply(piece string, at place, s *pattern.Scratch, yield func(piece string, at place)) {
	if b.prefix && at != continued && !strings.HasPrefix(piece, " ") {
		piece = " " + piece
	}
	if b.words == nil {
		yield(spellBytes(piece), at)
		return
	}
	stageStep{b.words}.apply(piece, at, s, func(part string, at place) { yield(spellBytes(part), at) })
}

// stages are the stages of a step that only cuts.
func (s *hfStep) stages() ([]stage, error) {
	behavior := s.Behavior
	switch s.Type {
	case "Split":
		p, err := s.Pattern.compile()
		if err != nil {
			return nil, fmt.Errorf("the pre-tokenizer Split: %w", err)
		}
		b, err := newBehaving(p, behavior, s.Invert)
		return []stage{b}, err
	case "Digits":
		if s.Individual {
			return []stage{runes(unicode.IsNumber)}, nil
		}
		return []stage{behaving{runes(unicode.IsNumber), "Contiguous", false}}, nil
	case "Punctuation":
		if behavior == "" {
			behavior = "Isolated"
		}
		b, err := newBehaving(runes(isPunctuation), behavior, false)
		return []stage{b}, err
	case "BertPreTokenizer":
		return []stage{behaving{runes(unicode.IsSpace), "Removed", false}, runes(isPunctuation)}, nil
	case "Whitespace":
		return []stage{behaving{wordRuns{}, "Removed", true}}, nil
	case "WhitespaceSplit":
		return []stage{behaving{runes(unicode.IsSpace), "Removed", false}}, nil
	case "CharDelimiterSplit":
		if utf8.RuneCountInString(s.Delimiter) != 1 {
			return nil, fmt.Errorf("the pre-tokenizer CharDelimiterSplit has the delimiter %q, want one character", s.Delimiter)
		}
		return []stage{behaving{literal(s.Delimiter), "Removed", false}}, nil
	case "UnicodeScripts":
		return []stage{scriptStage{}}, nil
	case "FixedLength":
		n := 5
		if s.Length != nil {
			n = *s.Length
		}
		if n < 1 {
			return nil, fmt.Errorf("the pre-tokenizer FixedLength has the length %d, want at least 1", n)
		}
		return []stage{fixedLength(n)}, nil
	}
	return nil, fmt.Errorf("the pre-tokenizer %q is not supported", s.Type)
}

// isPunctuation is what BERT takes for it: that of Unicode, and symbols of ASCII.
func isPunctuation(r rune) bool {
	if r < utf8.RuneSelf {
		return unicode.IsPunct(r) || unicode.IsSymbol(r)
	}
	return unicode.IsPunct(r) && unicode.Is(categories(), r)
}

// runes is a stage whose matches are single runes.
type runes func(rune) bool

func (is runes) Split(text string, _ *pattern.Scratch, yield func(piece string, matched bool) bool) {
	from := 0
	for at, r := range text {
		if !is(r) {
			continue
		}
		_, n := utf8.DecodeRuneInString(text[at:])
		if at > from && !yield(text[from:at], false) || !yield(text[at:at+n], true) {
			return
		}
		from = at + n
	}
	if from < len(text) {
		yield(text[from:], false)
	}
}

// wordRuns is a stage whose matches are those of \w+|[^\w\s]+.
type wordRuns struct{}

func (wordRuns) Split(text string, _ *pattern.Scratch, yield func(piece string, matched bool) bool) {
	const space, word, other = 0, 1, 2
	from, last := 0, space
	for at, r := range text {
		class := other
		switch {
		case isWord(r):
			class = word
		case unicode.IsSpace(r):
			class = space
		}
		if class != last {
			if at > from && !yield(text[from:at], last != space) {
				return
			}
			from, last = at, class
		}
	}
	if from < len(text) {
		yield(text[from:], last != space)
	}
}

// fixedLength cuts into pieces of so many runes.
type fixedLength int

func (n fixedLength) Split(text string, _ *pattern.Scratch, yield func(piece string, matched bool) bool) {
	count, from := 0, 0
	for at := range text {
		if count == int(n) {
			if !yield(text[from:at], true) {
				return
			}
			count, from = 0, at
		}
		count++
	}
	if from < len(text) {
		yield(text[from:], true)
	}
}

// behaving does with the matches of a stage, or with what is between them (inverted), what a behavior says: keep them
// apart, drop them, join neighbours, join them to the piece before or after.
type behaving struct {
	stage
	behavior string
	inverted bool
}

func newBehaving(s stage, behavior string, inverted bool) (stage, error) {
	switch behavior {
	case "Isolated":
		return s, nil // inverted or not, all is kept
	case "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext":
		return behaving{s, behavior, inverted}, nil
	}
	return nil, fmt.Errorf("the behavior %q is not supported", behavior)
}

// Split goes through the text once. Merging with the next piece is done from the end in the tokenizers library, where
// of several matches in a row the last one joins what follows.
func (b behaving) Split(text string, m *pattern.Scratch, yield func(piece string, matched bool) bool) {
	if b.behavior == "Removed" {
		b.stage.Split(text, m, func(piece string, matched bool) bool {
			return matched != b.inverted || yield(piece, true)
		})
		return
	}
	from, at := 0, 0 // the piece in hand is text[from:at]
	last := false    // it ends with a match
	flush := func() bool {
		ok := at == from || yield(text[from:at], true)
		from = at
		return ok
	}
	stopped := false
	b.stage.Split(text, m, func(piece string, matched bool) bool {
		matched = matched != b.inverted
		joins := map[string]bool{
			"Contiguous": matched == last, "MergedWithPrevious": matched && !last, "MergedWithNext": last && !matched,
		}[b.behavior]
		if !joins && !flush() {
			stopped = true
			return false
		}
		at += len(piece)
		last = matched
		return true
	})
	if !stopped {
		flush()
	}
}

// scriptStage cuts where the script changes. Spaces belong to what stands before them; those before the first letter
// are lost.
type scriptStage struct{}

func (scriptStage) Split(text string, _ *pattern.Scratch, yield func(piece string, matched bool) bool) {
	from, last := -1, ""
	for at, r := range text {
		script := scriptOf(r, last)
		if script == "" {
			continue
		}
		if script != last {
			if from >= 0 && !yield(text[from:at], true) {
				return
			}
			from = at
		}
		last = script
	}
	if from >= 0 {
		yield(text[from:], true)
	}
}

// scriptOf is the script of a rune as of Unicode 9, one for all of Japanese and Chinese; "" for a space and what has
// none. likely is looked at first.
func scriptOf(r rune, likely string) string {
	switch {
	case r == 'ー':
		return "Han"
	case r == ' ' || !unicode.Is(assigned(), r):
		return ""
	case r == '\u061c': // of Arabic since Unicode 10
		return "Common"
	case likely != "" && unicode.Is(unicode.Scripts[likely], r):
		return likely
	}
	for name, table := range unicode.Scripts {
		if unicode.Is(table, r) {
			if name == "Hiragana" || name == "Katakana" {
				return "Han"
			}
			return name
		}
	}
	return ""
}

// setReading finds out how tokens read: as the decoder says, or as the steps before the model left them.
func (f *hfFile) setReading(t *Tokenizer) {
	uses := func(s *hfStep, inside func(*hfStep) []hfStep, kind string) bool {
		for _, step := range flatten(s, inside) {
			if step.Type == kind {
				return true
			}
		}
		return false
	}
	decoders := func(s *hfStep) []hfStep { return s.Decoders }
	bytes := t.kind == ByteLevel || uses(f.Decoder, decoders, "ByteLevel")
	switch {
	case f.Model.Type == "WordPiece":
		t.reading, t.continuing = readWords, f.Model.Prefix
		t.addSpacePrefix, t.cutsPrefix = true, true
	case f.Model.Suffix != "":
		t.reading, t.continuing = readSuffixed, f.Model.Suffix
	case bytes:
		t.reading = readBytes
	default:
		t.reading = readMarks
	}
	if _, isChain := t.cut.(chain); isChain && t.reading == readMarks {
		for _, s := range t.cut.(chain) {
			if m, ok := s.(metaspaceStep); ok && m.scheme != "never" {
				t.addSpacePrefix, t.firstOnly = true, m.scheme == "first"
			}
		}
	}
}
