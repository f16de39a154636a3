package dataset

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/records"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

// byteTokenizer has a token for each byte, so that lengths are easy to tell: 1 is BOS, 2 is EOS, byte b is 3+b and a
// space is 259. set changes its metadata.
func byteTokenizer(t testing.TB, set map[string]any) *tokenizer.Tokenizer {
	t.Helper()
	tokens, types := []string{"<unk>", "<s>", "</s>"}, []int32{2, 3, 3}
	for b := range 256 {
		tokens, types = append(tokens, fmt.Sprintf("<0x%02X>", b)), append(types, 6)
	}
	meta := new(gguf.Metadata)
	values := map[string]any{
		"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": append(tokens, "▁"),
		"tokenizer.ggml.token_type":       append(types, 1),
		"tokenizer.ggml.add_space_prefix": false,
	}
	for k, v := range set {
		values[k] = v
	}
	for k, v := range values {
		if err := meta.Set(k, v); err != nil {
			t.Fatal(err)
		}
	}
	tok, err := tokenizer.FromGGUF(meta)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// write makes a data file.
func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// Load is LoadSplit of one source.
func Load(path string, tok *tokenizer.Tokenizer, opt Options) (*Set, error) {
	opt.EvalSplit = 0
	set, _, err := LoadSplit([]Source{{Path: path}}, tok, opt)
	return set, err
}

// show is an example as text: < and > are BOS and EOS, tokens with loss are upper case where they are letters, and
// everything is preceded by ! where Loss is nil.
func show(tok *tokenizer.Tokenizer, e Example) string {
	var b strings.Builder
	if e.Loss == nil {
		b.WriteByte('!')
	}
	for i, id := range e.IDs {
		piece := map[int32]string{1: "<", 2: ">"}[id]
		if piece == "" {
			piece = tok.Piece(id)
		}
		if e.Loss != nil && e.Loss[i] {
			piece = strings.ToUpper(strings.Replace(piece, ">", "}", 1))
		}
		b.WriteString(piece)
	}
	return b.String()
}

func TestLoad(t *testing.T) {
	for _, c := range []struct {
		name, file, content string
		opt                 Options
		set                 map[string]any
		want                string // examples, divided by |
		notes               string
	}{
		{name: "text", file: "a.txt", content: "abcdefgh\n", opt: Options{SeqLen: 4}, want: "!<abc|!<def|!<gh\n"},
		{name: "text, one token left", file: "a.txt", content: "abcd", opt: Options{SeqLen: 4}, want: "!<abc|!<d"},
		{name: "text without BOS", file: "a.txt", content: "abcdefghi", opt: Options{SeqLen: 4},
			set: map[string]any{"tokenizer.ggml.add_bos_token": false}, want: "!abcd|!efgh"},
		{name: "text with EOS", file: "a.txt", content: "abc", opt: Options{SeqLen: 4, EOS: Yes}, want: "!<abc|!<>"},
		{name: "byte order mark", file: "a.txt", content: "\ufeffab", opt: Options{SeqLen: 4}, want: "!<ab"},
		{name: "text spells no control tokens", file: "a.txt", content: "a</s>", opt: Options{SeqLen: 8}, want: "!<a</s>"},
		{name: "unless asked to", file: "a.txt", content: "a</s>", opt: Options{SeqLen: 8, Special: Yes}, want: "!<a>"},
		{name: "record text", file: "a.jsonl", content: `{"text":"ab"}` + "\n\n" + `{"text":"c"}`, opt: Options{SeqLen: 8},
			want: "!<ab>|!<c>"},
		{name: "records spell control tokens", file: "a.jsonl", content: `{"text":"a</s>b"}`, opt: Options{SeqLen: 8},
			want: "!<a>b>"},
		{name: "unless asked not to", file: "a.jsonl", content: `{"text":"a</s>b"}`,
			opt: Options{SeqLen: 9, Special: No, EOS: No}, want: "!<a</s>b"},
		{name: "long text", file: "a.jsonl", content: `{"text":"abcde"}`, opt: Options{SeqLen: 4}, want: "!<abc|!<de>",
			notes: "1 of 1 records longer than the sequence length, split into several examples"},
		{name: "text field", file: "a.jsonl", content: `{"body":"ab","text":"no"}`,
			opt: Options{SeqLen: 8, TextField: "body"}, want: "!<ab>"},
		{name: "prompt", file: "a.jsonl", content: `{"prompt":"ab ","completion":"cd"}`, opt: Options{SeqLen: 8},
			want: "<ab CD}"},
		{name: "question", file: "a.jsonl", content: `{"question":"ab","answer":"cd","id":7}`, opt: Options{SeqLen: 8},
			want: "<ab\nCD}"},
		{name: "chosen fields", file: "a.jsonl", content: `{"in":"ab","out":"cd"}`,
			opt: Options{SeqLen: 8, PromptField: "in", CompletionField: "out"}, want: "<ab\nCD}"},
		{name: "separator", file: "a.jsonl", content: `{"question":"ab","answer":"cd"}`,
			opt: Options{SeqLen: 9, Separator: new(" = ")}, want: "<ab = CD}"},
		{name: "no EOS", file: "a.jsonl", content: `{"prompt":"ab","completion":"cd"}`, opt: Options{SeqLen: 8, EOS: No},
			want: "<abCD"},
		{name: "no prompt", file: "a.jsonl", content: `{"prompt":"","completion":"cd"}`, opt: Options{SeqLen: 8},
			want: "<CD}"},
		{name: "long prompt", file: "a.jsonl", content: `{"prompt":"abcdefgh","completion":"xy"}`, opt: Options{SeqLen: 8},
			want: "<efghXY}", notes: "1 of 1 records longer than the sequence length, the prompt cut at its beginning"},
		{name: "long completion", file: "a.jsonl", content: `{"prompt":"abcdefgh","completion":"stuvwxyz"}`,
			opt: Options{SeqLen: 8}, want: "<ghSTUVW",
			notes: "1 of 1 records longer than the sequence length, the prompt cut at its beginning; 1 of 1 records longer " +
				"than the sequence length, the completion cut at its end"},
		{name: "short prompt, long completion", file: "a.jsonl", content: `{"prompt":"a","completion":"stuvwxyz"}`,
			opt: Options{SeqLen: 8}, want: "<aSTUVWX",
			notes: "1 of 1 records longer than the sequence length, the completion cut at its end"},
		{name: "nothing to predict", file: "a.jsonl", content: `{"prompt":"a","completion":""}` + "\n" +
			`{"text":""}` + "\n" + `{"text":"b"}`, opt: Options{SeqLen: 8}, want: "!<b>",
			notes: "2 of 3 records with nothing to predict, dropped"},
		{name: "ids", file: "a.ndjson", content: `{"input_ids":[1,100,101,2]}`, opt: Options{SeqLen: 8}, want: "!<ab>"},
		{name: "ids and labels", file: "a.json",
			content: `{"input_ids":[1,100,101,2],"labels":[-100,-100,101,2],"attention_mask":[1,1,1,1]}`,
			opt:     Options{SeqLen: 8}, want: "<aB}"},
		{name: "padding", file: "a.jsonl",
			content: `{"input_ids":[0,0,1,100,101],"labels":[-100,-100,1,100,101],"attention_mask":[0,0,1,1,1]}`,
			opt:     Options{SeqLen: 8}, want: "<AB"},
		{name: "long ids", file: "a.jsonl", content: `{"input_ids":[1,100,101,102]}`, opt: Options{SeqLen: 3}, want: "!<ab",
			notes: "1 of 1 records longer than the sequence length, cut at their end"},
		{name: "kinds in one file", file: "a.jsonl", content: `{"text":"a"}` + "\r\n" + `{"question":"b","answer":"c"}`,
			opt: Options{SeqLen: 8}, want: "!<a>|<b\nC}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tok := byteTokenizer(t, c.set)
			set, err := Load(write(t, c.file, c.content), tok, c.opt)
			if err != nil {
				t.Fatal(err)
			}
			wantSet(t, tok, set, c.want, c.notes)
		})
	}
}

