package tokenizer

import (
	"math"
	"strings"
	"unicode/utf8"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/tokenizer/pattern"
)

// unigram divides a text into the tokens with the largest sum of scores; of equal sums the first found counts. A rune
// that is no token is the unknown token, with a score below all others.
type unigram struct {
	vocab  *vocab
	tokens *trie
	scores []float64
	unk    float64
	fuse   bool             // unknown tokens in a row are one
	known  map[string]int32 // unknown tokens in a row may make one of these together; nil: they do not
	bytes  *[256]int32      // what is unknown is spelled in these; nil: it is not
}

// unknownPenalty is how far the score of an unknown token lies below the least of the others.
const unknownPenalty = 10

// lattice is the memory of a run: for each place of the text the best way that ends there.
type lattice struct {
	best []lastToken
	ids  []int32
	// of the pieces of a word, last first, where unknown ones have to be looked up again
	from, to []int32
}

type lastToken struct {
	score float64
	from  int32
	id    int32
}

func (u *unigram) encode(dst []int32, word []byte, m *merger) []int32 {
	l := &m.lattice
	if cap(l.best) < len(word)+1 {
		l.best = make([]lastToken, len(word)+1)
	}
	l.best = l.best[:len(word)+1]
	for i := range l.best {
		l.best[i] = lastToken{math.Inf(-1), 0, none}
	}
	l.best[0].score = 0
	for at := 0; at < len(word); {
		_, size := utf8.DecodeRune(word[at:])
		here, single, node := l.best[at].score, false, int32(0)
		for end := at; end < len(word); end++ {
			if node = u.tokens.child(node, word[end]); node == 0 {
				break
			}
			if id := u.tokens.nodes[node].value; id != none {
				l.reach(at, end+1, id, here+u.scores[id])
				single = single || end+1 == at+size
			}
		}
		if !single {
			l.reach(at, at+size, u.vocab.unk, here+u.unk)
		}
		at += size
	}
	return u.back(dst, word, l)
}

// reach takes a way that ends with token id, if it is the best so far.
func (l *lattice) reach(from, to int, id int32, score float64) {
	if score > l.best[to].score {
		l.best[to] = lastToken{score, int32(from), id}
	}
}

// back appends the best way.
func (u *unigram) back(dst []int32, word []byte, l *lattice) []int32 {
	l.ids, l.from, l.to = l.ids[:0], l.from[:0], l.to[:0]
	for at := int32(len(word)); at > 0; at = l.best[at].from {
		b := l.best[at]
		if n := len(l.ids); u.fuse && b.id == u.vocab.unk && n > 0 && l.ids[n-1] == u.vocab.unk {
			l.from[n-1] = b.from
			continue
		}
		l.ids, l.from, l.to = append(l.ids, b.id), append(l.from, b.from), append(l.to, at)
	}
	for i := len(l.ids) - 1; i >= 0; i-- {
		id, text := l.ids[i], word[l.from[i]:l.to[i]]
		if id == u.vocab.unk {
			if known, ok := u.known[string(text)]; ok {
				id = known
			} else if u.bytes != nil {
				dst = appendBytes(dst, text, u.vocab, u.bytes)
				continue
			}
		}
		if id != none {
			dst = append(dst, id)
		}
	}
	return dst
}

// whole does not cut.
type whole struct{}

func (whole) cut(text string, _ place, _ *pattern.Scratch, yield func(word string)) {
	if text != "" {
		yield(text)
	}
}

// buildUnigram sets up a Unigram vocabulary of a GGUF file.
func buildUnigram(t *Tokenizer, meta *gguf.Metadata) error {
	v := t.vocab
	scores, err := readScored(meta, v, map[int32]*int32{1: &v.eos, 2: &v.unk})
	if err != nil {
		return err
	}
	chars, err := readCharsmap(meta)
	if err != nil {
		return err
	}
	merge, err := readFlag(meta, keySpaces, false)
	if err != nil {
		return err
	}
	if t.addSpacePrefix, err = readFlag(meta, keyPrefix, false); err != nil {
		return err
	}
	setUnigram(t, scores, &spaceNormalizer{chars: chars, prefix: t.addSpacePrefix, merge: merge, mark: spaceMark})
	t.addEOS = v.eos != none
	return nil
}

// setUnigram sets up the model, as llama.cpp does it: user-defined tokens cost nothing, and the normalizer leaves them
// alone.
func setUnigram(t *Tokenizer, scores []float32, n *spaceNormalizer) {
	v := t.vocab
	u := &unigram{vocab: v, scores: make([]float64, len(scores)), fuse: true}
	var texts, user []string
	var ids, userIDs []int32
	least := float32(math.MaxFloat32)
	for i, kind := range v.types {
		u.scores[i] = float64(scores[i])
		switch kind {
		case typeNormal:
			least = min(least, scores[i])
		case typeUser:
			u.scores[i] = 0
			user, userIDs = append(user, v.text[i]), append(userIDs, int32(i))
		case typeUnused:
		default:
			continue
		}
		texts, ids = append(texts, v.text[i]), append(ids, int32(i))
	}
	u.unk = float64(least - unknownPenalty)
	u.tokens, n.user = newTrie(texts, ids), newTrie(user, userIDs)
	t.model, t.cut, t.whole = u, whole{}, n.normalize
	t.escapeSpaces, t.cutsPrefix = true, true
}

// spaceNormalizer replaces by a charsmap and puts marks of spaces before words.
type spaceNormalizer struct {
	chars  *charsmap
	user   *trie  // tokens that stay as they are; nil: there are none
	prefix bool   // a mark before the text
	merge  bool   // one mark before each word, whatever spaces stand there
	mark   string // a space, or ▁
}

func (n *spaceNormalizer) normalize(text string, continued bool) string {
	var b strings.Builder
	b.Grow(len(text) + len(text)/4)
	inWord, began := continued, continued || !n.prefix
	for at := 0; at < len(text); {
		piece, size := n.next(text[at:])
		at += size
		for i := range len(piece) {
			if piece[i] != ' ' {
				if !inWord {
					inWord = true
					if !began || n.merge {
						b.WriteString(n.mark)
						began = true
					}
				}
				b.WriteByte(piece[i])
				continue
			}
			inWord = false
			if !n.merge {
				b.WriteString(n.mark)
			}
		}
	}
	return b.String()
}

// next is what the beginning of a text becomes, and how many bytes of it that takes.
func (n *spaceNormalizer) next(text string) (piece string, size int) {
	if n.user != nil {
		if _, size := n.user.longest(text, nil); size > 0 {
			return text[:size], size
		}
	}
	if n.chars != nil {
		if piece, size := n.chars.longest(text); size > 0 {
			return piece, size
		}
	}
	r, size := utf8.DecodeRuneInString(text)
	if r == utf8.RuneError && size == 1 {
		return string(utf8.RuneError), 1
	}
	return text[:size], size
}
