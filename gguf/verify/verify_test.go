package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/modeltest"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/safetensors"
)

// llama writes a llama model whose tensors spoil may change.
func llama(t *testing.T, typ gguf.Type, spoil func(name string, data []byte), pairs ...any) string {
	t.Helper()
	meta, tensors := modeltest.Llama(t, 2, typ)
	for i := 0; i < len(pairs); i += 2 {
		if err := meta.Set(pairs[i].(string), pairs[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	return write(t, meta, tensors, spoil)
}

func write(t *testing.T, meta *gguf.Metadata, tensors []gguf.Tensor, spoil func(name string, data []byte)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.gguf")
	modeltest.WriteGGUF(t, path, gguf.Format{}, meta, tensors, spoil)
	return path
}

func put(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read1(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func look(t *testing.T, path string, opt Options) *Report {
	t.Helper()
	r, err := File(t.Context(), path, opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// lines is findings as text.
func lines(list []Finding) string {
	var all []string
	for _, f := range list {
		all = append(all, f.String())
	}
	return strings.Join(all, "\n")
}

func TestNoProblems(t *testing.T) {
	for _, typ := range []gguf.Type{gguf.F32, gguf.F16, gguf.Q4_0, gguf.Q6_K} {
		r := look(t, llama(t, typ, nil), Options{})
		if !r.OK() || len(r.Notes) > 0 || r.Format != "GGUF" || r.Architecture != "llama" || len(r.Tensors) != 20 ||
			r.Numbers < 1e6 {
			t.Errorf("%v: problems %q, notes %q, %d numbers", typ, lines(r.Problems), lines(r.Notes), r.Numbers)
		}
	}
	for _, path := range []string{"models/stories260K.gguf", "peft/base", "peft/lora_all/final",
		"quant/files/tiny-qwen2-f16.gguf", "quant/files/tiny-llama-imatrix.gguf"} {
		t.Run(path, func(t *testing.T) {
			if r := look(t, testdata.Shared(t, path), Options{}); !r.OK() {
				t.Errorf("problems %q", lines(r.Problems))
			}
		})
	}
}

// TestFindings spoils a model in one way after another.
func TestFindings(t *testing.T) {
	at := func(tensor string, change func(data []byte)) func(string, []byte) {
		return func(name string, data []byte) {
			if name == tensor {
				change(data)
			}
		}
	}
	float := func(x float64) []byte {
		return binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(x)))
	}
	cut := func(n int) string {
		return put(t, "m.gguf", func() []byte { d := read1(t, llama(t, gguf.F32, nil)); return d[:len(d)-n] }())
	}
	short := func() string {
		meta, tensors := modeltest.Llama(t, 1, gguf.F32)
		tensors[4].Shape = []int64{256, 255}
		return write(t, meta, tensors, nil)
	}
	lacking := func() string {
		meta, tensors := modeltest.Llama(t, 1, gguf.F32)
		return write(t, meta, tensors[:len(tensors)-1], nil)
	}
	for _, tt := range []struct {
		name, path    string
		problem, note string // "" where there is none
	}{
		{"NaN", llama(t, gguf.F32, at("blk.1.attn_k.weight", func(d []byte) { copy(d[4*(256*3+5):], modeltest.NaN()) })),
			`tensor "blk.1.attn_k.weight": NaN at row 3, column 5`, ""},
		{"infinity", llama(t, gguf.F32, at("output_norm.weight", func(d []byte) { copy(d[4*7:], float(math.Inf(-1))) })),
			`tensor "output_norm.weight": infinity at row 0, column 7`, ""},
		{"a scale that is infinite", llama(t, gguf.Q4_0, at("blk.0.ffn_up.weight", func(d []byte) {
			d[18*8*2], d[18*8*2+1] = 0, 0x7c
		})),
			`tensor "blk.0.ffn_up.weight": `, ""},
		{"zeros", llama(t, gguf.F32, at("blk.0.ffn_up.weight", func(d []byte) { clear(d) })),
			"", `tensor "blk.0.ffn_up.weight": all of its 524288 bytes are zero`},
		{"cut", cut(100), "is it complete?", ""},
		{"a header cut", put(t, "m.gguf", read1(t, llama(t, gguf.F32, nil))[:500]), "gguf: ", ""},
		{"empty", put(t, "m.gguf", nil), "expected a GGUF header", ""},
		{"something else", put(t, "m.bin", []byte("something else")), "neither GGUF nor safetensors", ""},
		{"a shape", short(), `has shape [255 256] (rows first), expected [256 256]`, ""},
		{"a tensor lacks", lacking(), `tensor "blk.0.ffn_down.weight" is missing`, ""},
		{"another architecture", llama(t, gguf.F32, nil, "general.architecture", "qwen2"), `general.architecture is "qwen2"`,
			""},
		{"an architecture not known", llama(t, gguf.F32, nil, "general.architecture", "new", "new.block_count", uint32(2)),
			"", `shapes were not checked against the architecture: architecture "new" is not supported`},
		{"experts", llama(t, gguf.F32, nil, "llama.expert_count", uint32(8)), "0 of 8 experts are used", ""},
		{"a block that lacks", llama(t, gguf.F32, nil, "llama.block_count", uint32(3)), "block 2 has no tensors", ""},
		{"bytes at the end", put(t, "m.gguf", append(read1(t, llama(t, gguf.F32, nil)), "more"...)), "",
			"4 bytes after the last tensor"},
		{"safetensors cut", put(t, "x.safetensors", []byte{9, 0, 0, 0, 0, 0, 0, 0, '{'}), "safetensors: ", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := look(t, tt.path, Options{})
			for _, c := range []struct{ got, want string }{{lines(r.Problems), tt.problem}, {lines(r.Notes), tt.note}} {
				if c.want == "" && c.got != "" || !strings.Contains(c.got, c.want) {
					t.Errorf("found %q, expected %q", c.got, c.want)
				}
			}
		})
	}
}

// TestHole: a piece of a tensor that is zero is what an incomplete download leaves.
func TestHole(t *testing.T) {
	list := []gguf.Tensor{{Name: "x", Shape: []int64{1024, 512}}}
	path := write(t, modeltest.Meta(t, "general.type", "x"), list, func(_ string, d []byte) { clear(d[1<<20:]) })
	if r := look(t, path, Options{}); !strings.Contains(lines(r.Notes),
		"1048576 of its 2097152 bytes, from byte 1048576 on, are zero") {
		t.Errorf("notes %q", lines(r.Notes))
	}
}

func TestForeignTypes(t *testing.T) {
	path := llama(t, gguf.F32, nil)
	data := read1(t, path)
	name := []byte("blk.1.attn_v.weight")
	binary.LittleEndian.PutUint32(data[bytes.Index(data, name)+len(name)+4+16:], 999)
	r := look(t, put(t, "m.gguf", data), Options{Hashes: true})
	if !strings.Contains(lines(r.Notes), "the numbers of 1 tensors of type type 999 were not looked at") {
		t.Errorf("notes %q, problems %q", lines(r.Notes), lines(r.Problems))
	}
}

func TestQuick(t *testing.T) {
	path := llama(t, gguf.F32, func(_ string, d []byte) { copy(d, modeltest.NaN()) })
	if r := look(t, path, Options{Quick: true}); !r.OK() || r.Numbers != 0 {
		t.Errorf("problems %q", lines(r.Problems))
	}
}

func TestInterruptedEdit(t *testing.T) {
	path := llama(t, gguf.F32, nil)
	if err := os.WriteFile(path+".edit-journal", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := look(t, path, Options{}); !strings.Contains(lines(r.Problems), "was interrupted") {
		t.Errorf("problems %q", lines(r.Problems))
	}
}

// TestHashes: the hashes are those of the tensors' bytes, on any number of threads.
func TestHashes(t *testing.T) {
	path := llama(t, gguf.Q4_K, nil)
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	defer kernels.SetThreads(0)
	var first *Report
	for _, threads := range []int{1, 2, 7} {
		kernels.SetThreads(threads)
		r := look(t, path, Options{Hashes: true})
		for i, x := range f.Tensors {
			sum := sha256.Sum256(x.Bytes())
			if got := r.Tensors[i]; *got.SHA256 != sum || got.Name != x.Name || got.Bytes != x.Size() {
				t.Errorf("tensor %s: %+v", x.Name, got)
			}
		}
		if first == nil {
			first = r
		}
		if !reflect.DeepEqual(r, first) {
			t.Errorf("on %d threads the report is another", threads)
		}
	}
}

// sumsOf is the list of a model's tensors.
func sumsOf(t *testing.T, path string) []string {
	t.Helper()
	var list []string
	for _, x := range look(t, path, Options{Hashes: true}).Tensors {
		list = append(list, SumLine(x.SHA256.String(), x.Name))
	}
	return list
}

func TestAgainstList(t *testing.T) {
	path := llama(t, gguf.Q4_0, nil)
	tensors := sumsOf(t, path)
	sum := sha256.Sum256(read1(t, path))
	file := hex.EncodeToString(sum[:])
	zeros := strings.Repeat("0", 64)
	for _, tt := range []struct {
		name, list, problem string
		compared            int
	}{
		{"all tensors", strings.Join(tensors, "\n"), "", 20},
		{"comments and empty lines", "# tensors\n\n" + strings.Join(tensors, "\r\n") + "\n", "", 20},
		{"a tensor too few", strings.Join(tensors[1:], "\n"), `tensor "token_embd.weight": is not in`, 19},
		{"a tensor too many", strings.Join(append(tensors, zeros+"  more"), "\n"), `tensor "more": is in`, 20},
		{"another hash", strings.Join(append(tensors[:19:19], zeros+tensors[19][64:]), "\n"),
			`tensor "blk.1.ffn_down.weight": its SHA-256 is`, 20},
		{"the file", file + "  m.gguf\n" + zeros + "  other.gguf\n", "", 1},
		{"the file, as binary, elsewhere", strings.ToUpper(file) + " *some/where/m.gguf\n", "", 1},
		{"the file with another hash", zeros + "  m.gguf", "the SHA-256 of", 1},
		{"the file twice", zeros + "  a/m.gguf\n" + file + "  b/m.gguf", "", 1},
		{"both", file + "  m.gguf\n" + strings.Join(tensors, "\n"), "", 21},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := look(t, path, Options{Against: put(t, "SHA256SUMS", []byte(tt.list))})
			got := lines(r.Problems)
			if tt.problem == "" && got != "" || !strings.Contains(got, tt.problem) || r.Compared != tt.compared {
				t.Errorf("problems %q, %d compared; expected %q, %d", got, r.Compared, tt.problem, tt.compared)
			}
		})
	}
	for _, tt := range []struct{ name, list, want string }{
		{"other files", zeros + "  other.gguf\n", "names neither this file nor one of its tensors"},
		{"empty", "", "no hash in it"},
		{"no list", "hello\n", "is no list of SHA-256 hashes"},
		{"a bad line", zeros + "  m.gguf\nhello\n", "line 2"},
		{"a short hash", zeros[1:] + "  m.gguf\n", "is no list"},
		{"no name", zeros + "  \n", "is no list"},
		{"no hexadecimal", strings.Repeat("g", 64) + "  m.gguf\n", "is no list"},
		{"a line without end", zeros + "  m.gguf\n" + strings.Repeat("x", maxLine+1), "line 2"},
	} {
		if _, err := File(t.Context(), path, Options{Against: put(t, "SUMS", []byte(tt.list))}); err == nil ||
			!strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, expected %q", tt.name, err, tt.want)
		}
	}
	if _, err := File(t.Context(), path, Options{Against: "absent"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an absent list: %v", err)
	}
}

// TestSumLine: any name comes back from its line.
func TestSumLine(t *testing.T) {
	hash := strings.Repeat("0123456789abcdef", 4)
	for _, name := range []string{"a", "a b", " a", "*a", `a\b`, "a\nb", "\r", `\`, `\n`, "ü"} {
		if s, ok := parseSum(SumLine(hash, name)); !ok || s.name != name || s.hash != hash {
			t.Errorf("%q came back as %q", name, s.name)
		}
	}
}

func FuzzParseSum(f *testing.F) {
	f.Add(strings.Repeat("a", 64) + "  name")
	f.Add(`\` + strings.Repeat("a", 64) + ` *na\\me\n`)
	f.Fuzz(func(t *testing.T, line string) {
		s, ok := parseSum(line)
		if !ok {
			return
		}
		if again, ok := parseSum(SumLine(s.hash, s.name)); !ok || again != s {
			t.Errorf("%q came back as %q", s, again)
		}
	})
}

func TestAgainstModel(t *testing.T) {
	path := llama(t, gguf.Q4_0, nil)
	if r := look(t, path, Options{Against: llama(t, gguf.Q4_0, nil, "general.name", "another")}); !r.OK() ||
		r.Compared != 20 {
		t.Errorf("problems %q, %d compared", lines(r.Problems), r.Compared)
	}
	meta, tensors := modeltest.Llama(t, 1, gguf.Q8_0)
	r := look(t, path, Options{Against: write(t, meta, append(tensors, gguf.Tensor{Name: "more", Shape: []int64{1}}),
		func(name string, d []byte) {
			if name == "output_norm.weight" {
				d[0]++
			}
		})})
	for _, want := range []string{
		`tensor "token_embd.weight": is Q4_0 [256 8], in`, `tensor "output_norm.weight": its SHA-256 is`,
		`tensor "blk.1.attn_q.weight": is not in`, `tensor "more": is in`,
	} {
		if !strings.Contains(lines(r.Problems), want) {
			t.Errorf("no %q in %q", want, lines(r.Problems))
		}
	}
}

func TestShards(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "m")
	meta, tensors := modeltest.Llama(t, 1, gguf.F32)
	var list string
	for no, group := range gguf.Split(tensors, 32, 6, 0) {
		m, err := gguf.SplitMetadata(meta, no, 2, len(tensors))
		if err != nil {
			t.Fatal(err)
		}
		path := gguf.SplitPath(prefix, no, 2)
		modeltest.WriteGGUF(t, path, gguf.Format{}, m, group, nil)
		sum := sha256.Sum256(read1(t, path))
		list += SumLine(hex.EncodeToString(sum[:]), filepath.Base(path)) + "\n"
	}
	first := gguf.SplitPath(prefix, 0, 2)
	if r := look(t, first, Options{Against: put(t, "SUMS", []byte(list))}); !r.OK() || r.Compared != 2 ||
		len(r.Files) != 2 {
		t.Errorf("problems %q, %d compared", lines(r.Problems), r.Compared)
	}
	one, _, _ := strings.Cut(list, "\n")
	if r := look(t, first, Options{Against: put(t, "SUMS", []byte(one))}); !r.OK() ||
		!strings.Contains(lines(r.Notes), "00002-of-00002.gguf is not in") {
		t.Errorf("notes %q", lines(r.Notes))
	}
	if err := os.Remove(gguf.SplitPath(prefix, 1, 2)); err != nil {
		t.Fatal(err)
	}
	if r := look(t, first, Options{}); !strings.Contains(lines(r.Problems), "is missing") {
		t.Errorf("problems %q", lines(r.Problems))
	}
}

func TestAdapters(t *testing.T) {
	item := func(name string, shape ...int64) safetensors.Item {
		return safetensors.Item{Name: name, DType: safetensors.F32, Shape: shape, Data: make([]byte, 4*shape[0]*shape[1])}
	}
	for _, tt := range []struct {
		items []safetensors.Item
		want  string
	}{
		{[]safetensors.Item{item("q.lora_A.weight", 2, 3), item("q.lora_B.weight", 4, 2)}, ""},
		{[]safetensors.Item{item("q.lora_A.weight", 2, 3)}, "there is no q.lora_B.weight"},
		{[]safetensors.Item{item("q.lora_B.weight", 2, 3)}, "there is no q.lora_A.weight"},
		{[]safetensors.Item{item("q.lora_A.weight", 2, 3), item("q.lora_B.weight", 4, 3)},
			"is of rank 2, and lora_B of rank 3"},
	} {
		var b bytes.Buffer
		if err := safetensors.Write(&b, nil, tt.items); err != nil {
			t.Fatal(err)
		}
		r := look(t, put(t, "x.safetensors", b.Bytes()), Options{})
		if got := lines(r.Problems); tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("problems %q, expected %q", got, tt.want)
		}
	}
}

// TestHFDirectory spoils the configuration beside a model.
func TestHFDirectory(t *testing.T) {
	from := testdata.Shared(t, "peft/base")
	for _, tt := range []struct{ old, new, want string }{
		{"", "", ""},
		{`"num_hidden_layers"`, `"x"`, "layers is 0"},
		{`"hidden_size"`, `"hidden_size": 65, "x"`, "expected"},
	} {
		dir := t.TempDir()
		config := strings.Replace(string(read1(t, filepath.Join(from, "config.json"))), tt.old, tt.new, 1)
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), read1(t, filepath.Join(from, "model.safetensors")),
			0o600); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{dir, filepath.Join(dir, "model.safetensors")} {
			r := look(t, path, Options{Quick: true})
			if got := lines(r.Problems); tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("%s: problems %q, expected %q", path, got, tt.want)
			}
		}
	}
}

func TestTrouble(t *testing.T) {
	if _, err := File(t.Context(), "absent.gguf", Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := File(ctx, llama(t, gguf.F32, nil), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context: %v", err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	path := llama(t, gguf.F32, nil)
	_, err := File(t.Context(), path, Options{Progress: func(int64, int64, string) { os.Truncate(path, 8192) }})
	if err == nil || !strings.Contains(err.Error(), "became shorter while") || !strings.HasPrefix(err.Error(), path) {
		t.Errorf("a file cut short: %v", err)
	}
}

// TestLoaders spoils what only the loaders of models look at.
func TestLoaders(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, tt := range []struct {
		key     string
		value   any // nil: the key is missing
		problem string
		note    string
	}{
		{"llama.context_length", uint32(0), "llama.context_length is 0", ""},
		{"llama.context_length", uint32(4), "", "the context of 4 tokens is unusual"},
		{"llama.context_length", "64", "expected one whole number", ""},
		{"llama.attention.layer_norm_rms_epsilon", inf, "expected a finite number", ""},
		{"llama.attention.layer_norm_rms_epsilon", float32(math.NaN()), "expected a finite number", ""},
		{"llama.attention.layer_norm_rms_epsilon", "small", "expected a finite number", ""},
		{"llama.attention.layer_norm_rms_epsilon", float32(0.5), "", "the epsilon of the norms is 0.5"},
		{"llama.rope.freq_base", inf, "llama.rope.freq_base is +Inf", ""},
		{"llama.rope.freq_base", 1e300, "llama.rope.freq_base is 1e+300", ""},
		{"llama.rope.freq_base", "10000", "expected a finite number", ""},
		{"tokenizer.ggml.scores", []float32{0, 0, 0, 0, inf, 0, 0, 0}, `the score of token 4 ("b") is +Inf`, ""},
		{"tokenizer.ggml.scores", nil, "", "tokenizer.ggml.scores is missing"},
		{"tokenizer.ggml.token_type", nil, "", "tokenizer.ggml.token_type is missing"},
		{"tokenizer.ggml.tokens", []string{}, "the vocabulary is empty", ""},
		{"tokenizer.ggml.tokens", nil, "no tokenizer.ggml.tokens", ""},
		{"tokenizer.ggml.model", nil, "no string tokenizer.ggml.model", ""},
		{"tokenizer.ggml.model", "gpt2", "no tokenizer.ggml.merges", ""},
		{"tokenizer.ggml.eos_token_id", uint32(99), "tokenizer.ggml.eos_token_id is 99", ""},
		{"tokenizer.ggml.eos_token_id", uint32(5), "", "eos_token_id is 5, which is no control token"},
		{"tokenizer.ggml.padding_token_id", uint32(99), "", "tokenizer.ggml.padding_token_id is 99"},
		{"tokenizer.chat_template", "{% if %}", "", "chat template: line 1"},
	} {
		meta, tensors := modeltest.Llama(t, 1, gguf.F32)
		if meta.Delete(tt.key); tt.value != nil {
			if err := meta.Set(tt.key, tt.value); err != nil {
				t.Fatal(err)
			}
		}
		r := look(t, write(t, meta, tensors, nil), Options{Quick: true})
		for _, c := range []struct{ got, want string }{{lines(r.Problems), tt.problem}, {lines(r.Notes), tt.note}} {
			if c.want == "" && c.got != "" && tt.problem == "" || !strings.Contains(c.got, c.want) {
				t.Errorf("%s %v: found %q, expected %q", tt.key, tt.value, c.got, c.want)
			}
		}
	}
	meta, _ := modeltest.Llama(t, 1, gguf.F32)
	if r := look(t, write(t, meta, nil, nil), Options{}); !strings.Contains(lines(r.Problems), "no tensor") {
		t.Errorf("a model without tensors: %q", lines(r.Problems))
	}
}

// TestLoadsAdapters spoils the configuration of an adapter.
func TestLoadsAdapters(t *testing.T) {
	const good = `{"peft_type":"LORA","r":2,"lora_alpha":4,"target_modules":["q"]}`
	for _, tt := range []struct{ old, new, problem, note string }{
		{"", "", "", ""},
		{good, "", "unexpected end of JSON input", ""},
		{good, "{}", "no peft_type", ""},
		{`"r":2`, `"r":0`, "rank 0, expected 1 to", ""},
		{`"r":2`, `"r":-8`, "rank -8, expected 1 to", ""},
		{`"r":2`, `"r":2147483648`, "rank 2147483648, expected 1 to", ""},
		{`"r":2`, `"r":3`, "the configuration says rank 3", ""},
		{`"lora_alpha":4`, `"lora_alpha":NaN`, "invalid character 'N'", ""},
		{`"lora_alpha":4`, `"lora_alpha":1e300`, "alpha 1e+300", ""},
		{`"lora_alpha":4`, `"lora_alpha":0`, "", "lora_alpha is 0"},
		{`"LORA"`, `"POLY"`, "", `peft_type "POLY" is not supported`},
	} {
		dir := t.TempDir()
		var b bytes.Buffer
		var items []safetensors.Item
		for _, w := range []struct {
			name  string
			shape []int64
		}{{"A", []int64{2, 3}}, {"B", []int64{4, 2}}} {
			data := bytes.Repeat([]byte{0, 0, 0x80, 0x3f}, int(w.shape[0]*w.shape[1]))
			items = append(items, safetensors.Item{Name: "base_model.model.q.lora_" + w.name + ".weight",
				DType: safetensors.F32, Shape: w.shape, Data: data})
		}
		if err := safetensors.Write(&b, nil, items); err != nil {
			t.Fatal(err)
		}
		config := strings.Replace(good, tt.old, tt.new, 1)
		for name, data := range map[string][]byte{"adapter_config.json": []byte(config),
			"adapter_model.safetensors": b.Bytes()} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, path := range []string{dir, filepath.Join(dir, "adapter_model.safetensors")} {
			r := look(t, path, Options{Quick: true})
			for _, c := range []struct{ got, want string }{{lines(r.Problems), tt.problem}, {lines(r.Notes), tt.note}} {
				if c.want == "" && c.got != "" || !strings.Contains(c.got, c.want) {
					t.Errorf("%s: found %q, expected %q", config, c.got, c.want)
				}
			}
		}
	}
}

func FuzzParseSums(f *testing.F) {
	f.Add("# list\n" + strings.Repeat("a", 64) + "  name\r\n\n" + strings.Repeat("B", 64) + " *other\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseSums(strings.NewReader(text), "list")
		if (err == nil) != (len(list) > 0) {
			t.Errorf("%q: %d lines, %v", text, len(list), err)
		}
	})
}
