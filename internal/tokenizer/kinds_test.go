package tokenizer

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/tokenizer/pattern"
)

// listed is the metadata of a vocabulary of normal tokens, but for those in types.
func listed(t testing.TB, kind, tokens string, types map[string]int32, set map[string]any) *Tokenizer {
	t.Helper()
	list := strings.Fields(tokens)
	kinds := make([]int32, len(list))
	for i, s := range list {
		kinds[i] = 1
		if k, ok := types[s]; ok {
			kinds[i] = k
		}
	}
	return from(t, metadata(t, new(gguf.Metadata), merged(map[string]any{
		keyModel: kind, keyTokens: list, keyTypes: kinds}, set)))
}

type encoding struct{ text, want string }

func checkEncodings(t *testing.T, tok *Tokenizer, cases []encoding) {
	t.Helper()
	for _, c := range cases {
		if got := spell(tok, tok.Encode(c.text, true)); got != c.want {
			t.Errorf("%q gives %s, want %s", c.text, got, c.want)
		}
	}
}

func TestWordPiece(t *testing.T) {
	types := map[string]int32{"[UNK]": 3, "[CLS]": 3, "[SEP]": 3}
	keys := map[string]any{keyBOS: uint32(1), keySep: uint32(2), "tokenizer.ggml.unknown_token_id": uint32(0)}
	tok := listed(t, WordPiece, "[UNK] [CLS] [SEP] ▁un ▁want able ed ▁, ▁漢 ▁cafe ▁ᄀ a b", types, keys)
	checkEncodings(t, tok, []encoding{
		{"Unable, wanted", "▁un able ▁, ▁want ed"}, {"café CAFÉ cafe\u0301", "▁cafe ▁cafe ▁cafe"},
		{"wanted漢", "▁want ed ▁漢"}, {"wantx", "[UNK]"}, {"각", "▁ᄀ"}, {"un\x00able\u200b", "▁un able"},
		{"", ""}, {" \t\n", ""}, {"un[SEP]un", "▁un [SEP] ▁un"},
	})
	if got := spell(tok, tok.EncodeWithSpecials("un")); got != "[CLS] ▁un [SEP]" {
		t.Errorf("with special tokens %s", got)
	}
	if got := tok.Decode(tok.Encode("Unable, wanted", true)); got != "unable , wanted" {
		t.Errorf("decodes to %q", got)
	}
	keys[keyLower] = false
	tok = listed(t, WordPiece, "[UNK] [CLS] [SEP] ▁Un ▁un able ▁é", types, keys)
	checkEncodings(t, tok, []encoding{{"Unable unable é", "▁Un able ▁un able ▁é"}})
}

// charsmapOf is a precompiled map by which text a becomes b, written by hand: two units and what they lead to.
func charsmapOf(a byte, b string) []byte {
	units := make([]uint32, 512)
	const children, leaf = 256, 1
	units[0] = children << 10
	units[children^int(a)] = uint32(a) | 1<<8 | uint32(children^int(a)^leaf)<<10
	units[leaf] = 0 // the place of b
	data := binary.LittleEndian.AppendUint32(nil, uint32(4*len(units)))
	for _, u := range units {
		data = binary.LittleEndian.AppendUint32(data, u)
	}
	return append(append(data, b...), 0)
}

func TestUnigram(t *testing.T) {
	types := map[string]int32{"<pad>": 3, "</s>": 3, "<unk>": 2, "<user>": 4}
	scores := []float32{0, 0, 0, -3, -2, -5, -3, -3, -9, 0, -7}
	keys := map[string]any{keyScores: scores, keyPrefix: true, keySpaces: true, keyChars: charsmapOf('X', "ab")}
	tok := listed(t, Unigram, "<pad> </s> <unk> ▁a ▁ab ▁abc b c ▁ <user> a", types, keys)
	checkEncodings(t, tok, []encoding{
		{"ab", "▁ab"}, {"abc", "▁abc"}, {"  a   ab ", "▁a ▁ab"}, {"Xc", "▁abc"}, {"b", "▁ b"},
		{"zyb", "▁ <unk> b"}, {"\xff", "▁ <unk>"}, {"a<user>b", "▁a <user> ▁ b"}, {"", ""}, {"   ", ""},
	})
	if got := spell(tok, tok.EncodeWithSpecials("a")); got != "▁a </s>" {
		t.Errorf("with special tokens %s", got)
	}
	if got := spell(tok, tok.EncodeContinuation("b ab", true)); got != "b ▁ab" {
		t.Errorf("continued: %s", got)
	}
	if got := tok.Decode(tok.Encode("a ab", true)); got != "a ab" {
		t.Errorf("decodes to %q", got)
	}
	keys[keySpaces] = false
	tok = listed(t, Unigram, "<pad> </s> <unk> ▁a ▁ab ▁abc b c ▁ <user> a", types, keys)
	checkEncodings(t, tok, []encoding{{"a  ab ", "▁a ▁ ▁ab ▁"}})
}