// wantSet compares the examples of a set, as show has them, and its notes.
func wantSet(t *testing.T, tok *tokenizer.Tokenizer, set *Set, want, notes string) {
	t.Helper()
	var got []string
	for _, e := range set.Examples {
		got = append(got, show(tok, e))
	}
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("got %q, want %q", s, want)
	}
	if s := strings.Join(set.Counts.Notes(), "; "); s != notes {
		t.Errorf("notes %q, want %q", s, notes)
	}
}

// BOS of the record is the first token, so its label is never a target.
func TestTargets(t *testing.T) {
	set, err := Load(write(t, "a.jsonl", `{"input_ids":[1,5,6],"labels":[1,5,6]}`), nil, Options{SeqLen: 8, VocabSize: 10})
	if err != nil {
		t.Fatal(err)
	}
	if set.Targets() != 2 || set.Tokens() != 3 {
		t.Errorf("%d targets of %d tokens", set.Targets(), set.Tokens())
	}
}

func TestLoadErrors(t *testing.T) {
	for _, c := range []struct {
		name, file, content, want string
		opt                       Options
	}{
		{name: "kind of file", file: "a.doc", content: "x", want: "a.doc: unknown kind of data; want one of .jsonl"},
		{name: "empty text", file: "a.txt", want: "a.txt: the file is empty"},
		{name: "empty records", file: "a.jsonl", content: "\n\n", want: "a.jsonl: the file is empty"},
		{name: "nothing left", file: "a.jsonl", content: `{"text":""}`,
			want: "none of its 1 records has anything to predict"},
		{name: "text not UTF-8", file: "a.txt", content: "ab\ncd\xffe",
			want: "a.txt:2: byte 3 of the line (0xff) is not UTF-8"},
		{name: "UTF-16", file: "a.txt", content: "\xff\xfea\x00", want: "UTF-16"},
		{name: "record not UTF-8", file: "a.jsonl", content: "{\"text\":\"a\"}\n{\"text\":\"\xe9\"}",
			want: "a.jsonl:2: byte 10 of the line (0xe9) is not UTF-8"},
		{name: "not JSON", file: "a.jsonl", content: "{\"text\":\"a\"}\n\n{text}",
			want: "a.jsonl:3: not JSON: invalid character 't'"},
		{name: "cut off", file: "a.jsonl", content: `{"text":"a`, want: "a.jsonl:1: not JSON: unexpected end"},
		{name: "two objects", file: "a.jsonl", content: `{"text":"a"}{"text":"b"}`, want: "a.jsonl:1: not JSON"},
		{name: "array", file: "a.json", content: "[{\"text\":\"a\"},\n[]]",
			want: "a.json:2: record 2: an array; want an object"},
		{name: "number", file: "a.jsonl", content: "12", want: "a.jsonl:1: a number; want an object"},
		{name: "null", file: "a.jsonl", content: "null", want: "a.jsonl:1: null; want an object"},
		{name: "fields", file: "a.jsonl", content: `{"prompt":"x","output":"y","answer":"z"}`,
			want: `a.jsonl:1: want "messages", "conversations", "instruction" and "output", "text", "prompt" and "completion", "question" and "answer", or "input_ids"; the fields are "prompt", "output" and "answer"`},
		{name: "no fields", file: "a.jsonl", content: `{}`, want: "the fields are none"},
		{name: "chosen field", file: "a.jsonl", content: `{"text":"x"}`, opt: Options{TextField: "body"},
			want: `a.jsonl:1: no field "body"; the fields are "text"`},
		{name: "chosen completion", file: "a.jsonl", content: `{"p":"x"}`,
			opt: Options{PromptField: "p", CompletionField: "c"}, want: `no field "c"; the fields are "p"`},
		{name: "type", file: "a.jsonl", content: `{"text":["a"]}`, want: `field "text" is an array, want a string`},
		{name: "null text", file: "a.jsonl", content: `{"text":null}`, want: `field "text" is null, want a string`},
		{name: "messages", file: "a.jsonl", content: `{"messages":[{"role":"user","content":"x"}]}`, want: "chat template"},
		{name: "id beyond", file: "a.jsonl", content: `{"input_ids":[1,260]}`,
			want: "a.jsonl:1: input_ids[1] is 260, beyond the vocabulary of 260"},
		{name: "id negative", file: "a.jsonl", content: `{"input_ids":[-1,2]}`, want: "input_ids[0] is -1"},
		{name: "id broken", file: "a.jsonl", content: `{"input_ids":[1.5]}`,
			want: `input_ids[0] is 1.5, want an integer`},
		{name: "labels short", file: "a.jsonl", content: `{"input_ids":[1,2],"labels":[1]}`,
			want: `"labels" has 1 numbers, "input_ids" has 2`},
		{name: "labels differ", file: "a.jsonl", content: `{"input_ids":[1,2],"labels":[1,3]}`,
			want: "labels[1] is 3, want 2 (the token itself) or -100"},
		{name: "no loss", file: "a.jsonl", content: `{"input_ids":[1,2],"labels":[1,-100]}`, want: "anything to predict"},
		{name: "short sequences", file: "a.txt", content: "x", opt: Options{SeqLen: 1},
			want: "sequences of 1 tokens, want at least 2"},
		{name: "half the fields", file: "a.jsonl", content: "{}", opt: Options{PromptField: "p"},
			want: "both prompt and completion"},
		{name: "too many fields", file: "a.jsonl", content: "{}",
			opt: Options{PromptField: "p", CompletionField: "c", TextField: "t"}, want: "not both"},
		{name: "not gzip", file: "a.txt.gz", content: "plain", want: "a.txt.gz: not a gzip file"},
		{name: "not zstd", file: "a.txt.zst", content: "plain text", want: "a.txt.zst: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.opt.SeqLen == 0 {
				c.opt.SeqLen = 16
			}
			_, err := Load(write(t, c.file, c.content), byteTokenizer(t, nil), c.opt)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
	tok := byteTokenizer(t, nil)
	if _, err := Load(filepath.Join(t.TempDir(), "a.txt"), tok, Options{SeqLen: 8}); !os.IsNotExist(err) {
		t.Errorf("absent file: %v", err)
	}
	if _, err := Load("a.txt", nil, Options{SeqLen: 8}); err == nil ||
		!strings.Contains(err.Error(), "neither a tokenizer") {
		t.Errorf("no tokenizer: %v", err)
	}
	for name, content := range map[string]string{"a.txt": "x", "a.jsonl": `{"text":"x"}`,
		"b.jsonl": `{"prompt":"x","completion":"y"}`} {
		_, err := Load(write(t, name, content), nil, Options{SeqLen: 8, VocabSize: 10})
		if err == nil || !strings.Contains(err.Error(), "needs a tokenizer") {
			t.Errorf("%s without a tokenizer: %v", name, err)
		}
	}
	noEOS := byteTokenizer(t, map[string]any{"tokenizer.ggml.tokens": []string{"a", "b"},
		"tokenizer.ggml.token_type": []int32{1, 1}})
	if _, err := Load(write(t, "a.txt", "ab"), noEOS, Options{SeqLen: 8, EOS: Yes}); err == nil ||
		!strings.Contains(err.Error(), "EOS") {
		t.Errorf("no EOS: %v", err)
	}
}

func TestCompressed(t *testing.T) {
	text := `{"text":"` + strings.Repeat("a", 3<<18) + `"}` + "\n" + `{"text":"b"}` + "\n"
	var gz, zst bytes.Buffer
	g := gzip.NewWriter(&gz)
	g.Write([]byte(text))
	g.Close()
	z, _ := zstd.NewWriter(&zst)
	z.Write([]byte(text))
	z.Close()
	tok := byteTokenizer(t, nil)
	plain, err := Load(write(t, "a.jsonl", text), tok, Options{SeqLen: 1024})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"a.jsonl.gz": gz.String(), "a.jsonl.zst": zst.String()} {
		set, err := Load(write(t, name, content), tok, Options{SeqLen: 1024})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(set.Examples, plain.Examples, func(a, b Example) bool { return slices.Equal(a.IDs, b.IDs) }) {
			t.Errorf("%s differs from the plain file", name)
		}
		if _, err := Load(write(t, name, content[:len(content)/2]), tok, Options{SeqLen: 1024}); err == nil {
			t.Errorf("half of %s is read without an error", name)
		}
	}
}

