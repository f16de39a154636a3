package tokenizer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/tokenizer/pattern"
)

// metadata is that of a small vocabulary of our own; set changes it.
func metadata(t testing.TB, m *gguf.Metadata, set map[string]any) *gguf.Metadata {
	t.Helper()
	for key, v := range set {
		if v == nil {
			m.Delete(key)
			continue
		}
		if err := m.Set(key, v); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// smallSPM is a SentencePiece vocabulary: special tokens, all bytes, and words that merge in several ways.
func smallSPM(t testing.TB, set map[string]any) *gguf.Metadata {
	tokens := []string{"<unk>", "<s>", "</s>", "<user>", "<|im_end|>"}
	types := []int32{2, 3, 3, 4, 1}
	for b := range 256 {
		tokens = append(tokens, fmt.Sprintf("<0x%02X>", b))
		types = append(types, 6)
	}
	scores := make([]float32, len(tokens))
	for i, s := range []string{"▁", "a", "b", "c", "é", "漢", "ab", "bc", "▁a", "▁▁", "abc", "▁ab", "abab", "▁▁▁▁"} {
		tokens = append(tokens, s)
		types = append(types, 1)
		scores = append(scores, -float32(i))
	}
	return metadata(t, new(gguf.Metadata), merged(map[string]any{
		keyModel: "llama", keyTokens: tokens, keyTypes: types, keyScores: scores,
		keyBOS: uint32(1), keyEOS: uint32(2),
	}, set))
}

// smallBPE is a byte-level vocabulary with a handful of merges.
func smallBPE(t testing.TB, set map[string]any) *gguf.Metadata {
	var tokens, merges []string
	for b := range 256 {
		tokens = append(tokens, string(runeOfByte[b]))
	}
	for _, m := range []string{"a b", "Ġ a", "b c", "ab c", "Ġa b", "1 2", "Ã ©", "Ġ Ġ"} {
		merges = append(merges, m)
		tokens = append(tokens, strings.Replace(m, " ", "", 1))
	}
	types := make([]int32, len(tokens))
	for i := range types {
		types[i] = 1
	}
	tokens = append(tokens, "<|endoftext|>", "<|im_end|>", "<user>", "<user>x")
	types = append(types, 3, 3, 4, 4)
	return metadata(t, new(gguf.Metadata), merged(map[string]any{
		keyModel: "gpt2", keyPre: "gpt-2", keyTokens: tokens, keyTypes: types, keyMerges: merges,
		keyEOS: uint32(264),
	}, set))
}

func merged(base, set map[string]any) map[string]any {
	for k, v := range set {
		base[k] = v
	}
	return base
}

func from(t testing.TB, m *gguf.Metadata) *Tokenizer {
	t.Helper()
	tok, err := FromGGUF(m)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// spell is the ids of a text as pieces in the vocabulary's own spelling.
func spell(tok *Tokenizer, ids []int32) string {
	var out []string
	for _, id := range ids {
		out = append(out, tok.vocab.text[id])
	}
	return strings.Join(out, " ")
}

func TestEncodeSPM(t *testing.T) {
	tok := from(t, smallSPM(t, nil))
	for text, want := range map[string]string{
		"":                "",
		"abc":             "▁ abc", // ab has the best score, then bc, then ▁a
		"a abab":          "▁a ▁ab ab",
		" ":               "▁▁",
		"     ":           "▁▁▁▁ ▁▁",
		"x":               "▁ <0x78>",
		"é漢":              "▁ é 漢",
		"\n":              "▁ <0x0A>",
		"\xff":            "▁ <0xFF>",
		"a\u0301":         "▁a <0xCC> <0x81>",
		"<s>":             "▁ <0x3C> <0x73> <0x3E>",
		"b<user>a":        "▁ b <user> ▁a",
		"<user> a":        "<user> ▁ ▁a",
		"ab<user><user>c": "▁ab <user> <user> ▁ c",
	} {
		if got := spell(tok, tok.Encode(text, false)); got != want {
			t.Errorf("%q gives %s, want %s", text, got, want)
		}
	}
	if got := spell(tok, tok.Encode("a<s>b</s>", true)); got != "▁a <s> ▁ b </s>" {
		t.Errorf("with special tokens: %s", got)
	}
	if got := spell(tok, tok.EncodeContinuation("ab a", false)); got != "ab ▁a" {
		t.Errorf("continuation: %s", got)
	}
}

func TestEncodeBPE(t *testing.T) {
	tok := from(t, smallBPE(t, nil))
	for text, want := range map[string]string{
		"":                  "",
		"abc":               "abc",
		"ab abc":            "ab Ġ abc", // a+b (0) comes before Ġ+a (1)
		"é":                 "Ã©",
		"\xe3\x81":          "ã ģ",
		"1212":              "12 12",
		"   a":              "ĠĠ Ġa",
		"b\na":              "b Ċ a",
		"a<user>b":          "a <user> b",
		"a<user>xb":         "a <user>x b", // the longest special token wins
		"<|im_end|>":        "< | i m _ e n d | >",
		"a<|endoftext|>abc": "a < | e n d o f t e x t | > abc",
	} {
		if got := spell(tok, tok.Encode(text, false)); got != want {
			t.Errorf("%q gives %s, want %s", text, got, want)
		}
	}
	if got := spell(tok, tok.Encode("a<|endoftext|>abc", true)); got != "a <|endoftext|> abc" {
		t.Errorf("with special tokens: %s", got)
	}
}

// With ignoreMerges a word that is a token stays whole even where no merge leads to it.
func TestIgnoreMerges(t *testing.T) {
	m := smallBPE(t, nil)
	tokens, _ := m.Strings(keyTokens)
	types, _ := m.Ints(keyTypes)
	set := map[string]any{keyTokens: append(slices.Clone(tokens), "Ġcab"), keyTypes: append(slices.Clone(types), 1),
		keyAddBOS: false}
	tok := from(t, metadata(t, m, set))
	if got := spell(tok, tok.Encode(" cab", false)); got != "Ġ c ab" {
		t.Errorf("gpt-2: %s", got)
	}
	set[keyPre] = "llama-bpe"
	tok = from(t, metadata(t, m, set))
	if got := spell(tok, tok.Encode(" cab", false)); got != "Ġcab" {
		t.Errorf("llama-bpe: %s", got)
	}
}

func TestSpecials(t *testing.T) {
	tok := from(t, smallSPM(t, nil))
	bos, ok := tok.BOS()
	if bos != 1 || !ok || !tok.AddBOS() || tok.AddEOS() {
		t.Errorf("BOS %d %v, added %v; EOS added %v", bos, ok, tok.AddBOS(), tok.AddEOS())
	}
	if eos, ok := tok.EOS(); eos != 2 || !ok {
		t.Errorf("EOS %d %v", eos, ok)
	}
	for id, want := range map[int32]bool{0: false, 1: false, 2: true, 3: false, 4: true, 5: false, -1: false,
		9999: false} {
		if tok.IsEOG(id) != want {
			t.Errorf("IsEOG(%d) is %v", id, !want)
		}
	}
	if got := tok.Decode([]int32{1, 4}); got != "" {
		t.Errorf("<|im_end|>, of a normal type in the file, decodes to %q", got)
	}
	tok = from(t, smallBPE(t, nil))
	if _, ok := tok.BOS(); ok || tok.AddBOS() {
		t.Error("a byte-level vocabulary without bos_token_id has a BOS")
	}
	if id, ok := tok.ID("<|im_end|>"); !ok || !tok.IsEOG(id) || tok.Piece(id) != "<|im_end|>" {
		t.Errorf("<|im_end|> is %d %v", id, ok)
	}
	if id, ok := tok.ID("nonsense"); ok {
		t.Errorf("nonsense is %d", id)
	}
}

// gpt-oss ends messages with <|end|> and turns with <|return|>.
func TestEndOfMessage(t *testing.T) {
	m := smallBPE(t, nil)
	tokens, _ := m.Strings(keyTokens)
	types, _ := m.Ints(keyTypes)
	more := []string{"<|end|>", "<|return|>", "<|call|>", "<|channel|>"}
	tok := from(t, metadata(t, m, map[string]any{
		keyTokens: append(slices.Clone(tokens), more...), keyTypes: append(slices.Clone(types), 3, 3, 3, 3),
	}))
	for i, want := range []bool{false, true, true, false} {
		id, _ := tok.ID(more[i])
		if tok.IsEOG(id) != want {
			t.Errorf("IsEOG(%s) is %v", more[i], !want)
		}
	}
	if got := spell(tok, tok.Encode("<|channel|>", false)); got != "<|channel|>" {
		t.Errorf("<|channel|> is cut into %s", got)
	}
}

func TestStrips(t *testing.T) {
	tok := from(t, smallSPM(t, map[string]any{"general.name": "Phi-3 mini"}))
	if got := spell(tok, tok.Encode("<|im_end|> \n a<s> b", true)); got != "<|im_end|> ▁a <s> ▁▁ b" {
		t.Errorf("got %s", got)
	}
}

func TestDecode(t *testing.T) {
	tok := from(t, smallSPM(t, nil))
	for _, text := range []string{"", " ", "a", " a", "abab c\n\n é漢\U0001F999\xff\xe3", "a<user>b <user> c"} {
		if got := tok.Decode(tok.Encode(text, false)); got != text {
			t.Errorf("%q comes back as %q", text, got)
		}
	}
	ids := append([]int32{1}, tok.Encode(" ab", false)...)
	if got := tok.Decode(append(ids, 2, -5, 100000)); got != " ab" {
		t.Errorf("BOS, text, EOS, ids beyond the vocabulary: %q", got)
	}
	if got := tok.Piece(-1) + tok.Piece(1<<30); got != "" {
		t.Errorf("pieces beyond the vocabulary: %q", got)
	}
}

func TestStream(t *testing.T) {
	for _, tok := range []*Tokenizer{from(t, smallSPM(t, nil)), from(t, smallBPE(t, nil))} {
		text := " a\U0001F999é漢x\xe3\x81y\xff"
		s := tok.NewStream()
		var parts []string
		for _, id := range tok.EncodeContinuation(text, false) {
			parts = append(parts, s.Next(id))
		}
		parts = append(parts, s.Next(-1), s.Flush(), s.Flush())
		if got := strings.Join(parts, ""); got != text {
			t.Errorf("stream gives %q, want %q", got, text)
		}
		for _, p := range parts {
			if !utf8.ValidString(p) && !strings.Contains(p, "\xe3") && !strings.Contains(p, "\xff") {
				t.Errorf("%q is not whole characters", p)
			}
		}
	}
	s := from(t, smallBPE(t, nil)).NewStream()
	if got := s.Next(0xf0) + s.Next(0x9f) + s.Flush(); got != "\xf0\x9f" {
		t.Errorf("half a character, flushed: %q", got)
	}
}

// A way of lying each.
func TestMalformed(t *testing.T) {
	for _, c := range []struct {
		name string
		meta *gguf.Metadata
		want string
	}{
		{"nothing", new(gguf.Metadata), "no vocabulary"},
		{"kind", smallSPM(t, map[string]any{keyModel: "rwkv"}),
			`"rwkv" (RWKV's own); llama, gpt2, gemma4, bert, t5, whitespace and hybriddna are supported`},
		{"charsmap", smallSPM(t, map[string]any{keyModel: "t5", keyChars: []uint8{9, 0, 0, 0, 0}}),
			"tokenizer.ggml.precompiled_charsmap: a precompiled charsmap of 5 bytes begins with the size 9"},
		{"no tokens", smallSPM(t, map[string]any{keyTokens: nil}), "no tokenizer.ggml.tokens"},
		{"tokens are numbers", smallSPM(t, map[string]any{keyTokens: []int32{1}}), "no tokenizer.ggml.tokens"},
		{"empty", smallSPM(t, map[string]any{keyTokens: []string{}}), "empty"},
		{"short scores", smallSPM(t, map[string]any{keyScores: []float32{1, 2}}),
			"tokenizer.ggml.scores has 2 numbers, want one for each of the 275"},
		{"NaN score", smallSPM(t, map[string]any{keyScores: append(make([]float32, 274), float32(math.NaN()))}),
			"score of token 274"},
		{"short types", smallSPM(t, map[string]any{keyTypes: []int32{1}}), "tokenizer.ggml.token_type has 1 numbers"},
		{"BOS beyond", smallSPM(t, map[string]any{keyBOS: uint32(275)}),
			"tokenizer.ggml.bos_token_id is 275, want the number of one of the 275 tokens"},
		{"EOS negative", smallSPM(t, map[string]any{keyEOS: int32(-1)}), "eos_token_id is -1"},
		{"EOS a string", smallSPM(t, map[string]any{keyEOS: "</s>"}), "eos_token_id"},
		{"flag", smallSPM(t, map[string]any{keyAddBOS: "yes"}), "want true or false"},
		{"twice", smallSPM(t, map[string]any{keyTokens: slices.Repeat([]string{"a"}, 275)}), `token 1 is "a", as token 0 is`},
		{"no merges", smallBPE(t, map[string]any{keyMerges: nil}), "no tokenizer.ggml.merges"},
		{"one token in merge", smallBPE(t, map[string]any{keyMerges: []string{"a b", "ab"}}), `merge 1 is "ab"`},
		{"empty merge", smallBPE(t, map[string]any{keyMerges: []string{""}}), `merge 0 is ""`},
		{"left of merge", smallBPE(t, map[string]any{keyMerges: []string{"xy a"}}), `needs the token "xy"`},
		{"right of merge", smallBPE(t, map[string]any{keyMerges: []string{"a xy"}}), `needs the token "xy"`},
		{"result of merge", smallBPE(t, map[string]any{keyMerges: []string{"a a"}}), `needs the token "aa"`},
		{"pre", smallBPE(t, map[string]any{keyPre: "tomorrow"}),
			`"tomorrow" in tokenizer.ggml.pre; known are a.x-4.0, afmoe, bailingmoe`},
		{"no BOS to add", smallBPE(t, map[string]any{keyAddBOS: true}), "begin with BOS"},
		{"no EOS to add", smallBPE(t, map[string]any{keyAddEOS: true, keyEOS: nil}), "end with EOS"},
	} {
		_, err := FromGGUF(c.meta)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

// Cutting, caching and the heap change nothing: they agree with merging the whole text by looking for the best pair
// again and again.
func TestAgainstDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	letters := []rune("aaabbbccc   é漢x\n▁")
	for _, tok := range []*Tokenizer{from(t, smallSPM(t, nil)), from(t, smallBPE(t, nil))} {
		for range 2000 {
			var b strings.Builder
			for range r.IntN(40) {
				b.WriteRune(letters[r.IntN(len(letters))])
			}
			text := b.String()
			got, want := tok.EncodeContinuation(text, false), byDefinition(tok, text)
			if !slices.Equal(got, want) {
				t.Fatalf("%s: %q gives %s, by definition %s", tok.kind, text, spell(tok, got), spell(tok, want))
			}
		}
	}
}

func byDefinition(tok *Tokenizer, text string) []int32 {
	var out []int32
	words := []string{text}
	if c, ok := tok.cut.(stageCutter); ok {
		words = nil
		c.cut(text, atStart, new(pattern.Scratch), func(w string) { words = append(words, w) })
	}
	for _, word := range words {
		out = append(out, mergeByDefinition(tok, word)...)
	}
	return out
}

func mergeByDefinition(tok *Tokenizer, word string) []int32 {
	var parts []string
	rank := func(a, b string) int { return math.MaxInt }
	switch m := tok.model.(type) {
	case *spm:
		for _, r := range strings.ReplaceAll(word, " ", spaceMark) {
			parts = append(parts, string(r))
		}
		rank = func(a, b string) int {
			if id, ok := tok.vocab.ids[a+b]; ok {
				return int(m.rank[id])
			}
			return math.MaxInt
		}
	case *bpe:
		for i := range len(word) {
			parts = append(parts, string(runeOfByte[word[i]]))
		}
		rank = func(a, b string) int {
			if v, ok := m.merges[uint64(tok.vocab.ids[a])<<32|uint64(tok.vocab.ids[b])]; ok {
				return int(v.rank)
			}
			return math.MaxInt
		}
	}
	for {
		best, at := math.MaxInt, -1
		for i := 1; i < len(parts); i++ {
			if k := rank(parts[i-1], parts[i]); k < best {
				best, at = k, i
			}
		}
		if at < 0 {
			break
		}
		parts[at-1] += parts[at]
		parts = slices.Delete(parts, at, at+1)
	}
	var out []int32
	for _, p := range parts {
		if id, ok := tok.vocab.ids[p]; ok {
			out = append(out, id)
			continue
		}
		for i := range len(p) {
			out = append(out, tok.vocab.ids[fmt.Sprintf("<0x%02X>", p[i])])
		}
	}
	return out
}

func TestConcurrent(t *testing.T) {
	tok := from(t, smallSPM(t, nil))
	text := strings.Repeat("ab abc a b c\n", 50)
	want := tok.Encode(text, false)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if !slices.Equal(tok.Encode(text, false), want) {
					t.Error("ids differ between goroutines")
				}
			}
		})
	}
	wg.Wait()
}

