package hfvocab

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/modelcard"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

// WriteHF writes the tokenizer files of a Hugging Face directory from the metadata of a GGUF file: tokenizer.json,
// tokenizer.model for a vocabulary with scores, tokenizer_config.json with the chat templates, special_tokens_map.json
// and generation_config.json. create makes each file. notes say what the metadata do not hold and what was assumed.
//
// The tokenizer gives the ids that the GGUF file gives, and where llama.cpp simplified the original's expressions,
// those of the original.
func WriteHF(meta *gguf.Metadata, create func(name string, data []byte) error) (notes []string, err error) {
	b, err := newBack(meta)
	if err != nil {
		return nil, err
	}
	build := map[string]func(*tokenizerJSON) error{
		tokenizer.ByteLevel: b.byteBPE, tokenizer.ScoredBPE: b.scored, tokenizer.Gemma4: b.characters,
	}[b.kind]
	if build == nil {
		return nil, fmt.Errorf("%s %q cannot be written as a tokenizer.json: %w", keyModel, b.kind, errors.ErrUnsupported)
	}
	t := &tokenizerJSON{added: b.addedTokens(), post: b.postProcessor()}
	if err := build(t); err != nil {
		return nil, err
	}
	b.note("lstrip, rstrip and single_word of added tokens are not in a GGUF file: what llama.cpp does was assumed, " +
		"which goes by the model's name")
	data, err := t.encode()
	if err != nil {
		return nil, err
	}
	b.write(tokenizerFile, data)
	b.writeJSON(tokenizerConfigFile, b.tokenizerConfig())
	b.writeJSON(specialMapFile, b.specialMap())
	b.writeJSON(generationFile, b.generation())
	if b.err != nil {
		return nil, b.err
	}
	b.compare()
	for _, f := range b.files {
		if err := create(f.name, f.data); err != nil {
			return nil, err
		}
	}
	return b.notes, nil
}

// back is a vocabulary on its way from a GGUF file to Hugging Face's files.
type back struct {
	meta   *gguf.Metadata
	kind   string
	tokens []string
	types  []int64
	scores []float32
	t      *tokenizer.Tokenizer // as the GGUF file has it

	files []file
	notes []string
	err   error
}

// file is a file that was made.
type file struct {
	name string
	data []byte
}

// made is files that lie in no directory.
type made []file

// Open reports that a file is not there: all are read by ReadFile.
func (m made) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// ReadFile is a file's data.
func (m made) ReadFile(name string) ([]byte, error) {
	for _, f := range m {
		if f.name == name {
			return f.data, nil
		}
	}
	return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
}

func (b *back) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
}

func (b *back) write(name string, data []byte) { b.files = append(b.files, file{name, data}) }

func (b *back) writeJSON(name string, o object) {
	if len(o) == 0 || b.err != nil {
		return
	}
	var data []byte
	data, b.err = encodeJSON(o, "  ")
	b.write(name, append(data, '\n'))
}

// newBack reads the vocabulary. The tokenizer checks it.
func newBack(meta *gguf.Metadata) (*back, error) {
	t, err := tokenizer.FromGGUF(meta)
	if err != nil {
		return nil, err
	}
	b := &back{meta: meta, t: t, kind: t.Kind()}
	b.tokens, _ = meta.Strings(keyTokens)
	b.tokens = slices.Clone(b.tokens)
	for i, text := range b.tokens {
		if text == "" {
			b.tokens[i] = fmt.Sprintf("[EMPTY_%d]", i)
		}
		if !utf8.ValidString(text) {
			return nil, fmt.Errorf("%s: the token %d (%q) is no UTF-8, which Hugging Face's files need", keyTokens, i, text)
		}
	}
	var ok bool
	if b.types, ok = meta.Ints(keyTypes); !ok {
		b.types = slices.Repeat([]int64{typeNormal}, len(b.tokens))
	}
	if b.scores, ok = meta.Floats(keyScores); !ok {
		b.scores = make([]float32, len(b.tokens))
	}
	return b, nil
}

