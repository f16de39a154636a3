package hfvocab

import (
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

// preFlag is the flag by which a user names a pre-tokenizer.
const preFlag = "--pre-tokenizer"

// findPreTokenizer finds the value of tokenizer.ggml.pre: the user's, or the one of the known models that give the same
// ids for the reference text.
func (v *Vocabulary) findPreTokenizer(f *files, o Options) error {
	if o.PreTokenizer != "" && !slices.Contains(tokenizer.PreTokenizers(), o.PreTokenizer) {
		return fmt.Errorf("%s %q is not known; known are %s", preFlag, o.PreTokenizer,
			strings.Join(tokenizer.PreTokenizers(), ", "))
	}
	t, err := tokenizer.FromHFFiles(f.overlay())
	switch {
	case err != nil && o.PreTokenizer != "":
		v.pre = o.PreTokenizer
		v.note("%s %s could not be checked: %v", preFlag, v.pre, err)
		return nil
	case err != nil:
		return fmt.Errorf("the pre-tokenizer cannot be found: %w; %s NAME names it", err, preFlag)
	}
	name, hash, known := tokenizer.PreTokenizerOf(t)
	runs := known && slices.Contains(tokenizer.PreTokenizers(), name)
	switch {
	case o.PreTokenizer != "":
		v.pre = o.PreTokenizer
		if known && name != v.pre {
			v.note("%s is %s, though the tokenizer is known as %s", preFlag, v.pre, name)
		}
		if c := newComparison(v, t); !runs && !c.fits(v.pre) {
			v.note("%s %s cuts the reference text otherwise than %s does", preFlag, v.pre, tokenizerFile)
		}
		return nil
	case runs:
		v.pre = name
		return nil
	case known: // the name of another kind of vocabulary
		return fmt.Errorf("the tokenizer is known as %s, which is no byte-level vocabulary; %s NAME names another", name,
			preFlag)
	}
	return v.guess(newComparison(v, t), hash, o.Force)
}

// guess handles a tokenizer that is in no table. Names whose rules cut the reference text in the same way are offered,
// and with force the first of them is taken.
func (v *Vocabulary) guess(c *comparison, hash string, force bool) error {
	var fitting []string
	for _, name := range tokenizer.PreTokenizers() {
		if c.fits(name) {
			fitting = append(fitting, name)
		}
	}
	if len(fitting) > 0 && force {
		v.pre = fitting[0]
		v.note("the tokenizer is in no table: %s was taken, whose rules cut the reference text in the same way, as do those "+
			"of %s", v.pre, strings.Join(fitting[1:], ", "))
		return nil
	}
	err := fmt.Errorf("unknown pre-tokenizer: no known model gives the hash %s for the reference text", hash)
	if len(fitting) == 0 {
		return fmt.Errorf("%w, and no known rules cut it in the same way; %s NAME names one", err, preFlag)
	}
	return fmt.Errorf("%w; the rules of these cut it in the same way: %s; %s NAME names one, --force takes the first", err,
		strings.Join(fitting, ", "), preFlag)
}

// comparison compares pre-tokenizers by the ids that they give for the reference text. It holds the tokens that occur
// in that text, so that a comparison takes no time.
type comparison struct {
	meta   gguf.Metadata
	ids    []int32 // that are wanted, numbered as the tokens here; -1 for others
	addBOS bool
	err    error
}

func newComparison(v *Vocabulary, t *tokenizer.Tokenizer) *comparison {
	text := tokenizer.ReferenceText()
	spelled := encodeBytes(text)
	c := &comparison{addBOS: t.AddBOS()}
	number := map[int32]int32{}
	var tokens, merges []string
	var types []int32
	bos, hasBOS := t.BOS()
	for i, token := range v.tokens {
		single := len([]rune(token)) == 1
		if single || int32(i) == bos && hasBOS || strings.Contains(spelled, token) || strings.Contains(text, token) {
			number[int32(i)] = int32(len(tokens))
			tokens, types = append(tokens, token), append(types, v.types[i])
		}
	}
	for _, merge := range v.merges {
		if strings.Contains(spelled, strings.Replace(merge, " ", "", 1)) {
			merges = append(merges, merge)
		}
	}
	for _, id := range t.Encode(text, true) {
		n, ok := number[id]
		if !ok {
			n = -1
		}
		c.ids = append(c.ids, n)
	}
	w := &writer{meta: &c.meta}
	w.set(keyModel, tokenizer.ByteLevel)
	w.set(keyTokens, tokens)
	w.set(keyTypes, types)
	w.set(keyMerges, merges)
	if hasBOS {
		w.set(keyPrefix+idKeys["bos"], uint32(number[bos]))
	}
	for _, flag := range v.specials.flags {
		if flag.name == "bos" {
			w.set(keyPrefix+"add_bos_token", flag.on)
		}
	}
	c.err = w.err
	return c
}

// fits reports whether a pre-tokenizer gives the ids that are wanted, and BOS where it is.
func (c *comparison) fits(name string) bool {
	if c.err != nil || c.meta.Set(keyPre, name) != nil {
		return false
	}
	t, err := tokenizer.FromGGUF(&c.meta)
	return err == nil && t.AddBOS() == c.addBOS && slices.Equal(t.Encode(tokenizer.ReferenceText(), true), c.ids)
}
