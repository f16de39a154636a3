package search

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/peftconv/peftconv/internal/template"
)

// encodedPrompt is the tokens of a record in a template, without the answer.
type encodedPrompt struct {
	ids   []int32 // BOS where there is one, and the prompt
	slots []int   // the token that is the word of each slot; -1 where that is not just one token
	words []bool  // tokens of the template's own words from the first slot on, which fluency is about
}

// encodePrompt gives the tokens of a rendered prompt: those of the whole text, as words may be
// tokenized together with their neighbours.
func (s *promptScorer) encodePrompt(r *template.Rendered) encodedPrompt {
	tok := s.base.Tokenizer
	p := encodedPrompt{ids: slices.Concat(s.bos, tok.Encode(r.Prompt, true))}
	p.words = make([]bool, len(p.ids))
	p.slots = slices.Repeat([]int{-1}, len(r.Slots))
	at := len(r.Prompt)
	for i := len(p.ids) - 1; i >= len(s.bos); i-- {
		end := at
		at = max(0, at-len(tok.Piece(p.ids[i]))) // a blank that the tokenizer put before the text is none of its bytes
		token := template.Span{From: at, To: end}
		if k := slices.Index(r.Slots, token); k >= 0 && token.From < token.To {
			p.slots[k] = i
		}
		p.words[i] = slices.ContainsFunc(r.Words, func(w template.Span) bool { return w.From <= at && at < w.To })
	}
	if at != 0 {
		return encodedPrompt{ids: p.ids, slots: slices.Repeat([]int{-1}, len(r.Slots)), words: make([]bool, len(p.ids))}
	}
	return p
}

// aligned says whether every slot is one token.
func (p *encodedPrompt) aligned() bool { return !slices.Contains(p.slots, -1) }

// splitWords cuts the words of a slot into the texts of their tokens.
func (s *promptScorer) splitWords(words string) ([]string, error) {
	var out []string
	for _, id := range s.base.Tokenizer.EncodeContinuation(words, false) {
		piece := s.base.Tokenizer.Piece(id)
		if !utf8.ValidString(piece) {
			return nil, fmt.Errorf("the words %q in a slot have a character that is no token of the model", words)
		}
		out = append(out, piece)
	}
	return out, nil
}

// slotWord is a word that a slot can have.
type slotWord struct {
	id   int32
	text string
}

// candidates are the words of a list that are one token each, or all words of the vocabulary.
func (s *promptScorer) candidates(list []string) ([]slotWord, error) {
	tok := s.base.Tokenizer
	var all []slotWord
	if list == nil {
		for id := range int32(min(tok.Size(), s.base.Model.Spec.Vocab)) {
			if piece := tok.Piece(id); template.IsWord(piece) {
				all = append(all, slotWord{id, piece})
			}
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("%s has no token that is a word, expected a list of candidates", s.base.Path)
		}
		return all, nil
	}
	seen := map[int32]bool{}
	for _, word := range list {
		for _, text := range []string{" " + word, word} {
			ids := tok.EncodeContinuation(text, false)
			if len(ids) == 1 && tok.Piece(ids[0]) == text && !seen[ids[0]] {
				seen[ids[0]] = true
				all = append(all, slotWord{ids[0], text})
				break
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("none of the %d candidates is a single token of %s", len(list), s.base.Path)
	}
	slices.SortFunc(all, func(a, b slotWord) int { return int(a.id) - int(b.id) })
	return all, nil
}