// isPadding reports whether a token only fills the vocabulary up.
func (b *back) isPadding(i int) bool {
	return b.types[i] == typeUnused && b.tokens[i] == fmt.Sprintf("[PAD%d]", i)
}

// isAdded reports whether a token is found in a text before all else: by its type or, where the converter lost that,
// because generation ends there.
func (b *back) isAdded(i int) bool {
	switch b.types[i] {
	case typeControl, typeUser, typeUnknown:
		return true
	}
	return b.types[i] == typeNormal && b.scores[i] == addedScore && b.t.IsEOG(int32(i))
}

func (b *back) addedTokens() []addedToken {
	var all []addedToken
	for i, text := range b.tokens {
		if b.isAdded(i) {
			before, after := b.t.Strips(int32(i))
			// A normalized token stays as it is when it is read again; others are decoded.
			all = append(all, addedToken{ID: int64(i), Content: text, Special: b.types[i] != typeUser, LStrip: before,
				RStrip: after, Normalized: b.kind == tokenizer.ByteLevel && decodeBytes(text) != text})
		}
	}
	return all
}

// vocab is the tokens of the model, and their ids. Added tokens at the end are not among them unless all are to be, or
// ids before them are left out: the others get the ids behind the model's.
func (b *back) vocab(all bool) (object, map[string]int) {
	end, kept := 0, 0
	for i := range b.tokens {
		if b.isPadding(i) {
			continue
		}
		all = all || kept < i
		kept = i + 1
		if !b.isAdded(i) {
			end = i + 1
		}
	}
	if all {
		end = kept
	}
	var vocab object
	ids := map[string]int{}
	for i, text := range b.tokens[:end] {
		if !b.isPadding(i) {
			vocab.add(text, i)
			ids[text] = i
		}
	}
	return vocab, ids
}

// id is the token of a special name. Vocabularies with scores need not name the usual BOS and EOS.
func (b *back) id(name string) (int, bool) {
	if id, ok := b.meta.Uint(keyPrefix + idKeys[name]); ok {
		return int(id), id < uint64(len(b.tokens))
	}
	usual := map[string]string{"bos": "<s>", "eos": "</s>"}[name]
	id, ok := b.t.ID(usual)
	return int(id), ok && b.kind == tokenizer.ScoredBPE && id == map[string]int32{"bos": 1, "eos": 2}[name]
}

// mergesOf are the merges of the file of which all tokens are among ids.
func (b *back) mergesOf(ids map[string]int) [][2]string {
	list, _ := b.meta.Strings(keyMerges)
	known := func(text string) (string, bool) {
		if _, ok := ids[text]; ok {
			return text, true
		}
		spaced := strings.ReplaceAll(text, "Ġ", " ")
		_, ok := ids[spaced]
		return spaced, ok
	}
	var all [][2]string
	for _, m := range list {
		at := strings.Index(m[min(1, len(m)):], " ") + 1
		left, okLeft := known(m[:at])
		right, okRight := known(m[min(at+1, len(m)):])
		if _, ok := ids[left+right]; ok && okLeft && okRight && at > 0 {
			all = append(all, [2]string{left, right})
		}
	}
	if lost := len(list) - len(all); lost > 0 {
		b.note("%d merges of tokens that are not in the vocabulary were left out", lost)
	}
	return all
}

// composed are the pre-tokenizers whose models have texts normalized to composed characters (NFC).
var composed = []string{"qwen2", "qwen35", "mpt", "olmo", "command-r"}

