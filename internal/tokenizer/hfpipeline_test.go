package tokenizer

import (
	"testing"
)

// TestHFPipelines runs steps on small models. (integration compares them with the library on thousands of texts.)
func TestHFPipelines(t *testing.T) {
	step := func(kind string, set ...any) object {
		o := object{"type": kind}
		for i := 0; i < len(set); i += 2 {
			o[set[i].(string)] = set[i+1]
		}
		return o
	}
	pattern := object{"Regex": `[ab]`}
	numbered := func(tokens ...string) object {
		vocab := object{}
		for i, s := range tokens {
			vocab[s] = i
		}
		return vocab
	}
	words := object{"type": "WordLevel", "unk_token": "?", "vocab": numbered("?", "a", "b", "ab", "ba", "c", "ca", "bc",
		"abc", "é", "e", "漢", " ", ",", "12", "1", "2", "cab", "b,")}
	split := func(behavior string, invert bool) object {
		return step("Split", "pattern", pattern, "behavior", behavior, "invert", invert)
	}
	bytes := object{"type": "BPE", "vocab": numbered("Ġ", "a", "b", "Ġa", "Ã", "©", "ab"),
		"merges": []string{"Ġ a", "a b"}}
	suffixed := object{"type": "BPE", "vocab": numbered("a", "b</w>", "ab</w>", "?", "a</w>"),
		"merges": []string{"a b</w>"}, "unk_token": "?", "end_of_word_suffix": "</w>"}
	prefixed := object{"type": "BPE", "vocab": numbered("a", "##b", "ab", "?"), "merges": []string{"a ##b"},
		"unk_token": "?", "continuing_subword_prefix": "##"}
	pieces := object{"type": "WordPiece", "unk_token": "?", "max_input_chars_per_word": 4,
		"vocab": numbered("?", "a", "##b", "ab", "##abab")}
	unigram := object{"type": "Unigram", "unk_id": 0, "vocab": []any{[]any{"?", 0}, []any{"▁", -5}, []any{"▁a", -2},
		[]any{"b", -3}, []any{"▁ab", -4}}}
	metaspace := func(scheme string) object { return step("Metaspace", "replacement", "▁", "prepend_scheme", scheme) }
	for _, c := range []struct {
		name            string
		model           object
		normalizer, pre any
		text, want      string
	}{
		{"isolated", words, nil, split("Isolated", false), "cab", "c a b"},
		{"removed", words, nil, split("Removed", false), "abcab", "c"},
		{"inverted", words, nil, split("Removed", true), "cabc", "a b"},
		{"previous", words, nil, split("MergedWithPrevious", false), "cab", "ca b"},
		{"next", words, nil, split("MergedWithNext", false), "abc", "a bc"},
		{"contiguous", words, nil, split("Contiguous", false), "cabc", "c ab c"},
		{"string", words, nil, step("Split", "pattern", object{"String": "b"}, "behavior", "Isolated"), "aba", "a b a"},
		{"digits", words, nil, step("Digits", "individual_digits", true), "a12", "a 1 2"},
		{"numbers", words, nil, step("Digits"), "a12", "a 12"},
		{"punctuation", words, nil, step("Punctuation"), "b,", "b ,"},
		{"merged punctuation", words, nil, step("Punctuation", "behavior", "MergedWithPrevious"), "b,a", "b, a"},
		{"whitespace", words, nil, step("Whitespace"), " ab,\tc", "ab , c"},
		{"whitespace only", words, nil, step("WhitespaceSplit"), "b, ab", "b, ab"},
		{"bert", words, step("BertNormalizer"), step("BertPreTokenizer"), "É漢\x00AB,", "e 漢 ab ,"},
		{"delimiter", words, nil, step("CharDelimiterSplit", "delimiter", "c"), "abcba", "ab ba"},
		{"scripts", words, nil, step("UnicodeScripts"), " ab漢c", "ab 漢 c"},
		{"length", words, nil, step("FixedLength", "length", 2), "abca", "ab ca"},
		{"lower", words, step("Lowercase"), nil, "CAB", "cab"},
		{"strip", words, step("Strip", "strip_left", true, "strip_right", true), nil, " \tab\n", "ab"},
		{"accents", words, sequence("normalizers", step("NFD"), step("StripAccents")), nil, "é", "e"},
		{"replace", words, step("Replace", "pattern", object{"Regex": "x+"}, "content", "a"), nil, "cxxxb", "cab"},
		{"prepend", words, step("Prepend", "prepend", "c"), nil, "ab", "cab"},
		{"nmt", words, step("Nmt"), step("WhitespaceSplit"), "a\u200bb\x01", "a b"},
		{"precompiled", words, step("Precompiled", "precompiled_charsmap", charsmapOf('X', "ab")), nil, "cX", "cab"},
		{"bytes", bytes, nil, sequence("pretokenizers", step("WhitespaceSplit"),
			step("ByteLevel", "add_prefix_space", true, "use_regex", false)), "ab é", "Ġa b Ġ Ã ©"},
		{"normalized bytes", bytes, step("ByteLevel"), nil, " aé", "Ġa Ã ©"},
		{"suffix", suffixed, nil, step("Whitespace"), "ab a xab", "ab</w> a</w> ? ab</w>"},
		{"prefix", prefixed, nil, step("Whitespace"), "ab b", "ab ?"},
		{"pieces", pieces, nil, step("Whitespace"), "ab abb abababab aab", "ab ab ##b ? ?"},
		{"unigram", unigram, nil, metaspace("always"), "ab  b", "▁ab ▁ ▁ b"},
		{"first", unigram, nil, sequence("pretokenizers", step("WhitespaceSplit"), metaspace("first")), "ab b", "▁ab b"},
		{"unknown", unigram, nil, metaspace("never"), "xyb", "? b"},
	} {
		file := object{"model": c.model, "normalizer": c.normalizer, "pre_tokenizer": c.pre}
		tok, err := FromHF(hfDir(t, map[string]any{"tokenizer.json": file}))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := spell(tok, tok.Encode(c.text, true)); got != c.want {
			t.Errorf("%s: %q gives %s, want %s", c.name, c.text, got, c.want)
		}
	}
}