// A long text that cannot be cut merges in n log n, not n².
func TestLongWord(t *testing.T) {
	for _, tok := range []*Tokenizer{from(t, smallSPM(t, nil)), from(t, smallBPE(t, nil))} {
		for _, s := range []string{"ab", "a", " ", "漢"} {
			text := strings.Repeat(s, 1<<18/len(s))
			if got := tok.Decode(tok.Encode(text, false)); got != text {
				t.Errorf("%s: a long row of %q comes back as %d bytes", tok.kind, s, len(got))
			}
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	for _, s := range []string{"", "Hello world", "  a\n\n b", "abc<user>x abc</s>", "\xff\xfe\xe3\x81",
		"été 漢字 \U0001F999", "<0x41>"} {
		f.Add(s)
	}
	toks := []*Tokenizer{from(f, smallSPM(f, nil)), from(f, smallBPE(f, nil)),
		from(f, smallBPE(f, map[string]any{keyPre: "deepseek-llm"}))}
	f.Fuzz(func(t *testing.T, s string) {
		for _, tok := range toks {
			for _, id := range tok.Encode(s, true) {
				if id < 0 || int(id) >= tok.Size() {
					t.Fatalf("id %d", id)
				}
			}
			if strings.Contains(s, spaceMark) {
				continue // reads back as a space
			}
			ids := tok.Encode(s, false)
			if got := tok.Decode(ids); got != s {
				t.Fatalf("%s: %q comes back as %q", tok.kind, s, got)
			}
			stream := tok.NewStream()
			got := ""
			for _, id := range tok.EncodeContinuation(s, false) {
				got += stream.Next(id)
			}
			if got += stream.Flush(); !strings.Contains(s, "<user>") && got != s {
				t.Fatalf("%s: %q streams as %q", tok.kind, s, got)
			}
		}
	})
}

func ExampleTokenizer_Encode() {
	meta := new(gguf.Metadata)
	for key, v := range map[string]any{
		"tokenizer.ggml.model":      "llama",
		"tokenizer.ggml.tokens":     []string{"<unk>", "<s>", "</s>", "▁", "h", "i", "hi", "▁hi"},
		"tokenizer.ggml.scores":     []float32{0, 0, 0, -5, -6, -7, -1, -2},
		"tokenizer.ggml.token_type": []int32{2, 3, 3, 1, 1, 1, 1, 1},
	} {
		if err := meta.Set(key, v); err != nil {
			panic(err)
		}
	}
	tok, err := FromGGUF(meta)
	if err != nil {
		panic(err)
	}
	ids := tok.Encode("hi hi", false)
	fmt.Println(ids, tok.Decode(ids))
	// Output: [7 7] hi hi
}

// No pre-tokenizer takes more than about linear time on text that gives it nothing to cut.
func TestLongPieces(t *testing.T) {
	for name, pre := range families {
		cut, err := newStageCutter(pre.stages)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, s := range []string{"a", "A", " ", "\n", "漢", "1", "'", " \n", "é", "\u0301", "a b", "\xff"} {
			text := strings.Repeat(s, 1<<17/len(s)) + "."
			var scratch pattern.Scratch
			n := 0
			cut.cut(text, atStart, &scratch, func(word string) { n += len(word) })
			if n != len(text) {
				t.Errorf("%s: words of %q… have %d bytes of %d", name, s, n, len(text))
			}
		}
	}
}