// byteBPE builds the pipeline of a byte-level vocabulary.
func (b *back) byteBPE(t *tokenizerJSON) error {
	pre, _ := b.meta.String(keyPre)
	rules, err := tokenizer.RulesOf(pre)
	switch {
	case err != nil:
		return err
	case rules.Marks:
		return b.characters(t)
	case rules.Raw:
		return fmt.Errorf("%s %q cannot be written as a tokenizer.json: %w", keyPre, pre, errors.ErrUnsupported)
	}
	if _, ok := b.meta.Get(keyMerges); !ok {
		return fmt.Errorf("no %s, which a tokenizer.json needs: %w", keyMerges, errors.ErrUnsupported)
	}
	if slices.Contains(composed, pre) {
		t.normalizer = object{{"type", "NFC"}}
		b.note("the normalizer is not in a GGUF file: NFC was assumed, as models with %s %q have it; llama.cpp does not "+
			"normalize", keyPre, pre)
	} else {
		b.note("the normalizer is not in a GGUF file: none was assumed")
	}
	if on, ok := b.meta.Bool(keySpace); ok && on {
		b.note("%s is true, which Hugging Face's tokenizer follows and llama.cpp does not for this kind: ids of the first "+
			"word differ", keySpace)
	}
	t.preTokenizer, t.ignoreMerges = wordSteps(rules.Stages), rules.IgnoreMerges
	t.decoder = byteLevel(true, true)
	var ids map[string]int
	t.vocab, ids = b.vocab(false)
	t.merges = b.mergesOf(ids)
	return nil
}

// spacesAsMarks is the step that writes spaces as ▁.
func spacesAsMarks() object { return replace(" ", spaceMark) }

// markDecoder are the steps that write ▁ as spaces, and byte tokens as bytes.
func markDecoder(more ...object) object {
	steps := []object{replace(spaceMark, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}}
	return sequence("decoders", append(steps, more...)...)
}

// characters builds the pipeline of a vocabulary with merges of characters.
func (b *back) characters(t *tokenizerJSON) error {
	t.normalizer, t.decoder = spacesAsMarks(), markDecoder()
	t.preTokenizer = object{{"type", "Split"}, {"pattern", object{{"String", " "}}}, {"behavior", "MergedWithPrevious"},
		{"invert", false}}
	t.unk, t.fuseUnk, t.byteFallback = b.unknown(), true, true
	var ids map[string]int
	t.vocab, ids = b.vocab(true)
	t.merges = b.mergesOf(ids)
	b.note("lines are not cut apart, as in the original: llama.cpp cuts at them first")
	b.note("which ordinary tokens were added ones is not in a GGUF file of this kind: only those at which generation " +
		"ends were taken for such")
	return nil
}

// unknown is the text of the unknown token, nil where there is none.
func (b *back) unknown() any {
	if id, ok := b.id("unk"); ok {
		return b.tokens[id]
	}
	if id := slices.Index(b.types, typeUnknown); id >= 0 {
		return b.tokens[id]
	}
	return nil
}

// scored builds the pipeline of a vocabulary with scores, and its tokenizer.model.
func (b *back) scored(t *tokenizerJSON) error {
	prefix := true
	if on, ok := b.meta.Bool(keySpace); ok {
		prefix = on
	}
	t.normalizer, t.decoder = spacesAsMarks(), markDecoder()
	if prefix {
		t.normalizer = sequence("normalizers", object{{"type", "Prepend"}, {"prepend", spaceMark}}, spacesAsMarks())
		t.decoder = markDecoder(object{{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}})
	}
	t.unk, t.fuseUnk, t.byteFallback = b.unknown(), true, slices.Contains(b.types, typeByte)
	var ids map[string]int
	t.vocab, ids = b.vocab(false)
	t.merges = b.scoreMerges(ids)
	b.write(sentencePieceFile, b.sentencePiece(prefix))
	if len(b.scores) > 1 && slices.Min(b.scores) == slices.Max(b.scores) {
		b.note("all tokens have the same score: the file was made from a tokenizer with merges, which are lost; texts are " +
			"cut as llama.cpp cuts them, not as the original did")
	}
	b.note("the trainer's settings of tokenizer.model are not in a GGUF file")
	return nil
}

