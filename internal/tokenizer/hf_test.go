package tokenizer

import (
	"cmp"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/testdata"
)

type object = map[string]any

// hfDir is a model directory with the files given.
func hfDir(t testing.TB, files map[string]any) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		data, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// hfModelOf is the vocabulary of a GGUF file as tokenizer.json has it: its model and its added tokens.
func hfModelOf(t testing.TB, meta *gguf.Metadata) (model object, added []object) {
	t.Helper()
	tokens, _ := meta.Strings(keyTokens)
	types, _ := meta.Ints(keyTypes)
	vocab := object{}
	for i, s := range tokens {
		switch tokenType(types[i]) {
		case typeControl, typeUser, typeUnknown:
			added = append(added, object{"id": i, "content": s, "special": tokenType(types[i]) != typeUser})
		default:
			vocab[s] = i
		}
	}
	merges, ok := meta.Strings(keyMerges)
	if !ok {
		merges = mergesOfScores(t, meta)
	}
	return object{"type": "BPE", "vocab": vocab, "merges": merges}, added
}

// mergesOfScores is the merges that make the same tokens as scores do: every way to cut a token in two, the best
// scores first.
func mergesOfScores(t testing.TB, meta *gguf.Metadata) []string {
	tokens, _ := meta.Strings(keyTokens)
	types, _ := meta.Ints(keyTypes)
	scores, ok := meta.Floats(keyScores)
	if !ok {
		t.Fatal("neither merges nor scores")
	}
	ids := map[string]int{}
	for i, s := range tokens {
		if types[i] == int64(typeNormal) {
			ids[s] = i
		}
	}
	type cutToken struct {
		left, right string
		score       float32
	}
	var all []cutToken
	for _, s := range slices.Sorted(maps.Keys(ids)) {
		for at := 1; at < len(s); at++ {
			if !utf8.RuneStart(s[at]) {
				continue
			}
			_, okLeft := ids[s[:at]]
			_, okRight := ids[s[at:]]
			if okLeft && okRight {
				all = append(all, cutToken{s[:at], s[at:], scores[ids[s]]})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b cutToken) int { return cmp.Compare(b.score, a.score) })
	var out []string
	for _, c := range all {
		out = append(out, c.left+" "+c.right)
	}
	return out
}

func split(expr string) object {
	return object{"type": "Split", "pattern": object{"Regex": expr}, "behavior": "Isolated", "invert": false}
}

func sequence(name string, steps ...object) object {
	return object{"type": "Sequence", name: steps}
}

var byteLevel = object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}

// The expressions as the vendors' files have them, where ours follow llama.cpp.
const (
	llama3Expr = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	qwen2Expr  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// The reference vocabularies, written as tokenizer.json, give the ids that they give as GGUF.
func TestHFGolden(t *testing.T) {
	llamaNormalizer := sequence("normalizers", object{"type": "Prepend", "prepend": "▁"},
		object{"type": "Replace", "pattern": object{"String": " "}, "content": "▁"})
	for _, c := range []struct {
		name          string
		model, extras object
	}{
		{"llama-bpe", object{"ignore_merges": true},
			object{"pre_tokenizer": sequence("pretokenizers", split(llama3Expr), byteLevel)}},
		{"qwen2", nil, object{"pre_tokenizer": sequence("pretokenizers", split(qwen2Expr), byteLevel),
			"normalizer": object{"type": "NFC"}}},
		{"gpt-2", nil, object{"pre_tokenizer": object{"type": "ByteLevel", "add_prefix_space": false}}},
		{"llama-spm", object{"byte_fallback": true, "unk_token": "<unk>", "fuse_unk": true},
			object{"normalizer": llamaNormalizer}},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := "tokenizers/ggml-vocab-" + c.name + ".gguf"
			meta := open(t, name)
			want := from(t, meta)
			model, added := hfModelOf(t, meta)
			maps.Copy(model, c.model)
			file := object{"model": model, "added_tokens": added}
			maps.Copy(file, c.extras)
			tok, err := FromHF(hfDir(t, map[string]any{"tokenizer.json": file}))
			if err != nil {
				t.Fatal(err)
			}
			in, err := os.ReadFile(testdata.Shared(t, name+".inp"))
			if err != nil {
				t.Fatal(err)
			}
			texts := strings.Split(string(in), "\n__ggml_vocab_test__\n")
			shakespeare, err := os.ReadFile(testdata.Shared(t, "text/tinyshakespeare.txt"))
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(1, 1))
			for _, text := range append(texts, string(shakespeare[:200000]), randomText(r, 3000)) {
				for _, special := range []bool{false, true} {
					got, want := tok.Encode(text, special), want.Encode(text, special)
					if !slices.Equal(got, want) {
						t.Fatalf("%.80q: %s", text, difference(tok, got, want))
					}
				}
				if back := tok.Decode(tok.Encode(text, false)); back != text && tok.normalize == nil {
					t.Fatalf("%.80q comes back as %.80q", text, back)
				}
			}
		})
	}
}

