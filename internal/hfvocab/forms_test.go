package hfvocab

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/modeltest"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

// mapFS is files by their names.
func mapFS(files map[string]string) fstest.MapFS {
	dir := fstest.MapFS{}
	for name, text := range files {
		dir[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return dir
}

// keys are the keys and values of a vocabulary, as lines, but for those of tokens.
func keys(t *testing.T, dir fstest.MapFS, config string, o Options) (lines []string, meta *gguf.Metadata) {
	t.Helper()
	var model map[string]any
	if err := json.Unmarshal([]byte(config), &model); err != nil {
		t.Fatal(err)
	}
	v, err := ReadFiles(dir, model, o)
	if err != nil {
		t.Fatal(err)
	}
	meta = &gguf.Metadata{}
	if err := v.Set(meta); err != nil {
		t.Fatal(err)
	}
	for key, value := range meta.All() {
		switch key {
		case keyTokens, keyTypes, keyScores, keyMerges:
			lines = append(lines, strings.TrimPrefix(key, keyPrefix))
		default:
			lines = append(lines, strings.TrimPrefix(key, keyPrefix)+"="+value.String())
		}
	}
	return lines, meta
}

// byteVocab is a byte-level vocabulary: a token for each byte, "he" (256), "Ġhe" (257) and more.
func byteVocab(more ...string) (vocab map[string]int, merges []string) {
	vocab = map[string]int{}
	for b := range 256 {
		vocab[string(byteRunes[b])] = b
	}
	for _, text := range append([]string{"he", "Ġhe"}, more...) {
		vocab[text] = len(vocab)
	}
	return vocab, []string{"h e", "Ġ he"}
}

func encode(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// pipelineJSON is a tokenizer.json of byteVocab with added tokens from 258 on; more are further members.
func pipelineJSON(t *testing.T, added []addedToken, more map[string]any) string {
	vocab, merges := byteVocab()
	file := map[string]any{
		"added_tokens":  added,
		"pre_tokenizer": map[string]any{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
		"decoder":       map[string]any{"type": "ByteLevel"},
		"model":         map[string]any{"type": "BPE", "vocab": vocab, "merges": merges},
	}
	for key, value := range more {
		file[key] = value
	}
	return encode(t, file)
}

func TestVocabAndMerges(t *testing.T) {
	vocab, merges := byteVocab("<|endoftext|>")
	dir := mapFS(map[string]string{
		"vocab.json": encode(t, vocab), "merges.txt": "#version: 0.2\n" + strings.Join(merges, "\n") + "\n\n",
		"tokenizer_config.json": `{"tokenizer_class": "GPT2Tokenizer", "bos_token": "<|endoftext|>", "pad_token": "<pad>"}`,
	})
	lines, meta := keys(t, dir, `{"eos_token_id": 258, "vocab_size": 262}`, Options{PreTokenizer: "gpt-2"})
	want := []string{`model="gpt2"`, `pre="gpt-2"`, "tokens", "token_type", "merges", "eos_token_id=258"}
	if !slices.Equal(lines, want) {
		t.Errorf("got %q, want %q", lines, want)
	}
	tokens, _ := meta.Strings(keyTokens)
	if got := tokens[256:]; !slices.Equal(got, []string{"he", "Ġhe", "<|endoftext|>", "<pad>", "[PAD260]", "[PAD261]"}) {
		t.Errorf("tokens %q", got)
	}
	types, _ := meta.Ints(keyTypes)
	if got := types[256:]; !slices.Equal(got, []int64{1, 1, 3, 3, 5, 5}) {
		t.Errorf("types %v", got)
	}
	if got, _ := meta.Strings(keyMerges); !slices.Equal(got, merges) {
		t.Errorf("merges %q", got)
	}
}

func TestTekken(t *testing.T) {
	type word struct {
		Rank  int    `json:"rank"`
		Bytes string `json:"token_bytes"`
	}
	var words []word
	for b := range 256 {
		words = append(words, word{b, base64.StdEncoding.EncodeToString([]byte{byte(b)})})
	}
	for _, text := range []string{"he", " he", "beyond"} {
		words = append(words, word{len(words), base64.StdEncoding.EncodeToString([]byte(text))})
	}
	file := map[string]any{
		"config": map[string]any{"default_vocab_size": 270, "default_num_special_tokens": 12}, "vocab": words,
	}
	dir := mapFS(map[string]string{"tekken.json": encode(t, file), "chat_template.jinja": "x\r\ny"})
	o := Options{Vocabulary: arch.ByName(arch.Llama).Vocabulary}
	lines, meta := keys(t, dir, `{}`, o)
	want := []string{`model="gpt2"`, `pre="tekken"`, "merges", "bos_token_id=1", "eos_token_id=2", "unknown_token_id=0",
		"padding_token_id=11", "tokens", "scores", "token_type", "add_bos_token=true", "add_eos_token=false",
		`tokenizer.chat_template="x\ny"`}
	if !slices.Equal(lines, want) {
		t.Errorf("got  %q\nwant %q", lines, want)
	}
	if got, _ := meta.Strings(keyMerges); !slices.Equal(got, []string{"h e", "Ġ he"}) {
		t.Errorf("merges %q", got)
	}
	tokens, _ := meta.Strings(keyTokens)
	got := []string{tokens[3], tokens[12+10], tokens[268], tokens[269]}
	if !slices.Equal(got, []string{"[INST]", "Ċ", "he", "Ġhe"}) {
		t.Errorf("tokens %q", got)
	}
	sameIDs(t, meta, must(writeFiles(t, meta)))
}

func must(files fstest.MapFS, _ []string) fstest.MapFS { return files }

func TestChatTemplates(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"a text", map[string]string{"tokenizer_config.json": `{"chat_template": "a"}`, "chat_template.jinja": "b"},
			[]string{`tokenizer.chat_template="a"`}},
		{"a list", map[string]string{"tokenizer_config.json": `{"chat_template": [{"name": "default", "template": "a"},
			{"name": "tool use", "template": "b"}, {"name": "rag", "template": "c"}]}`},
			[]string{`tokenizer.chat_template.tool_use="b"`, `tokenizer.chat_template.rag="c"`,
				`tokenizer.chat_templates=["tool_use", "rag"]`, `tokenizer.chat_template="a"`}},
		{"files", map[string]string{"tokenizer_config.json": `{"x": 1}`, "chat_template.jinja": "a",
			"additional_chat_templates/z.jinja": "z", "additional_chat_templates/b.jinja": "b",
			"additional_chat_templates/c.txt": "c"},
			[]string{`tokenizer.chat_template.b="b"`, `tokenizer.chat_template.z="z"`, `tokenizer.chat_templates=["b", "z"]`,
				`tokenizer.chat_template="a"`}},
		{"JSON", map[string]string{"tokenizer_config.json": `{"x": 1}`, "chat_template.json": `{"chat_template": "j"}`},
			[]string{`tokenizer.chat_template="j"`}},
		{"no tokenizer_config.json", map[string]string{"chat_template.jinja": "a"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.files["tokenizer.json"] = pipelineJSON(t, nil, nil)
			lines, _ := keys(t, mapFS(c.files), `{}`, Options{PreTokenizer: "gpt-2"})
			var got []string
			for _, line := range lines {
				if strings.HasPrefix(line, "tokenizer.chat") {
					got = append(got, line)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// part is a special token or, for "A" and "B", a text of a template.
func part(text string) map[string]any {
	kind := "SpecialToken"
	if text == "A" || text == "B" {
		kind = "Sequence"
	}
	return map[string]any{kind: map[string]any{"id": text, "type_id": 0}}
}

func parts(texts string) (all []map[string]any) {
	for text := range strings.FieldsSeq(texts) {
		all = append(all, part(text))
	}
	return all
}

func TestSpecials(t *testing.T) {
	added := []addedToken{{ID: 258, Content: "<s>", Special: true}, {ID: 259, Content: "</s>", Special: true},
		{ID: 260, Content: "<end>", Special: true}, {ID: 261, Content: "word", Normalized: true}}
	template := func(single, pair string) map[string]any {
		return map[string]any{"type": "TemplateProcessing", "single": parts(single), "pair": parts(pair)}
	}
	for _, c := range []struct {
		name          string
		post          map[string]any
		tokenizer     string
		config        string
		want          []string
		withoutConfig bool
	}{
		{"names", nil, `{"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": null, "cls_token": "<s>"}`,
			`{"eos_token_id": [1, 2], "pad_token_id": 5, "unk_token_id": -1}`,
			[]string{"bos_token_id=258", "eos_token_id=259", "padding_token_id=5"}, false},
		{"flags", nil, `{"add_eos_token": true, "add_bos_token": false, "add_unk_token": true}`, `{}`,
			[]string{"add_bos_token=false", "add_eos_token=true"}, false},
		{"BOS by template", template("<s> A", "<s> A <s> B"), `{"bos_token": "<s>", "eos_token": "</s>"}`, `{}`,
			[]string{"bos_token_id=258", "eos_token_id=259", "add_bos_token=true", "add_sep_token=false"}, false},
		{"a template makes BOS", template("<s> A", ""), `{"eos_token": "</s>"}`, `{}`,
			[]string{"bos_token_id=258", "eos_token_id=259", "add_bos_token=true"}, false},
		{"another first token", template("<end> A", ""), `{"bos_token": "<s>", "cls_token": "<s>"}`, `{}`,
			[]string{"bos_token_id=258", "add_bos_token=false"}, false},
		{"another last token", template("A <end>", ""), `{"eos_token": "</s>"}`, `{}`,
			[]string{"eos_token_id=260", "eot_token_id=259", "add_eos_token=true"}, false},
		{"a separator", template("<s> A", "<s> A </s> B"), `{"bos_token": "<s>", "eos_token": "</s>"}`, `{}`,
			[]string{"bos_token_id=258", "eos_token_id=259", "seperator_token_id=259", "add_bos_token=true",
				"add_sep_token=true"}, false},
		{"RoBERTa", map[string]any{"type": "RobertaProcessing", "cls": []any{"<s>", 0}, "sep": []any{"</s>", 2}},
			`{"bos_token": "<s>", "eos_token": "</s>"}`, `{}`,
			[]string{"bos_token_id=258", "eos_token_id=259", "seperator_token_id=259", "add_bos_token=true",
				"add_eos_token=true", "add_sep_token=true"}, false},
		{"the flag of the config wins", template("<s> A", ""), `{"bos_token": "<s>", "add_bos_token": false}`, `{}`,
			[]string{"bos_token_id=258", "add_bos_token=false"}, false},
		{"the text model's ids", nil, `{"x": 1}`, `{"text_config": {"bos_token_id": 7}, "eos_token_id": 8}`,
			[]string{"bos_token_id=7", "eos_token_id=8"}, false},
		{"no tokenizer_config.json", template("<s> A", ""), "", `{"bos_token_id": 3}`,
			[]string{"bos_token_id=3", "add_bos_token=true"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := map[string]string{"tokenizer.json": pipelineJSON(t, added, map[string]any{"post_processor": c.post})}
			if !c.withoutConfig {
				files["tokenizer_config.json"] = c.tokenizer
			}
			lines, meta := keys(t, mapFS(files), c.config, Options{PreTokenizer: "gpt-2"})
			if got := lines[5:]; !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			types, _ := meta.Ints(keyTypes)
			if !slices.Equal(types[258:], []int64{3, 3, 3, 4}) {
				t.Errorf("types %v", types[258:])
			}
		})
	}
}

func TestAddedTokens(t *testing.T) {
	added := []addedToken{{ID: 258, Content: "<|x|>"}, {ID: 259, Content: "ĠĠ"},
		{ID: 260, Content: "ĠĠĠ", Normalized: true}, {ID: 261, Content: "▁a"}, {ID: 262, Content: "｜"},
		{ID: 263, Content: "<pad>"}, {ID: 264, Content: "he"}}
	_, meta := keys(t, mapFS(map[string]string{"tokenizer.json": pipelineJSON(t, added, nil)}), `{"vocab_size": 264}`,
		Options{PreTokenizer: "gpt-2"})
	tokens, _ := meta.Strings(keyTokens)
	types, _ := meta.Ints(keyTypes)
	if want := []string{"<|x|>", "  ", "ĠĠĠ", " a", "｜", "<pad>"}; !slices.Equal(tokens[258:], want) {
		t.Errorf("got %q, want %q", tokens[258:], want)
	}
	if want := []int64{3, 4, 4, 4, 4, 3}; !slices.Equal(types[258:], want) {
		t.Errorf("got %v, want %v", types[258:], want)
	}
}

// TestScored goes through a vocabulary with scores and all types of tokens, there and back.
func TestScored(t *testing.T) {
	tokens := []string{"<unk>", "<s>", "</s>"}
	types := []int32{2, 3, 3}
	scores := []float32{0, 0, 0}
	add := func(kind int32, score float32, more ...string) {
		for _, text := range more {
			tokens, types, scores = append(tokens, text), append(types, kind), append(scores, score)
		}
	}
	for b := range 256 {
		add(typeByte, 0, fmt.Sprintf("<0x%02X>", b))
	}
	add(typeNormal, -9, "▁", "a", "b", "c", "é")
	add(typeNormal, -1, "ab")
	add(typeNormal, -2, "▁ab")
	add(typeUnused, -3, "bc")
	add(typeUser, addedScore, "  ")
	add(typeNormal, -4, "abc")
	add(typeControl, addedScore, "<|end|>")
	add(typeUser, addedScore, "added")
	add(typeUnused, unusedScore, fmt.Sprintf("[PAD%d]", len(tokens)))
	for _, prefix := range []bool{false, true} {
		meta := modeltest.Meta(t, keySpace, prefix, keyModel, tokenizer.ScoredBPE, keyPre, "default", keyTokens, tokens,
			keyScores, scores, keyTypes, types, keyPrefix+"bos_token_id", uint32(1), keyPrefix+"eos_token_id", uint32(2),
			keyPrefix+"add_bos_token", true, keyPrefix+"add_eos_token", true, keyTemplate, "t")
		files, _ := writeFiles(t, meta)
		sameIDs(t, meta, files, "ab abc", "a b  c", "x added<|end|>bc</s>", "éab")
		o := Options{Vocabulary: arch.ByName(arch.Llama).Vocabulary}
		v, err := ReadFiles(files, map[string]any{"vocab_size": float64(len(tokens))}, o)
		if err != nil {
			t.Fatal(err)
		}
		var again gguf.Metadata
		if err := v.Set(&again); err != nil {
			t.Fatal(err)
		}
		sameKeys(t, &again, meta)

		delete(files, sentencePieceFile)
		testCharacterBPE(t, files)
	}
}

// testCharacterBPE reads the tokenizer.json of TestScored without its tokenizer.model.
func testCharacterBPE(t *testing.T, files fstest.MapFS) {
	lines, meta := keys(t, files, `{}`, Options{Vocabulary: arch.ByName(arch.Llama).Vocabulary})
	if want := []string{`model="llama"`, `pre="default"`, "tokens", "scores", "token_type"}; !slices.Equal(lines[1:6], want) {
		t.Errorf("got %q, want %q", lines[1:6], want)
	}
	types, _ := meta.Ints(keyTypes)
	scores, _ := meta.Floats(keyScores)
	const normal, user = int64(typeNormal), int64(typeUser)
	want := []int64{normal, normal, normal, normal, normal, normal, normal, normal, normal, normal, typeControl, user}
	if !slices.Equal(types[259:], want) || !slices.Equal(types[:4], []int64{normal, typeControl, typeControl, typeByte}) {
		t.Errorf("types %v and %v, want %v", types[:4], types[259:], want)
	}
	if slices.Min(scores) != addedScore || slices.Max(scores) != addedScore {
		t.Errorf("scores from %v to %v", slices.Min(scores), slices.Max(scores))
	}
}

func TestWrittenConfig(t *testing.T) {
	vocab, merges := byteVocab("<s>", "</s>", "<turn>")
	tokens := make([]string, len(vocab))
	types := make([]int32, len(vocab))
	for text, id := range vocab {
		tokens[id], types[id] = text, typeNormal
		if id >= 258 {
			types[id] = typeControl
		}
	}
	meta := modeltest.Meta(t, "general.architecture", "x", "x.context_length", uint32(4096),
		"general.sampling.temp", float32(0.6), "general.sampling.penalty_repeat", float32(1.1),
		keyModel, tokenizer.ByteLevel, keyPre, "gpt-2", keyTokens, tokens,
		keyTypes, types, keyMerges, merges, keyPrefix+"bos_token_id", uint32(258),
		keyPrefix+"eos_token_id", uint32(259), keyPrefix+"eot_token_id", uint32(260), keyPrefix+"add_bos_token", true,
		keyTemplate+".rag", "r", keyTemplates, []string{"rag"}, keyTemplate, "<&>")
	files, _ := writeFiles(t, meta)
	const rest = `, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false, "special": true}`
	for name, want := range map[string]string{
		"generation_config.json": `{"bos_token_id": 258, "eos_token_id": [260, 259], "temperature": 0.6,
			"repetition_penalty": 1.1, "do_sample": true}`,
		"special_tokens_map.json": `{"bos_token": "<s>", "eos_token": "</s>"}`,
		"tokenizer_config.json": `{"add_bos_token": true, "bos_token": "<s>", "eos_token": "</s>",
			"added_tokens_decoder": {"258": {"content": "<s>"` + rest + `, "259": {"content": "</s>"` + rest + `,
				"260": {"content": "<turn>"` + rest + `},
			"chat_template": [{"name": "default", "template": "<&>"}, {"name": "rag", "template": "r"}],
			"clean_up_tokenization_spaces": false, "model_max_length": 4096, "tokenizer_class": "PreTrainedTokenizerFast"}`,
	} {
		var got, wanted any
		if err := json.Unmarshal(files[name].Data, &got); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(want), &wanted); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, wanted) {
			t.Errorf("%s: got %s", name, files[name].Data)
		}
	}
	if !strings.Contains(string(files["tokenizer_config.json"].Data), `"<&>"`) {
		t.Error("letters are escaped that need not be")
	}
}

func TestErrors(t *testing.T) {
	vocab, _ := byteVocab()
	spm := Options{Vocabulary: arch.Vocabulary{Sources: []arch.VocabularySource{arch.SentencePiece}}}
	pre := Options{PreTokenizer: "gpt-2"}
	for _, c := range []struct {
		name, config string
		files        map[string]string
		o            Options
		want         string
	}{
		{"nothing", `{}`, nil, Options{}, "expected a tokenizer.json with BPE (or vocab.json and merges.txt)"},
		{"no tokenizer.model", `{}`, nil, spm, "expected tokenizer.model"},
		{"broken JSON", `{}`, map[string]string{"tokenizer.json": `{"model": `}, Options{}, "tokenizer.json: byte "},
		{"broken config", `{}`, map[string]string{"tokenizer_config.json": `[]`}, Options{}, "tokenizer_config.json: byte "},
		{"broken model", `{}`, map[string]string{"tokenizer.model": "\xff"}, spm, "tokenizer.model: no SentencePiece model"},
		{"WordPiece", `{}`, map[string]string{"tokenizer.json": `{"model": {"type": "WordPiece", "vocab": {"a": 1}}}`},
			Options{}, "expected a tokenizer.json with BPE"},
		{"too small", `{"vocab_size": 200}`, map[string]string{"tokenizer.json": pipelineJSON(t, nil, nil)}, pre,
			"vocab_size in config.json is 200"},
		{"too large", `{"vocab_size": 1e9}`, map[string]string{"tokenizer.json": pipelineJSON(t, nil, nil)}, pre,
			"vocab_size is 1000000000"},
		{"negative", `{"vocab_size": -1}`, map[string]string{"tokenizer.json": pipelineJSON(t, nil, nil)}, pre,
			"vocab_size is -1"},
		{"no file of the class", `{}`, map[string]string{"tokenizer_config.json": `{"tokenizer_class": "GPT2Tokenizer"}`},
			Options{Vocabulary: arch.ByName("phi3").Vocabulary}, "expected a tokenizer.json with BPE"},
		{"wrong name", `{}`, map[string]string{"tokenizer.json": pipelineJSON(t, nil, nil)}, Options{PreTokenizer: "gpt-3"},
			`--pre-tokenizer "gpt-3" is not known; known are `},
		{"merge", `{}`, map[string]string{"tokenizer.json": `{"model": {"type": "BPE", "vocab": {}, "merges": [["a"]]}}`},
			Options{}, `the merge ["a"] is not two tokens`},
		{"class", `{}`, map[string]string{"vocab.json": encode(t, vocab), "merges.txt": "h e\n",
			"tokenizer_config.json": `{"tokenizer_class": "BlenderbotTokenizer"}`}, pre, "of a BlenderbotTokenizer are not"},
		{"template", `{}`, map[string]string{"tokenizer.json": pipelineJSON(t, nil, nil),
			"tokenizer_config.json": `{"chat_template": [{"name": "x"}]}`}, pre, "chat template 0 has no name or no template"},
		{"tekken", `{}`, map[string]string{"tekken.json": `{"config": {"default_vocab_size": 5}, "vocab": []}`},
			Options{Vocabulary: arch.Vocabulary{Sources: []arch.VocabularySource{arch.Tekken}}}, "tekken.json: 5 tokens"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var config map[string]any
			if err := json.Unmarshal([]byte(c.config), &config); err != nil {
				t.Fatal(err)
			}
			_, err := ReadFiles(mapFS(c.files), config, c.o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// TestCreateFails wants the error of a file that cannot be made.
func TestCreateFails(t *testing.T) {
	vocab, merges := byteVocab()
	tokens := make([]string, len(vocab))
	for text, id := range vocab {
		tokens[id] = text
	}
	meta := modeltest.Meta(t, keyModel, tokenizer.ByteLevel, keyPre, "gpt-2", keyTokens, tokens, keyMerges, merges)
	want := fmt.Errorf("disk full")
	if _, err := WriteHF(meta, func(string, []byte) error { return want }); err != want {
		t.Errorf("got %v", err)
	}
}

// FuzzReadFiles wants no panic, and whatever is read to be set.
func FuzzReadFiles(f *testing.F) {
	f.Add([]byte(`{"added_tokens": [{"id": 1, "content": "a"}], "model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]},
		"decoder": {"type": "Replace", "pattern": {"String": "a"}, "content": "b"},
		"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "a"}}, {}], "pair": [{}, {}, {}]}}`),
		[]byte(`{"bos_token": "a", "added_tokens_decoder": {"3": {"content": "x"}}}`), []byte(`{"vocab_size": 4}`))
	f.Fuzz(func(t *testing.T, tokenizerJSON, tokenizerConfig, config []byte) {
		var model map[string]any
		if json.Unmarshal(config, &model) != nil {
			return
		}
		dir := fstest.MapFS{"tokenizer.json": {Data: tokenizerJSON}, "tokenizer_config.json": {Data: tokenizerConfig}}
		o := Options{Vocabulary: arch.ByName(arch.Llama).Vocabulary, PreTokenizer: "gpt-2"}
		if v, err := ReadFiles(dir, model, o); err == nil {
			if err := v.Set(&gguf.Metadata{}); err != nil {
				t.Error(err)
			}
		}
	})
}

// FuzzWriteHF wants no panic, files that are JSON, and what was written to be read again.
func FuzzWriteHF(f *testing.F) {
	f.Add(byte(0), "a\nb\nab\n<s>", []byte{1, 1, 1, 3}, "a b", byte(1))
	f.Add(byte(1), "<unk>\n<s>\n</s>\n▁\na\n▁a\n[PAD6]", []byte{2, 3, 3, 1, 1, 4, 5}, "", byte(7))
	f.Add(byte(2), "a\n\nb", []byte{1, 1, 6}, " b\na \na", byte(2))
	f.Fuzz(func(t *testing.T, kind byte, tokens string, types []byte, merges string, flags byte) {
		list := strings.Split(tokens, "\n")
		kinds, scores := make([]int32, len(list)), make([]float32, len(list))
		for i := range list {
			if i < len(types) {
				kinds[i] = int32(types[i])
				scores[i] = float32(int8(types[i]))
			}
		}
		kindName := []string{tokenizer.ByteLevel, tokenizer.ScoredBPE, tokenizer.Gemma4}[kind%3]
		meta := modeltest.Meta(t, keyModel, kindName, keyPre, "gpt-2", keyTokens, list, keyTypes, kinds, keyScores, scores,
			keyMerges, strings.Split(merges, "\n"), keySpace, flags&1 != 0)
		for i, name := range []string{"bos", "eos", "unk", "sep"} {
			if flags>>(i+1)&1 != 0 {
				meta.Set(keyPrefix+idKeys[name], uint32(i))
				meta.Set(keyPrefix+"add_"+name+"_token", flags>>(i+4)&1 != 0)
			}
		}
		files := fstest.MapFS{}
		_, err := WriteHF(meta, func(name string, data []byte) error {
			if strings.HasSuffix(name, ".json") && !json.Valid(data) {
				t.Errorf("%s is no JSON: %s", name, data)
			}
			files[name] = &fstest.MapFile{Data: data}
			return nil
		})
		if err != nil {
			return
		}
		o := Options{Vocabulary: arch.ByName(arch.Llama).Vocabulary, PreTokenizer: "gpt-2"}
		if _, err := ReadFiles(files, nil, o); err != nil {
			t.Error(err)
		}
	})
}

// TestAllPreTokenizers writes a pipeline for each name, with the classes of the original expressions, that can be run.
func TestAllPreTokenizers(t *testing.T) {
	vocab, merges := byteVocab()
	tokens := make([]string, len(vocab))
	for text, id := range vocab {
		tokens[id] = text
	}
	for _, pre := range tokenizer.PreTokenizers() {
		meta := modeltest.Meta(t, keyModel, tokenizer.ByteLevel, keyPre, pre, keyTokens, tokens, keyMerges, merges,
			keyPrefix+"add_bos_token", false)
		if rules, err := tokenizer.RulesOf(pre); err != nil || rules.Raw && !rules.Marks {
			if _, err := WriteHF(meta, nil); err == nil || !strings.Contains(err.Error(), pre) {
				t.Errorf("%s: got %v, want an error that names it", pre, err)
			}
			continue
		}
		files, notes := writeFiles(t, meta)
		for _, note := range notes {
			if strings.Contains(note, "could not be checked") {
				t.Errorf("%s: %s", pre, note)
			}
		}
		for _, runtime := range []string{`&&[^a-z]`, `&&[^A-Z]`, "AFMoE", `\\u4e00-\\u9fff`} {
			if strings.Contains(string(files["tokenizer.json"].Data), runtime) && pre != "afmoe" {
				t.Errorf("%s: the expression has llama.cpp's %s", pre, runtime)
			}
		}
	}
}