// scoreMerges are the merges of a vocabulary with scores: each cut of a token into two others, the best token first. It
// is what transformers makes of a tokenizer.model.
func (b *back) scoreMerges(ids map[string]int) [][2]string {
	type cut struct {
		left, right string
		score       float32
	}
	var all []cut
	for i, text := range b.tokens {
		if b.types[i] != typeNormal && (b.types[i] != typeUnused || b.isPadding(i)) {
			continue
		}
		from := len(all)
		for at := range text {
			_, left := ids[text[:at]]
			if _, right := ids[text[at:]]; at > 0 && left && right {
				all = append(all, cut{text[:at], text[at:], b.scores[i]})
			}
		}
		slices.SortStableFunc(all[from:], func(x, y cut) int {
			return cmp.Or(ids[x.left]-ids[y.left], ids[x.right]-ids[y.right])
		})
	}
	slices.SortStableFunc(all, func(x, y cut) int {
		return cmp.Or(cmp.Compare(y.score, x.score), len([]rune(y.left))-len([]rune(x.left)),
			len([]rune(y.right))-len([]rune(x.right)))
	})
	merges := make([][2]string, len(all))
	for i, c := range all {
		merges[i] = [2]string{c.left, c.right}
	}
	return merges
}

// postProcessor puts BOS and EOS around texts.
func (b *back) postProcessor() object {
	bos, hasBOS := b.t.BOS()
	eos, hasEOS := b.t.EOS()
	first, last := hasBOS && b.t.AddBOS(), hasEOS && b.t.AddEOS()
	if !first && !last {
		if b.kind == tokenizer.ByteLevel {
			return byteLevel(false, true)
		}
		return nil
	}
	var special object
	put := func(parts []object, on bool, id int32, kind int) []object {
		if !on {
			return parts
		}
		text := b.tokens[id]
		if !slices.ContainsFunc(special, func(m member) bool { return m.key == text }) {
			special.add(text, object{{"id", text}, {"ids", []int32{id}}, {"tokens", []string{text}}})
		}
		return append(parts, object{{"SpecialToken", object{{"id", text}, {"type_id", kind}}}})
	}
	text := func(name string, kind int) object {
		return object{{"Sequence", object{{"id", name}, {"type_id", kind}}}}
	}

	single := put(append(put(nil, first, bos, 0), text("A", 0)), last, eos, 0)
	pair := append(put(nil, first, bos, 0), text("A", 0))
	// A GGUF file that says whether a separator stands between two texts was made from a template with one, or with BOS.
	sep, known := b.meta.Bool(keyPrefix + "add_sep_token")
	switch id, ok := b.id("sep"); {
	case known && sep && ok:
		pair = put(pair, true, int32(id), 0)
	case known && sep:
		pair = put(pair, hasEOS, eos, 0)
	case known:
		pair = put(put(pair, last, eos, 0), first, bos, 1)
	}
	pair = put(append(pair, text("B", 1)), last, eos, 1)
	return object{{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}}
}

// specialMap are the texts of the special tokens that the file names.
func (b *back) specialMap() object {
	var o object
	for _, name := range namedTokens {
		if id, ok := b.id(name); ok && idKeys[name] != "" {
			o.add(name+"_token", b.tokens[id])
		}
	}
	return o
}