// randomText has what tokenizers treat in special ways, all of it in normal form C.
func randomText(r *rand.Rand, n int) string {
	parts := []string{"a", "the", " the", "Hello", "'s", "'LL", " ", "  ", "\n", "\n\n", "\t", "1", "234", "5678", "é",
		"漢字", "한국", "😀", "...", "!?", "https://", "<|endoftext|>", "<|im_end|>", "नमस्ते"}
	var b strings.Builder
	for range n {
		b.WriteString(parts[r.IntN(len(parts))])
	}
	return b.String()
}

// difference says where two id sequences part.
func difference(tok *Tokenizer, got, want []int32) string {
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	near := func(ids []int32) string { return spell(tok, ids[max(0, i-2):min(len(ids), i+4)]) }
	return "got … " + near(got) + " …, want … " + near(want) + " …"
}

// smallHF is smallSPM as a model directory, with what changes it.
func smallHF(t testing.TB, model, file object) map[string]any {
	m, added := hfModelOf(t, smallSPM(t, nil))
	maps.Copy(m, object{"byte_fallback": true, "unk_token": "<unk>"})
	maps.Copy(m, model)
	f := object{"model": m, "added_tokens": added,
		"normalizer": object{"type": "Replace", "pattern": object{"String": " "}, "content": "▁"}}
	maps.Copy(f, file)
	return map[string]any{"tokenizer.json": f}
}

func TestHFSpaces(t *testing.T) {
	metaspace := func(extras object) object {
		m := object{"type": "Metaspace", "replacement": "▁"}
		maps.Copy(m, extras)
		return m
	}
	for _, c := range []struct {
		name      string
		file      object
		wants     [3]string // of " a", "a<user>a" and "  "
		roundTrip bool
	}{
		{"Replace", nil, [3]string{"▁a", "a <user> a", "▁▁"}, true},
		{"Prepend", object{"normalizer": sequence("normalizers", object{"type": "Prepend", "prepend": "▁"},
			object{"type": "Replace", "pattern": object{"String": " "}, "content": "▁"})},
			[3]string{"▁ ▁a", "▁a <user> ▁a", "▁▁ ▁"}, true},
		{"first", object{"normalizer": nil, "pre_tokenizer": metaspace(object{"prepend_scheme": "first", "split": false})},
			[3]string{"▁a", "▁a <user> a", "▁▁"}, false},
		{"always", object{"normalizer": nil, "pre_tokenizer": metaspace(object{"prepend_scheme": "always", "split": false})},
			[3]string{"▁a", "▁a <user> ▁a", "▁▁"}, false},
		{"never", object{"normalizer": nil, "pre_tokenizer": metaspace(object{"prepend_scheme": "never"})},
			[3]string{"▁a", "a <user> a", "▁ ▁"}, true},
		{"add_prefix_space", object{"normalizer": nil, "pre_tokenizer": metaspace(object{"add_prefix_space": true})},
			[3]string{"▁a", "▁a <user> ▁a", "▁ ▁"}, false},
		{"Gemma", object{"pre_tokenizer": object{"type": "Split", "pattern": object{"String": " "},
			"behavior": "MergedWithPrevious"}}, [3]string{"▁a", "a <user> a", "▁▁"}, true},
	} {
		tok, err := FromHF(hfDir(t, smallHF(t, nil, c.file)))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for i, text := range []string{" a", "a<user>a", "  "} {
			ids := tok.Encode(text, false)
			if got := spell(tok, ids); got != c.wants[i] {
				t.Errorf("%s: %q gives %s, want %s", c.name, text, got, c.wants[i])
			}
			if back := tok.Decode(ids); c.roundTrip && back != text {
				t.Errorf("%s: %q comes back as %q", c.name, text, back)
			}
		}
		if got := tok.Decode(tok.Encode("a<user>ab é\n", false)); got != "a<user>ab é\n" {
			t.Errorf("%s: comes back as %q", c.name, got)
		}
	}
}