func TestCharsmapNeverFails(t *testing.T) {
	whole := charsmapOf('X', "ab")
	for i := range whole {
		damaged := slices.Clone(whole)
		damaged[i] ^= 0xff
		if c, err := parseCharsmap(damaged); err == nil {
			c.longest("XXX")
			c.longest("\xffabc")
		}
		if c, err := parseCharsmap(whole[:i]); err == nil {
			c.longest("XXX")
		}
	}
}

func TestHybridDNA(t *testing.T) {
	tok := listed(t, HybridDNA, "<dna> </dna> <oov> ACGTAC\ue000 GTAAAA\ue000 a b ab AC", nil, map[string]any{
		keyMerges: []string{"a b"}, keyPre: "gpt-2"})
	checkEncodings(t, tok, []encoding{
		{"ab<dna>acgtacgt</dna>ab", "ab <dna> ACGTAC\ue000 GTAAAA\ue000 </dna> ab"},
		{"<dna>ACGTACNNNNNN", "<dna> ACGTAC\ue000 <oov>"}, {"<dna></dna>", "<dna> </dna>"},
	})
	if got := tok.Decode(tok.Encode("<dna>acgtac</dna>", true)); got != "<dna>ACGTAC</dna>" {
		t.Errorf("decodes to %q", got)
	}
}

func TestWhitespaceKind(t *testing.T) {
	keys := map[string]any{keyMerges: []string{"a b"}, keyPre: "whitespace", keyLower: true}
	tok := listed(t, Whitespace, "<0xC3> <0xA9> a b ab", nil, keys)
	checkEncodings(t, tok, []encoding{{" AB\t a  b\u3000é", "ab a b <0xC3> <0xA9>"}})
	delete(keys, keyLower)
	tok = listed(t, Whitespace, "A B a b ab", nil, keys)
	checkEncodings(t, tok, []encoding{{"AB ab", "A B ab"}})
}

// TestNoSpaceBeforeBytes: llama.cpp puts no space before the text of a byte-level vocabulary, whatever the file says.
func TestNoSpaceBeforeBytes(t *testing.T) {
	tok := from(t, smallBPE(t, map[string]any{keyPrefix: true}))
	checkEncodings(t, tok, []encoding{{"ab", "ab"}, {" ab", "Ġ ab"}})
	if got := tok.Decode(tok.Encode(" ab", false)); got != " ab" {
		t.Errorf("decodes to %q", got)
	}
}

func TestDigitGroups(t *testing.T) {
	for _, c := range []struct{ stage, text, want string }{
		{digitGroups, "ab1234567c12", "ab1|234|567|c12"}, {digitGroups, "123456", "123|456"}, {digitGroups, "no", "no"},
		{digitGroups, "12", "12"}, {digitGroups, "", ""}, {digitGroups, "x٣٤٥١y", "x٣|٤٥١|y"},
		{thousands, "1234567", "1|234|567"}, {thousands, "a123456", "a|123|456"}, {thousands, "12a", "12a"},
		{thousands, "1234x567", "1|234x|567"},
	} {
		s, err := compile(c.stage)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		s.Split(c.text, new(pattern.Scratch), func(piece string, _ bool) bool {
			got = append(got, piece)
			return true
		})
		if strings.Join(got, "|") != c.want {
			t.Errorf("%s of %q: %q, want %s", c.stage, c.text, got, c.want)
		}
	}
}

func TestTrie(t *testing.T) {
	tr := newTrie([]string{"a", "abc", "ab", "", "\xff", "漢", "ab"}, []int32{0, 1, 2, 3, 4, 5, 6})
	for text, want := range map[string]int32{"abcd": 1, "abx": 2, "ax": 0, "x": none, "": none, "\xff\xff": 4, "漢字": 5} {
		if id, _ := tr.longest(text, nil); id != want {
			t.Errorf("%q: %d, want %d", text, id, want)
		}
	}
	if id, n := tr.longest("abc", func(id int32) bool { return id == 0 }); id != 0 || n != 1 {
		t.Errorf("only a: %d, %d bytes", id, n)
	}
}