func (b *back) tokenizerConfig() object {
	var o object
	for _, name := range flagKeys {
		if on, ok := b.meta.Bool(keyPrefix + "add_" + name + "_token"); ok {
			o.add("add_"+name+"_token", on)
		}
	}
	if on, ok := b.meta.Bool(keySpace); ok {
		o.add("add_prefix_space", on)
	}
	var decoder object
	var more []string
	named := b.specialMap()
	for _, t := range b.addedTokens() {
		// Of a vocabulary with scores the others are in tokenizer.model, and would lose theirs here.
		if b.kind == tokenizer.ScoredBPE && b.scores[t.ID] != addedScore {
			continue
		}
		decoder.add(strconv.FormatInt(t.ID, 10), object{{"content", t.Content}, {"lstrip", t.LStrip},
			{"normalized", t.Normalized}, {"rstrip", t.RStrip}, {"single_word", false}, {"special", t.Special}})
		if b.types[t.ID] == typeControl && !slices.ContainsFunc(named, func(m member) bool { return m.value == t.Content }) {
			more = append(more, t.Content)
		}
	}
	o.add("added_tokens_decoder", decoder)
	if b.kind != tokenizer.ByteLevel && more != nil {
		o.add("additional_special_tokens", more)
	}
	o = append(o, named...)
	if templates := b.chatTemplates(); templates != nil {
		o.add("chat_template", templates)
	}
	o.add("clean_up_tokenization_spaces", false)
	if name, ok := b.meta.String("general.architecture"); ok {
		if n, ok := b.meta.Uint(name + ".context_length"); ok {
			o.add("model_max_length", n)
		}
	}
	o.add("tokenizer_class", "PreTrainedTokenizerFast")
	return o
}

// chatTemplates is the template, or a list where there are several; nil where there is none.
func (b *back) chatTemplates() any {
	text, hasDefault := b.meta.String(keyTemplate)
	names, _ := b.meta.Strings(keyTemplates)
	if len(names) == 0 {
		if !hasDefault {
			return nil
		}
		return text
	}
	var all []object
	add := func(name, text string) { all = append(all, object{{"name", name}, {"template", text}}) }
	if hasDefault {
		add(defaultTemplate, text)
	}
	for _, name := range names {
		if text, ok := b.meta.String(keyTemplate + "." + name); ok {
			add(name, text)
		}
	}
	return all
}

// generation are the tokens at the ends of texts, and how to sample.
func (b *back) generation() object {
	var o object
	if id, ok := b.id("bos"); ok {
		o.add("bos_token_id", id)
	}
	ends := b.ends()
	switch len(ends) {
	case 0:
	case 1:
		o.add("eos_token_id", ends[0])
	default:
		o.add("eos_token_id", ends)
	}
	if id, ok := b.id("pad"); ok {
		o.add("pad_token_id", id)
	}
	sample := false
	for name, value := range modelcard.Generation(b.meta) {
		if f, ok := value.(float32); ok && (math.IsNaN(float64(f)) || math.IsInf(float64(f), 0)) {
			b.note("%s is %v and was left out", name, f)
			continue
		}
		o.add(name, value)
		sample = sample || name == "temperature" || name == "top_p" || name == "top_k"
	}
	if sample {
		o.add("do_sample", true)
	}
	return o
}

// ends are the tokens at which generation ends. The end of a turn that the file names goes first: some converters take
// the first for it. Those that are known by their text go last.
func (b *back) ends() []int {
	var ends []int
	add := func(id int, ok bool) {
		if ok && !slices.Contains(ends, id) {
			ends = append(ends, id)
		}
	}
	for _, name := range []string{"eot", "eos", "eom"} {
		add(b.id(name))
	}
	for _, known := range []func() (int32, bool){b.t.EOT, b.t.EOM} {
		id, ok := known()
		add(int(id), ok)
	}
	return ends
}

// compare encodes the reference text with what was written.
func (b *back) compare() {
	t, err := tokenizer.FromHFFiles(made(b.files))
	if err != nil {
		b.note("the tokenizer could not be checked: %v", err)
		return
	}
	name, hash, known := tokenizer.PreTokenizerOf(t)
	pre, _ := b.meta.String(keyPre)
	_, want, _ := tokenizer.PreTokenizerOf(b.t)
	switch {
	case hash == want:
	case known && name == pre:
		b.note("the written tokenizer is the original's, known as %s: llama.cpp, which simplifies its expressions, gives "+
			"other ids for some scripts", name)
	default:
		b.note("the written tokenizer gives other ids for llama.cpp's reference text than the GGUF file does")
	}
}
