package tokenizer

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/peftconv/peftconv/internal/tokenizer/pattern"
)

// Tokenizer is a vocabulary with its rules. It is safe for concurrent use.
type Tokenizer struct {
	kind   string
	vocab  *vocab
	pieces []string // what each token reads as
	model  model
	cut    cutter

	escapeSpaces   bool // spaces stand in tokens as ▁
	addSpacePrefix bool // a text begins as if a space stood before it, and so does what follows a special token,
	firstOnly      bool // but for the latter,
	unlessSpace    bool // and only where no space stands there
	cutsPrefix     bool // the cutter puts it there
	unmarks        bool // a normalized text has ▁ for spaces, which the cutter wants back
	joinsUnknown   bool // unknown tokens in a row are one, across the words that we cut
	addBOS, addEOS bool
	before, after  []int32             // special tokens around a text
	normalize      func(string) string // before everything else but special tokens; nil: nothing
	// whole is a normalizer that puts the space before the text itself: continued says that none belongs there. It
	// takes the place of normalize; nil: there is none.
	whole func(text string, continued bool) string
	dna   *dna // of HybridDNA

	reading    reading
	continuing string // the prefix or suffix that reading speaks of

	added   *addedTokens   // of a tokenizer.json: looked for first; nil: special is
	special []int32        // looked for first, longest first
	rstrip  map[int32]bool // special tokens that swallow the white space after them
	lstrip  map[int32]bool // special tokens that swallow the white space before them
	spare   *sync.Pool     // of *encoder
}

// model turns one word, cut and escaped, into ids.
type model interface {
	encode(dst []int32, word []byte, m *merger) []int32
}

// cutter cuts a text that holds no special tokens into words, in order.
type cutter interface {
	cut(text string, at place, s *pattern.Scratch, yield func(word string))
}

// place is where a stretch of text stands.
type place uint8

const (
	atStart    place = iota // at the beginning of the text
	afterToken              // after a special token, or inside of a stretch
	continued               // goes on after another text
)

// encoder is the memory of one run of Encode, and the words that it has seen.
type encoder struct {
	merger  merger
	scratch pattern.Scratch
	word    []byte
	ids     []int32
	cache   map[string][]int32
}

const (
	maxCached     = 1 << 16 // words in the cache of an encoder; it is emptied when full
	maxCachedWord = 64      // bytes of a word worth remembering
)

func (t *Tokenizer) init() {
	t.special = t.vocab.specials()
	t.spare = &sync.Pool{New: func() any { return &encoder{cache: map[string][]int32{}} }}
}

// Encode is the token ids of a text. BOS and EOS are not added. Control tokens that the text spells out (<s>,
// <|im_end|>) become those tokens if parseSpecial is set, and ordinary text otherwise.
func (t *Tokenizer) Encode(text string, parseSpecial bool) []int32 {
	return t.encode(text, parseSpecial, nil, atStart)
}

// EncodeContinuation is Encode for a text that goes on after another: no space is put before it. Where the cut
// between the two texts is also one between tokens, the ids are those of the whole.
func (t *Tokenizer) EncodeContinuation(text string, parseSpecial bool) []int32 {
	return t.encode(text, parseSpecial, nil, continued)
}

// EncodeLiteral is Encode with control tokens, or EncodeContinuation where the text goes on after another, of a text
// with places that spell no control tokens: one that overlaps such a place, in bytes, is ordinary text.
func (t *Tokenizer) EncodeLiteral(text string, literal []Place, continues bool) []int32 {
	at := atStart
	if continues {
		at = continued
	}
	return t.encode(text, true, literal, at)
}

// Place is a stretch of a text, in bytes.
type Place struct{ Start, End int }

// Controls are the places where a text spells control tokens.
func (t *Tokenizer) Controls(text string) (places []Place) {
	if t.added != nil {
		t.added.find(t.added.plain, text, true, nil, func(string) {}, func(a *addedToken, start, end int) {
			if a.hidden {
				places = append(places, Place{start, end})
			}
		})
		return places
	}
	for _, f := range t.fragments(text, true, nil) {
		if f.id != none && t.vocab.types[f.id] != typeUser {
			places = append(places, Place{f.start, f.end})
		}
	}
	return places
}

// EncodeWithSpecials is the ids of a whole text with the special tokens that the vocabulary puts around it. Control
// tokens that the text spells out become those tokens.
func (t *Tokenizer) EncodeWithSpecials(text string) []int32 {
	return slices.Concat(t.before, t.Encode(text, true), t.after)
}

// encode encodes a text. Control tokens are none where they overlap a literal place.
func (t *Tokenizer) encode(text string, parseSpecial bool, literal []Place, at place) []int32 {
	e := t.spare.Get().(*encoder)
	defer t.spare.Put(e)
	var ids []int32
	if len(text) > 256 {
		ids = make([]int32, 0, len(text)/3)
	}
	if t.added != nil {
		return t.encodeAdded(ids, text, parseSpecial, literal, at, e)
	}
	for _, f := range t.fragments(text, parseSpecial, literal) {
		if f.id != none {
			ids = append(ids, f.id)
		} else {
			ids = t.encodeText(ids, t.normalized(text[f.start:f.end], at), at, e)
		}
		at = afterToken
	}
	return ids
}

// normalized is a stretch of text as the words of the vocabulary have it.
func (t *Tokenizer) normalized(text string, at place) string {
	switch {
	case t.whole != nil:
		return t.whole(text, at == continued)
	case t.normalize != nil:
		return t.normalize(text)
	}
	return text
}

