package tokenizer

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// tokenType is what a token is for, numbered as in tokenizer.ggml.token_type.
type tokenType uint8

const (
	typeUndefined tokenType = iota
	typeNormal
	typeUnknown // stands for what the vocabulary cannot say
	typeControl // has no text of its own: <s>, <|im_end|>
	typeUser    // text that is one token whatever stands around it
	typeUnused
	typeByte // <0x00> to <0xFF>
)

// none is the id of a special token that a vocabulary does not have.
const none int32 = -1

// vocab is the tokens of a model and what is special about them.
type vocab struct {
	text  []string
	types []tokenType
	ids   map[string]int32

	bos, eos, eot, eom, unk int32
	fim                     []int32 // fill-in-the-middle tokens that end generation: pad, repository, file separator
	eog                     map[int32]bool
	maxLen                  int  // bytes of the longest token
	fuseUnk                 bool // several unknown tokens in a row are one
	dropsBytes              bool // a byte without a token is left out, not unknown
	trusted                 bool // a token that is normal by its type is never special by its text
}

// newVocab checks the tokens and numbers them.
func newVocab(text []string, types []tokenType) (*vocab, error) {
	if len(text) == 0 {
		return nil, errors.New("the vocabulary is empty")
	}
	v := &vocab{text: slices.Clone(text), types: types, ids: make(map[string]int32, len(text))}
	v.bos, v.eos, v.eot, v.eom, v.unk = none, none, none, none, none
	for i, s := range v.text {
		if s == "" {
			s = fmt.Sprintf("[EMPTY_%d]", i)
			v.text[i] = s
		}
		if first, twice := v.ids[s]; twice {
			return nil, fmt.Errorf("token %d is %q, as token %d is: a text may have one id only", i, s, first)
		}
		v.ids[s] = int32(i)
		v.maxLen = max(v.maxLen, len(s))
	}
	return v, nil
}

// id is the token of a text, or none.
func (v *vocab) id(text string) int32 {
	if id, ok := v.ids[text]; ok {
		return id
	}
	return none
}

// special is the token of a text that makes it special, or none.
func (v *vocab) special(text string) int32 {
	id := v.id(text)
	if id != none && v.trusted && v.types[id] == typeNormal {
		return none
	}
	return id
}

// first is the smallest id that one of the texts has, or none.
func (v *vocab) first(texts ...string) int32 {
	best := none
	for _, s := range texts {
		if id := v.special(s); id != none && (best == none || id < best) {
			best = id
		}
	}
	return best
}

// Texts by which llama.cpp recognises tokens that no key of the file names.
var (
	eotTexts = []string{"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>",
		"<EOT>", "_<EOT>", "[EOT]", "<｜end▁of▁sentence｜>", "<end_of_utterance>"}
	eomTexts = []string{"<|eom_id|>"}
	fimTexts = [][]string{
		{"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>",
			"<|prefix|>"},
		{"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>",
			"<|suffix|>"},
		{"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>", "<|middle|>"},
	}
	fimEndTexts = [][]string{
		{"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"},
		{"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"},
		{"<|file_sep|>"},
	}
	eogTexts = []string{"<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>",
		"<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>",
		"<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>", "<｜end▁of▁sentence｜>", "[e~["}
	harmonyTexts = []string{"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"}
)

// finish finds special tokens by their text, makes control tokens of them and collects the tokens that end generation.
func (v *vocab) finish() {
	v.eog = map[int32]bool{}
	mark := func(id int32) int32 {
		if id != none {
			v.types[id] = typeControl
		}
		return id
	}
	if v.eot == none {
		v.eot = mark(v.first(eotTexts...))
	}
	if v.eom == none {
		v.eom = mark(v.first(eomTexts...))
	}
	for _, texts := range fimTexts {
		mark(v.first(texts...))
	}
	for i, texts := range fimEndTexts {
		if v.fim[i] == none {
			v.fim[i] = mark(v.first(texts...))
		}
		v.eog[v.fim[i]] = true
	}
	for _, s := range eogTexts {
		v.eog[mark(v.special(s))] = true
	}
	for _, s := range harmonyTexts {
		if id := v.special(s); id != none {
			v.types[id] = typeUser
		}
	}
	v.eog[v.eos], v.eog[v.eot], v.eog[v.eom] = true, true, true
	delete(v.eog, none)
	v.exceptions()
}

// exceptions undoes the lists where a vocabulary uses the text for something else.
func (v *vocab) exceptions() {
	has := func(s string) bool { return v.eog[v.id(s)] }
	calls := has("<|call|>") || has("<|calls|>")
	if calls && has("<|end|>") && (has("<|return|>") || has("<|flush|>")) {
		// Here <|end|> ends one message of several.
		delete(v.eog, v.id("<|end|>"))
		v.types[v.id("<|end|>")] = typeUser
	}
	if has("<|tool_response>") && has("</s>") {
		delete(v.eog, v.id("</s>"))
		v.types[v.id("</s>")] = typeNormal
	}
}

// specials is the tokens that are looked for before all else, longest first.
func (v *vocab) specials() []int32 {
	var out []int32
	for i, t := range v.types {
		if t == typeControl || t == typeUser || t == typeUnknown {
			out = append(out, int32(i))
		}
	}
	slices.SortStableFunc(out, func(a, b int32) int { return len(v.text[b]) - len(v.text[a]) })
	return out
}

// byteTokens is the ids of <0x00> to <0xFF>; where one is missing, of the byte itself, or none.
func (v *vocab) byteTokens() (ids [256]int32) {
	for i := range ids {
		ids[i] = v.id(fmt.Sprintf("<0x%02X>", i))
		if ids[i] == none {
			ids[i] = v.id(string([]byte{byte(i)}))
		}
	}
	return ids
}

// byteOf is the byte that a byte token stands for.
func byteOf(text string) (byte, bool) {
	if len(text) != 6 || !strings.HasPrefix(text, "<0x") || text[5] != '>' {
		return 0, false
	}
	b, err := strconv.ParseUint(text[3:5], 16, 8)
	return byte(b), err == nil
}
