package attach

import "fmt"

// SameVocabulary is an error where the tokens of two bases are not the same ones in the same order: then probabilities
// of the one cannot be compared with those of the other. Of a base without a tokenizer only the number is known.
func SameVocabulary(a, b *Base) error {
	if n, m := a.Model.Spec.Vocab, b.Model.Spec.Vocab; n != m {
		return fmt.Errorf("%s has a vocabulary of %d tokens, %s one of %d: expected the same one", a.Path, n, b.Path, m)
	}
	if a.Tokenizer == nil || b.Tokenizer == nil {
		return nil
	}
	for id := range int32(min(a.Tokenizer.Size(), b.Tokenizer.Size())) {
		if p, q := a.Tokenizer.Piece(id), b.Tokenizer.Piece(id); p != q {
			return fmt.Errorf("token %d is %.40q in %s and %.40q in %s: expected the same vocabulary", id, p, a.Path, q, b.Path)
		}
	}
	return nil
}