func TestText(t *testing.T) {
	ids, err := Text(write(t, "a.txt", "a </s>"), byteTokenizer(t, nil), records.Train, records.Options{})
	if want := []int32{1, 100, 259, 3 + '<', 3 + '/', 3 + 's', 3 + '>'}; err != nil || !slices.Equal(ids, want) {
		t.Errorf("got %v, %v, want %v", ids, err, want)
	}
}

func TestOrder(t *testing.T) {
	s := &Set{Examples: make([]Example, 10)}
	// The numbers are part of the contract: a seed gives the same order everywhere and in every version.
	for _, c := range []struct {
		epoch int
		seed  uint64
		want  []int
	}{
		{0, 1, []int{7, 6, 1, 3, 2, 4, 8, 9, 0, 5}},
		{1, 1, []int{2, 5, 8, 3, 4, 1, 7, 6, 0, 9}},
		{0, 2, []int{4, 2, 9, 5, 8, 0, 1, 3, 7, 6}},
	} {
		got := s.Order(c.epoch, c.seed)
		if !slices.Equal(got, c.want) {
			t.Errorf("epoch %d, seed %d: %v, want %v", c.epoch, c.seed, got, c.want)
		}
		if sorted := slices.Sorted(slices.Values(got)); sorted[0] != 0 || len(slices.Compact(sorted)) != 10 {
			t.Errorf("%v is no order", got)
		}
	}
	counts := [3][3]int{}
	three := &Set{Examples: make([]Example, 3)}
	for epoch := range 3000 {
		for place, e := range three.Order(epoch, 9) {
			counts[place][e]++
		}
	}
	for _, row := range counts {
		for _, n := range row {
			if n < 900 || n > 1100 {
				t.Errorf("of 3000 orders, counts by place and example %v", counts)
			}
		}
	}
}