func TestHFAddedTokens(t *testing.T) {
	added := []object{
		{"id": 20, "content": "<x>", "special": true, "lstrip": true},
		{"id": 21, "content": "<x><y>", "special": true, "rstrip": true},
		{"id": 22, "content": "ba", "single_word": true},
		{"id": 23, "content": "CC", "normalized": true},
		{"id": 24, "content": "DD"},
	}
	file := object{"added_tokens": added, "normalizer": object{"type": "Lowercase"},
		"pre_tokenizer": object{"type": "Whitespace"}, "model": object{"type": "WordPiece", "unk_token": "?",
			"vocab": object{"?": 0, "a": 1, "##b": 2, "##a": 3, "c": 4, "d": 5, "##c": 6}},
		"post_processor": object{"type": "BertProcessing", "sep": []any{"?", 0}, "cls": []any{"a", 1}}}
	tok, err := FromHF(hfDir(t, map[string]any{"tokenizer.json": file}))
	if err != nil {
		t.Fatal(err)
	}
	checkEncodings(t, tok, []encoding{
		{"a \t<x> c", "a <x> c"}, {"a<x><y> \n c", "a <x><y> c"}, {"<x><x>", "<x> <x>"},
		{"a ba, aba ba", "a ba ? a ##b ##a ba"}, {"acc cc", "a CC CC"}, {"ddDDd", "? DD d"}, {"", ""},
	})
	if got := spell(tok, tok.EncodeWithSpecials("c")); got != "a c ?" {
		t.Errorf("with special tokens %s", got)
	}
	if got := spell(tok, tok.Encode("<x>", false)); got != "? ? ?" {
		t.Errorf("a control token that the text spells out is %s", got)
	}
	if got := tok.Decode(tok.Encode("ab ac", true)); got != "ab ac" {
		t.Errorf("decodes to %q", got)
	}
}
