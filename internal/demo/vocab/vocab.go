// Package vocab trains a small vocabulary of the kind that llama models use: pieces of words merged pair by pair, the
// most frequent pair first, a word boundary written as "▁", and 256 byte tokens for whatever has no piece.
package vocab

import (
	"fmt"
	"sort"
	"strings"
)

// The kinds of token, as tokenizer.ggml.token_type counts them.
const (
	Normal  int32 = 1
	Unknown int32 = 2
	Control int32 = 3
	Byte    int32 = 6
)

// The tokens that every vocabulary begins with.
const (
	UNK = 0
	BOS = 1
	EOS = 2
)

// Space stands in a piece where the text has a space.
const Space = "▁"

// Vocabulary is what a GGUF file holds of one; the three slices are equally long.
type Vocabulary struct {
	Tokens []string
	Scores []float32
	Types  []int32
}

// Train makes a vocabulary of at most size tokens from a text: three control tokens, 256 bytes, the merges in the order
// in which they were found, and the single characters. It stops early when every word is one piece. Pieces never cross
// the borders between spaces, words and punctuation, and a line break is always a byte.
func Train(text string, size int) (*Vocabulary, error) {
	words := count(text)
	chars := alphabet(words)
	v := &Vocabulary{}
	v.add("<unk>", 0, Unknown)
	v.add("<s>", 0, Control)
	v.add("</s>", 0, Control)
	for b := range 256 {
		v.add(fmt.Sprintf("<0x%02X>", b), 0, Byte)
	}
	merges := size - len(v.Tokens) - len(chars)
	if merges < 0 {
		return nil, fmt.Errorf("a vocabulary of %d tokens has no room for 259 fixed tokens and %d characters", size,
			len(chars))
	}
	n := 0
	for ; n < merges; n++ {
		piece, ok := mergeBest(words)
		if !ok {
			break
		}
		v.add(piece, -float32(n), Normal)
	}
	for i, c := range chars {
		v.add(c, -float32(n+i), Normal)
	}
	return v, nil
}

func (v *Vocabulary) add(token string, score float32, kind int32) {
	v.Tokens = append(v.Tokens, token)
	v.Scores = append(v.Scores, score)
	v.Types = append(v.Types, kind)
}

// word is one of the text's different words in its present pieces.
type word struct {
	pieces []string
	count  int
}

// count splits the text into words and counts them; the result is sorted.
func count(text string) []*word {
	counts := map[string]int{}
	for _, line := range strings.Split(text, "\n") {
		for _, w := range split(line) {
			counts[w]++
		}
	}
	keys := make([]string, 0, len(counts))
	for k := range counts {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	words := make([]*word, len(keys))
	for i, k := range keys {
		words[i] = &word{strings.Split(k, ""), counts[k]}
	}
	return words
}

// split cuts a line into runs of letters and single other characters, each with the one space before it.
func split(line string) []string {
	var words []string
	start, letters, space := 0, false, false
	cut := func(i int) {
		if i > start {
			words = append(words, strings.Replace(line[start:i], " ", Space, 1))
		}
		start = i
	}
	for i, r := range line {
		isLetter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !space && !(isLetter && letters) || r == ' ' {
			cut(i)
		}
		letters, space = isLetter, r == ' '
	}
	cut(len(line))
	return words
}

func alphabet(words []*word) []string {
	seen := map[string]bool{}
	var chars []string
	for _, w := range words {
		for _, c := range w.pieces {
			if !seen[c] {
				seen[c] = true
				chars = append(chars, c)
			}
		}
	}
	sort.Strings(chars)
	return chars
}

// mergeBest joins the most frequent pair of neighbours everywhere; of equals the first in the order of their text. It
// is false when no pair is left that occurs twice.
func mergeBest(words []*word) (string, bool) {
	pairs := map[[2]string]int{}
	for _, w := range words {
		for i := 0; i+1 < len(w.pieces); i++ {
			pairs[[2]string{w.pieces[i], w.pieces[i+1]}] += w.count
		}
	}
	var best [2]string
	most := 1
	for p, n := range pairs {
		if n > most || n == most && n > 1 && less(p, best) {
			best, most = p, n
		}
	}
	if most < 2 {
		return "", false
	}
	for _, w := range words {
		w.merge(best)
	}
	return best[0] + best[1], true
}

func less(p, q [2]string) bool {
	return p[0] < q[0] || p[0] == q[0] && p[1] < q[1]
}

func (w *word) merge(pair [2]string) {
	out := w.pieces[:0]
	for i := 0; i < len(w.pieces); i++ {
		if i+1 < len(w.pieces) && w.pieces[i] == pair[0] && w.pieces[i+1] == pair[1] {
			out = append(out, pair[0]+pair[1])
			i++
			continue
		}
		out = append(out, w.pieces[i])
	}
	w.pieces = out
}