// encodeText encodes a normalized stretch without special tokens.
func (t *Tokenizer) encodeText(ids []int32, text string, at place, e *encoder) []int32 {
	if t.unmarks {
		text = strings.ReplaceAll(text, spaceMark, " ")
	}
	if t.dna != nil {
		return t.dna.encode(ids, text, func(ids []int32, text string) []int32 { return t.cutText(ids, text, at, e) })
	}
	return t.cutText(ids, text, at, e)
}

// cutText encodes the words of a stretch.
func (t *Tokenizer) cutText(ids []int32, text string, at place, e *encoder) []int32 {
	prefix := t.addSpacePrefix && !t.cutsPrefix && (at == atStart || at == afterToken && !t.firstOnly)
	if t.unlessSpace && (strings.HasPrefix(text, " ") || t.escapeSpaces && strings.HasPrefix(text, spaceMark)) {
		prefix = false
	}
	if prefix && !t.escapeSpaces {
		// Expressions have to see the space. The other cutters may leave it to the first word, which saves a copy.
		text, prefix = " "+text, false
	}
	t.cut.cut(text, at, &e.scratch, func(word string) {
		if prefix {
			word = " " + word
			prefix = false
		}
		ids = t.encodeWord(ids, word, e)
	})
	return ids
}

// Words are the stretches into which a text without special tokens is cut, before each is made of tokens by itself.
func (t *Tokenizer) Words(text string) []string {
	var words []string
	t.cut.cut(text, atStart, &pattern.Scratch{}, func(word string) { words = append(words, word) })
	return words
}

func (t *Tokenizer) encodeWord(ids []int32, word string, e *encoder) []int32 {
	if known, ok := e.cache[word]; ok {
		return t.join(ids, known)
	}
	for len(word) > maxWord/4 {
		// Positions in a word are 32 bits wide. No text that means anything has such words.
		ids = t.encodeWord(ids, word[:maxWord/4], e)
		word = word[maxWord/4:]
	}
	e.word = e.word[:0]
	for i := range len(word) {
		if word[i] == ' ' && t.escapeSpaces {
			e.word = append(e.word, spaceMark...)
			continue
		}
		e.word = append(e.word, word[i])
	}
	e.ids = t.model.encode(e.ids[:0], e.word, &e.merger)
	if len(word) <= maxCachedWord {
		if len(e.cache) >= maxCached {
			clear(e.cache)
		}
		e.cache[strings.Clone(word)] = slices.Clone(e.ids)
	}
	return t.join(ids, e.ids)
}

// join appends the ids of a word. Where unknown tokens fuse they do so across words.
func (t *Tokenizer) join(ids, word []int32) []int32 {
	v := t.vocab
	if t.joinsUnknown && len(ids) > 0 && len(word) > 0 && ids[len(ids)-1] == v.unk && word[0] == v.unk {
		word = word[1:]
	}
	return append(ids, word...)
}

// Kinds of vocabularies, as tokenizer.ggml.model names them.
const (
	ScoredBPE  = "llama"      // BPE as SentencePiece does it, with scores
	ByteLevel  = "gpt2"       // BPE over bytes, with merges
	Gemma4     = "gemma4"     // BPE over characters, with merges
	WordPiece  = "bert"       // the longest token first, word by word
	Unigram    = "t5"         // the tokens with the best sum of scores
	Whitespace = "whitespace" // BPE over characters; white space only divides words
	HybridDNA  = "hybriddna"  // ByteLevel, with six letters a token between <dna> and </dna>
)

// Kind is the kind of vocabulary: one of the constants above.
func (t *Tokenizer) Kind() string { return t.kind }

// Size is the number of tokens.
func (t *Tokenizer) Size() int { return len(t.vocab.text) }

// BOS is the token that begins a text; ok is false where the vocabulary has none.
func (t *Tokenizer) BOS() (id int32, ok bool) { return t.vocab.bos, t.vocab.bos != none }

// EOS is the token that ends a text; ok is false where the vocabulary has none.
func (t *Tokenizer) EOS() (id int32, ok bool) { return t.vocab.eos, t.vocab.eos != none }

// AddBOS says whether the model was trained on texts that begin with BOS.
func (t *Tokenizer) AddBOS() bool { return t.addBOS }

// AddEOS says whether the model was trained on texts that end with EOS.
func (t *Tokenizer) AddEOS() bool { return t.addEOS }

// IsEOG says whether generation ends at id: EOS, the end of a turn or message, and their like.
func (t *Tokenizer) IsEOG(id int32) bool { return t.vocab.eog[id] }

// EndTexts are the texts of the tokens that end generation.
func (t *Tokenizer) EndTexts() []string {
	var texts []string
	for _, id := range slices.Sorted(maps.Keys(t.vocab.eog)) {
		texts = append(texts, t.Piece(id))
	}
	return texts
}

// EOT is the token that ends a turn, and EOM the one that ends a message; ok is false where the vocabulary has none.
func (t *Tokenizer) EOT() (id int32, ok bool) { return t.vocab.eot, t.vocab.eot != none }

// EOM is described with EOT.
func (t *Tokenizer) EOM() (id int32, ok bool) { return t.vocab.eom, t.vocab.eom != none }

// Strips says whether a special token swallows the white space before it and after it.
func (t *Tokenizer) Strips(id int32) (before, after bool) { return t.lstrip[id], t.rstrip[id] }

// ID is the token whose text, as the vocabulary spells it, is text.
func (t *Tokenizer) ID(text string) (id int32, ok bool) {
	id, ok = t.vocab.ids[text]
	return id, ok
}
