package hfvocab

import (
	"cmp"
	"fmt"
	"slices"
)

// tekken is the used part of a tekken.json.
type tekken struct {
	Config struct {
		Size     int `json:"default_vocab_size"`
		Specials int `json:"default_num_special_tokens"`
	} `json:"config"`
	Vocab []struct {
		Rank  int    `json:"rank"`
		Bytes []byte `json:"token_bytes"`
	} `json:"vocab"`
	Special []struct {
		Rank int    `json:"rank"`
		Text string `json:"token_str"`
	} `json:"special_tokens"`
}

// tekkenSpecials are the special tokens of files that do not list theirs.
var tekkenSpecials = []string{"<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]",
	"[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]",
	"[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"}

// readTekken reads a tekken.json: special tokens, and behind them sequences of bytes by rank. A merge is any cut of a
// sequence into two others.
func (v *Vocabulary) readTekken(f *files) error {
	var file tekken
	if _, err := f.readJSON(tekkenFile, &file); err != nil {
		return err
	}
	specials, size := file.Config.Specials, file.Config.Size
	words := size - specials
	switch {
	case specials < 0 || size > maxTokens || words < 256 || words > len(file.Vocab):
		return fmt.Errorf("%s: %d tokens, %d of them special, and %d sequences of bytes; expected as many as tokens "+
			"that are not special, at least 256", tekkenFile, size, specials, len(file.Vocab))
	case len(file.Special) > specials:
		return fmt.Errorf("%s: %d special tokens, expected at most %d", tekkenFile, len(file.Special), specials)
	}
	v.tokens, v.types, v.scores = make([]string, size), make([]int32, size), make([]float32, size)
	for i := range specials {
		v.tokens[i], v.types[i] = fmt.Sprintf("<SPECIAL_%d>", i), typeControl
		if file.Special == nil && i < len(tekkenSpecials) {
			v.tokens[i] = tekkenSpecials[i]
		}
	}
	for _, s := range file.Special {
		if s.Rank < 0 || s.Rank >= specials {
			return fmt.Errorf("%s: the special token %q has the rank %d, expected one below %d", tekkenFile, s.Text, s.Rank,
				specials)
		}
		v.tokens[s.Rank] = s.Text
	}
	ranks := make(map[string]int, words)
	for i, word := range file.Vocab[:words] {
		if _, twice := ranks[string(word.Bytes)]; twice || word.Rank != i {
			return fmt.Errorf("%s: the entry %d of vocab has the rank %d and %d bytes, expected a new sequence of that rank",
				tekkenFile, i, word.Rank, len(word.Bytes))
		}
		ranks[string(word.Bytes)] = i
		v.tokens[specials+i], v.types[specials+i] = encodeBytes(string(word.Bytes)), typeNormal
	}
	for i, word := range file.Vocab[256:words] {
		cuts := cutsOf(string(word.Bytes), ranks)
		if len(cuts) == 0 {
			return fmt.Errorf("%s: the sequence of rank %d (%q) is not two others", tekkenFile, 256+i, word.Bytes)
		}
		for _, cut := range cuts {
			v.merges = append(v.merges, encodeBytes(string(word.Bytes[:cut]))+" "+encodeBytes(string(word.Bytes[cut:])))
		}
	}
	return v.tekkenSpecials()
}

// cutsOf are the places at which a sequence is cut into two known ones, those of lower ranks first.
func cutsOf(word string, ranks map[string]int) []int {
	var cuts []int
	for at := 1; at < len(word); at++ {
		_, left := ranks[word[:at]]
		if _, right := ranks[word[at:]]; left && right {
			cuts = append(cuts, at)
		}
	}
	slices.SortStableFunc(cuts, func(a, b int) int {
		return cmp.Or(ranks[word[:a]]-ranks[word[:b]], ranks[word[a:]]-ranks[word[b:]])
	})
	return cuts
}

// tekkenSpecials finds the special tokens by their text.
func (v *Vocabulary) tekkenSpecials() error {
	v.specials = &specials{flags: []namedFlag{{"bos", true}, {"eos", false}}}
	for _, named := range []namedText{{"bos", "<s>"}, {"eos", "</s>"}, {"unk", "<unk>"}, {"pad", "<pad>"}} {
		id := slices.Index(v.tokens, named.text)
		if id < 0 && named.name == "pad" {
			id = slices.Index(v.tokens, "</s>")
		}
		if id < 0 {
			return fmt.Errorf("%s: no special token %q", tekkenFile, named.text)
		}
		v.specials.set(named.name, id, 0)
	}
	return nil
}

// namedText is the text of a special token.
type namedText struct{ name, text string }

// setTekken writes the tokens of a tekken.json, which have an order of their own.
func (v *Vocabulary) setTekken(w *writer) {
	w.set(keyMerges, v.merges)
	for _, n := range v.specials.ids {
		w.set(keyPrefix+idKeys[n.name], uint32(n.id))
	}
	v.setTokens(w)
	if name, ok := w.meta.String("general.architecture"); ok {
		w.set(name+".vocab_size", uint32(len(v.tokens)))
	}
	for _, n := range v.specials.flags {
		w.set(keyPrefix+"add_"+n.name+"_token", n.on)
	}
}