// <|im_end|> is an ordinary token of this vocabulary: only added tokens are special by their text.
func TestHFSpecials(t *testing.T) {
	template := object{"type": "TemplateProcessing", "single": []object{
		{"SpecialToken": object{"id": "<s>", "type_id": 0}}, {"Sequence": object{"id": "A", "type_id": 0}},
		{"SpecialToken": object{"id": "</s>", "type_id": 0}},
	}}
	with := func(file object, more map[string]any) map[string]any {
		out := smallHF(t, nil, file)
		maps.Copy(out, more)
		return out
	}
	for _, c := range []struct {
		name           string
		files          map[string]any
		bos, eos       int32
		addBOS, addEOS bool
		eog            []int32
	}{
		{"nothing said", with(nil, nil), none, none, false, false, []int32{2}},
		{"template", with(object{"post_processor": template}, nil), 1, 2, true, true, []int32{2}},
		{"template in a sequence", with(object{"post_processor": sequence("processors", object{"type": "ByteLevel"},
			template)}, nil), 1, 2, true, true, []int32{2}},
		{"tokenizer_config", with(nil, map[string]any{"tokenizer_config.json": object{"bos_token": "<s>",
			"eos_token": object{"content": "<|im_end|>"}, "add_bos_token": true}}), 1, 4, true, false, []int32{2, 4}},
		{"config against template", with(object{"post_processor": template},
			map[string]any{"tokenizer_config.json": object{"bos_token": "<s>", "add_bos_token": false, "add_eos_token": false}}),
			1, 2, false, false, []int32{2}},
		{"special_tokens_map", with(nil,
			map[string]any{"special_tokens_map.json": object{"bos_token": object{"content": "<s>"}}}), 1, none, false, false,
			[]int32{2}},
		{"ids", with(nil, map[string]any{"config.json": object{"bos_token_id": 1, "eos_token_id": []int{4, 2}},
			"generation_config.json": object{"eos_token_id": []int{2, 3}}}), 1, 4, false, false, []int32{2, 3, 4}},
		{"null", with(nil, map[string]any{"config.json": object{"bos_token_id": nil},
			"tokenizer_config.json": object{"bos_token": nil}}), none, none, false, false, []int32{2}},
	} {
		tok, err := FromHF(hfDir(t, c.files))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		bos, _ := tok.BOS()
		eos, _ := tok.EOS()
		eog := slices.Sorted(maps.Keys(tok.vocab.eog))
		if bos != c.bos || eos != c.eos || tok.AddBOS() != c.addBOS || tok.AddEOS() != c.addEOS || !slices.Equal(eog, c.eog) {
			t.Errorf("%s: BOS %d %v, EOS %d %v, ends %v", c.name, bos, tok.AddBOS(), eos, tok.AddEOS(), eog)
		}
	}
}