func TestBatches(t *testing.T) {
	s := &Set{}
	for _, n := range []int{3, 5, 4, 9, 2, 2, 2} {
		s.Examples = append(s.Examples, Example{IDs: make([]int32, n)})
	}
	for _, c := range []struct {
		order []int
		size  int
		want  string
	}{
		{nil, 8, "[[0 1] [2] [3] [4 5 6]]"},
		{[]int{6, 5, 4, 3, 2, 1, 0}, 8, "[[6 5 4] [3] [2] [1 0]]"},
		{[]int{0, 1}, 100, "[[0 1]]"},
		{[]int{0, 1}, 0, "[[0] [1]]"},
		{[]int{}, 8, "[]"},
	} {
		if got := fmt.Sprint(s.Batches(c.order, c.size)); got != c.want {
			t.Errorf("%v in %d: %s, want %s", c.order, c.size, got, c.want)
		}
	}
	if got := new(Set).Batches(nil, 8); len(got) != 0 {
		t.Errorf("no examples: %v", got)
	}
}

func TestBatch(t *testing.T) {
	s := &Set{Examples: []Example{
		{IDs: []int32{1, 7, 8}},
		{IDs: []int32{1, 5, 6, 2}, Loss: []bool{false, false, true, true}},
	}}
	var b batch.Batch
	s.Batch(&b, []int{0})
	s.Batch(&b, []int{1, 0})
	const want = "[1 5 6 2 1 7 8] [0 1 2 3 0 1 2] [0 4 7] [-1 6 2 -1 7 8 -1]"
	if got := fmt.Sprint(b.IDs, b.Pos, b.Bounds, b.Targets); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Examples are slices of shared blocks: appending to one must not reach the next.
func TestExamplesApart(t *testing.T) {
	set, err := Load(write(t, "a.txt", strings.Repeat("abcdefg", 30000)), byteTokenizer(t, nil), Options{SeqLen: 100})
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for i := range set.Examples {
		e := &set.Examples[i]
		if len(e.IDs) != cap(e.IDs) {
			t.Fatalf("example %d has room for %d tokens more", i, cap(e.IDs)-len(e.IDs))
		}
		total += len(e.IDs) - 1
	}
	if total != 210000 {
		t.Errorf("%d tokens, want 210000", total)
	}
}

func TestReference(t *testing.T) {
	path := testdata.Shared(t, "text/gsm8k/test.jsonl")
	f, err := gguf.Open(testdata.Shared(t, "models/stories260K.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tok, err := tokenizer.FromGGUF(f.Meta)
	if err != nil {
		t.Fatal(err)
	}
	set, err := Load(path, tok, Options{SeqLen: 2048})
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Examples) != 1319 || len(set.Counts.Notes()) != 0 {
		t.Errorf("%d examples, want 1319; %v", len(set.Examples), set.Counts.Notes())
	}
	e := set.Examples[0]
	text := tok.Decode(e.IDs)
	if !strings.HasPrefix(text, "Janet’s ducks") || !strings.Contains(text, "farmers' market?\nJanet sells 16") ||
		!strings.HasSuffix(text, "#### 18") {
		t.Errorf("the first example reads %q", text)
	}
	first := slices.Index(e.Loss, true)
	if answer := tok.Decode(e.IDs[first:]); answer != "Janet sells 16 - 3 - 4 = <<16-3-4=9>>9 duck eggs a day.\nShe "+
		"makes 9 * 2 = $<<9*2=18>>18 every day at the farmer’s market.\n#### 18" {
		t.Errorf("its answer reads %q", answer)
	}
	if last := len(e.IDs) - 1; !e.Loss[last] || !tok.IsEOG(e.IDs[last]) {
		t.Error("the example does not end in EOS with loss")
	}
}

// TestSections has a text that is read in several sections, and one tokenized as a whole.
func TestSections(t *testing.T) {
	text, err := os.ReadFile(testdata.Shared(t, "text/tinyshakespeare.txt"))
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Repeat(text, 3)
	f, err := gguf.Open(testdata.Shared(t, "models/stories260K.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tok, err := tokenizer.FromGGUF(f.Meta)
	if err != nil {
		t.Fatal(err)
	}
	set, err := Load(write(t, "a.txt", string(text)), tok, Options{SeqLen: 1025})
	if err != nil {
		t.Fatal(err)
	}
	var ids []int32
	for _, e := range set.Examples {
		ids = append(ids, e.IDs[1:]...)
	}
	if want := tok.Encode(string(text), false); len(text) < 3*records.Section || !slices.Equal(ids, want) {
		t.Errorf("%d bytes in sections give %d other tokens, want %d", len(text), len(ids), len(want))
	}
}

func FuzzLoad(f *testing.F) {
	for _, s := range []string{
		`{"text":"a"}`, `{"prompt":"a","completion":"b"}`, `{"input_ids":[1,2],"labels":[-100,2],"attention_mask":[1,1]}`,
		"[1]\n{", "\ufeff{}", "\"\\ud800\"",
	} {
		f.Add(s, 4)
	}
	tok := byteTokenizer(f, nil)
	f.Fuzz(func(t *testing.T, s string, seqLen int) {
		for _, name := range []string{"a.txt", "a.jsonl"} {
			set, err := Load(write(t, name, s), tok, Options{SeqLen: seqLen})
			if err != nil {
				continue
			}
			for _, e := range set.Examples {
				if len(e.IDs) < 2 || len(e.IDs) > seqLen || e.Targets() < 1 || e.Loss != nil && len(e.Loss) != len(e.IDs) {
					t.Fatalf("example of %d tokens, %d with loss, %d flags; the limit is %d", len(e.IDs), e.Targets(), len(e.Loss),
						seqLen)
				}
			}
			if len(set.Batches(set.Order(1, 2), seqLen)) == 0 {
				t.Fatal("no batches")
			}
		}
	})
}

func ExampleSet_Batches() {
	set := &Set{Examples: []Example{
		{IDs: []int32{1, 10, 11}}, {IDs: []int32{1, 12}}, {IDs: []int32{1, 13, 14, 15}},
	}}
	for _, b := range set.Batches(nil, 6) {
		fmt.Println(b)
	}
	// Output:
	// [0 1]
	// [2]
}
