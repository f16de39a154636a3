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
	c := newComparison(v, t)
	whole := f.tokenizer.Model.IgnoreMerges
	c.wholeWords = whole != nil && *whole
	return v.guess(c.fitting(), hash, o.Force)
}

// usual are the names of rules that many have; each stands for others with the same rules.
var usual = []string{"llama-bpe", "qwen2", "gpt-2", "gpt-4o", "tekken", "deepseek-v3"}

// samples are texts that rules cut in different ways.
var samples = []string{"1 12 123 1234 1234567", "a1b22c333", "I'm he'LL don't 'tis x's", "HELLO camelCase", "XMLHttp",
	"  two   spaces \n\n\n next\r\n \tx  ", "end...!!\n\nnew", " ?x -y", "a/b//c/\n", "नमस्ते दुनिया", "日本語テスト。中文",
	"한국어 ทดสอบ", "#tag @user $5.00 50%", "ÉCOLE été ǅ", "_x__y(z)", "…—„“«»", "１２３ ①② ½"}

// fitting are the names whose rules cut the reference text in the way that is wanted: first those that take whole words
// for tokens as the file does, then by how they cut samples, and of equal ones the usual first.
func (c *comparison) fitting() []string {
	var names []string
	ranks := map[string]int{}
	for _, name := range tokenizer.PreTokenizers() {
		if !c.fits(name) {
			continue
		}
		names = append(names, name)
		ranks[name] = 2 * c.differences()
		if !slices.Contains(usual, name) {
			ranks[name]++
		}
		if rules, err := tokenizer.RulesOf(name); err != nil || rules.IgnoreMerges != c.wholeWords {
			ranks[name] += 2 * (len(samples) + 1)
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return ranks[a] - ranks[b] })
	return names
}

// differences counts the samples that the pre-tokenizer that was looked at last cuts otherwise.
func (c *comparison) differences() (n int) {
	for i, text := range samples {
		if !slices.Equal(c.last.Words(text), c.words[i]) {
			n++
		}
	}
	return n
}

// guess handles a tokenizer that is in no table. Names whose rules cut the reference text in the same way are offered,
// and with force the first of them is taken.
func (v *Vocabulary) guess(fitting []string, hash string, force bool) error {
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
	return fmt.Errorf("%w; the rules of these cut it in the same way: %s; %s NAME names one, %s auto takes the first", err,
		strings.Join(fitting, ", "), preFlag, preFlag)
}

// comparison compares pre-tokenizers by the ids that they give for the reference text. It holds the tokens that occur
// in that text, so that a comparison takes no time.
type comparison struct {
	meta   gguf.Metadata
	ids    []int32 // that are wanted, numbered as the tokens here; -1 for others
	addBOS bool
	words  [][]string // of each sample
	err    error

	wholeWords bool                 // words that are tokens are these, whatever the merges say
	last       *tokenizer.Tokenizer // that was looked at
}

func newComparison(v *Vocabulary, t *tokenizer.Tokenizer) *comparison {
	text := tokenizer.ReferenceText()
	spelled := encodeBytes(text)
	c := &comparison{addBOS: t.AddBOS()}
	for _, text := range samples {
		c.words = append(c.words, t.Words(text))
	}
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
	c.last = t
	return err == nil && t.AddBOS() == c.addBOS && slices.Equal(t.Encode(tokenizer.ReferenceText(), true), c.ids)
}