func TestHFDetails(t *testing.T) {
	// Ids that no token has, tokens that swallow white space, a normal form.
	files := smallHF(t, nil, object{
		"normalizer": sequence("normalizers", object{"type": "NFC"},
			object{"type": "Replace", "pattern": object{"String": " "}, "content": "▁"}),
		"added_tokens": []object{
			{"id": 0, "content": "<unk>", "special": true},
			{"id": 300, "content": "<end>", "special": true, "rstrip": true, "lstrip": true},
		},
	})
	tok, err := FromHF(hfDir(t, files))
	if err != nil {
		t.Fatal(err)
	}
	if tok.Size() != 301 || tok.Piece(290) != "[UNUSED_290]" {
		t.Errorf("%d tokens, one unused is %q", tok.Size(), tok.Piece(290))
	}
	if got := spell(tok, tok.Encode("e\u0301 <end> \n a", true)); got != "é <end> a" {
		t.Errorf("got %s", got)
	}
	// Without byte tokens there is the unknown one, and several in a row may be one.
	for fuse, want := range map[bool]string{true: "a <unk> b", false: "a <unk> <unk> b"} {
		tok, err := FromHF(hfDir(t, smallHF(t, object{"byte_fallback": false, "fuse_unk": fuse}, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if got := spell(tok, tok.Encode("a世界b", false)); got != want {
			t.Errorf("fuse_unk %v: %s, want %s", fuse, got, want)
		}
	}
}

func TestHFMalformed(t *testing.T) {
	step := func(kind string) object { return object{"type": kind} }
	for _, c := range []struct {
		name  string
		files map[string]any
		want  string
	}{
		{"nothing", nil, "tokenizer.json"},
		{"SentencePiece only", map[string]any{"tokenizer.model": "x"}, "tokenizer.model: no SentencePiece model"},
		{"not JSON's shape", map[string]any{"tokenizer.json": []int{1}}, "tokenizer.json: json"},
		{"empty", map[string]any{"tokenizer.json": object{}}, "empty"},
		{"model", smallHF(t, object{"type": "CTC"}, nil), `a model of type "CTC"; BPE, WordPiece, Unigram and WordLevel`},
		{"piece", smallHF(t, object{"type": "Unigram", "vocab": []any{[]any{"a", "b"}}}, nil), `piece 0 ("a"): its score`},
		{"unk_id", smallHF(t, object{"type": "Unigram", "vocab": []any{[]any{"a", -1}}, "unk_id": 7},
			object{"added_tokens": nil}), "unk_id is 7"},
		{"merge of one", smallHF(t, object{"merges": []string{"ab"}}, nil), `the merge "ab"`},
		{"merge of three", smallHF(t, object{"merges": [][]string{{"a", "b", "c"}}}, nil), "is not two tokens"},
		{"merge unknown", smallHF(t, object{"merges": [][]string{{"a", "q"}}}, nil), `needs the token "q"`},
		{"dropout", smallHF(t, object{"dropout": 0.1}, nil), "dropout"},
		{"id twice", smallHF(t, object{"vocab": object{"a": 5, "b": 5}, "merges": []string{}}, nil), "taken by"},
		{"id negative", smallHF(t, object{"vocab": object{"a": -1}, "merges": []string{}}, nil), "negative"},
		{"id huge", smallHF(t, object{"vocab": object{"a": 1 << 40}, "merges": []string{}}, nil), "too large"},
		{"normalizer", smallHF(t, nil, object{"normalizer": step("Titlecase")}), `the normalizer "Titlecase"`},
		{"replacement", smallHF(t, nil, object{"normalizer": object{"type": "Replace", "content": "b"}}),
			"the normalizer Replace: neither a String nor a Regex"},
		{"charsmap", smallHF(t, nil, object{"normalizer": object{"type": "Precompiled", "precompiled_charsmap": "AAAA"}}),
			"the normalizer Precompiled: a precompiled charsmap of 3 bytes"},
		{"pre-tokenizer", smallHF(t, nil, object{"pre_tokenizer": step("Sentences")}), `the pre-tokenizer "Sentences"`},
		{"scheme", smallHF(t, nil, object{"pre_tokenizer": object{"type": "Metaspace", "replacement": "▁",
			"prepend_scheme": "last"}}), `prepend_scheme "last", want one of never, first, always`},
		{"delimiter", smallHF(t, nil, object{"pre_tokenizer": step("CharDelimiterSplit")}), "want one character"},
		{"behavior", smallHF(t, nil, object{"pre_tokenizer": object{"type": "Split", "pattern": object{"Regex": "a"},
			"behavior": "Doubled"}}), `the behavior "Doubled"`},
		{"expression", smallHF(t, nil, object{"normalizer": nil,
			"pre_tokenizer": sequence("pretokenizers", split("(?<=a)"), byteLevel)}), "(?<=a)"},
		{"BOS", merged(smallHF(t, nil, nil), map[string]any{"tokenizer_config.json": object{"bos_token": "<bos>"}}),
			`BOS token "<bos>" is not in the vocabulary`},
		{"config", merged(smallHF(t, nil, nil), map[string]any{"tokenizer_config.json": []int{}}), "tokenizer_config.json"},
	} {
		_, err := FromHF(hfDir(t, c.files))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

func FuzzFromHF(f *testing.F) {
	for _, files := range []map[string]any{
		smallHF(f, nil, nil),
		smallHF(f, nil, object{"normalizer": nil, "pre_tokenizer": sequence("pretokenizers", split(llama3Expr), byteLevel)}),
		smallHF(f, object{"type": "Unigram", "vocab": []any{[]any{"a", -1}, []any{"▁", -2}}, "unk_id": 0}, object{
			"added_tokens": nil, "normalizer": object{"type": "Precompiled", "precompiled_charsmap": charsmapOf('X', "a")},
			"pre_tokenizer": object{"type": "Metaspace", "replacement": "▁"}}),
		smallHF(f, object{"type": "WordPiece"}, object{"normalizer": object{"type": "BertNormalizer"},
			"pre_tokenizer": object{"type": "BertPreTokenizer"}}),
	} {
		data, err := json.Marshal(files["tokenizer.json"])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "a <user> é\n\U0001F999")
	}
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), data, 0o644); err != nil {
			t.Fatal(err)
		}
		tok, err := FromHF(dir)
		if err != nil {
			return
		}
		for _, id := range tok.Encode(text, true) {
			if id < 0 || int(id) >= tok.Size() {
				t.Fatalf("id %d of %d", id, tok.Size())
			}
		}
	})
}
