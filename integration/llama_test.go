// Package integration holds what peftconv writes against a real llama.cpp, which node-llama-cpp brings along. Its tests
// run where PEFTCONV_INTEGRATION is set and "npm install" has been done in this directory; see .ci/run.
package integration

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/demo"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

// window is the context of the perplexities that are compared.
const window = 128

// program builds peftconv, once for all tests.
var program string

func TestMain(m *testing.M) {
	if os.Getenv("PEFTCONV_INTEGRATION") == "" {
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "peftconv-integration-")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "peftconv")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	build := exec.Command("go", "build", "-o", program, "../cmd/peftconv")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		panic(err)
	}
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// needs skips where the tests are not asked for.
func needs(t *testing.T) {
	t.Helper()
	// Read again: what TestMain reads does not count when "go test" takes a result from its cache.
	if os.Getenv("PEFTCONV_INTEGRATION") == "" {
		t.Skip("PEFTCONV_INTEGRATION is not set")
	}
}

// peftconv runs the command and gives what it prints.
func peftconv(t *testing.T, args ...string) []byte {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(filepath.Dir(program), "cache")) // paths of bases
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("peftconv %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return out
}

// The questions that llama.mjs answers, and its answers.
type (
	adapter struct {
		Path  string  `json:"path"`
		Scale float64 `json:"scale"`
	}
	generate struct {
		IDs []int32 `json:"ids"`
		N   int     `json:"n"`
	}
	score struct {
		Windows [][]int32 `json:"windows"`
		From    int       `json:"from"`
	}
	save struct {
		IDs  []int32 `json:"ids"`
		Path string  `json:"path"`
	}
	request struct {
		Model    string    `json:"model"`
		Adapters []adapter `json:"adapters,omitempty"`
		State    string    `json:"state,omitempty"`
		Generate *generate `json:"generate,omitempty"`
		Score    *score    `json:"score,omitempty"`
		Save     *save     `json:"save,omitempty"`
		Logits   []int32   `json:"logits,omitempty"`
	}
	answer struct {
		Generated []int32 `json:"generated"`
		NLL       float64 `json:"nll"`
		Scored    int     `json:"scored"`
		Logits    [][]float32
	}
)

// llama asks llama.cpp.
func llama(t *testing.T, r request) answer {
	t.Helper()
	return llamas(t, r)[0]
}

// llamas asks llama.cpp several things.
func llamas(t *testing.T, requests ...request) []answer {
	t.Helper()
	data, err := json.Marshal(requests)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "request.json")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd := exec.Command("node", "llama.mjs", file)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("llama.cpp on %s: %v\n%s", requests[0].Model, err, stderr.String())
	}
	var answers []answer
	if err := json.Unmarshal(out, &answers); err != nil || len(answers) != len(requests) {
		t.Fatalf("%d answers, error %v in %s", len(answers), err, out)
	}
	return answers
}

// subject is a base with what it is trained on, continued from and judged by.
type subject struct {
	base      string
	data      string // file to train on
	text      string // file to measure the loss on
	prompt    string
	train     []string // further flags of train
	tolerance float64  // of the mean loss: what quantized activations cost where the base is quantized, else rounding
	exact     bool     // greedy tokens must be the same ones
}

// TestStories trains over a real F32 model of llama.cpp's world.
func TestStories(t *testing.T) {
	needs(t)
	data := writeFile(t, "train.txt", head(t, "text/tinyshakespeare.txt", 60_000))
	text := writeFile(t, "eval.txt", head(t, "text/tinyshakespeare.txt", 4_000))
	subject{
		base: testdata.Shared(t, "models/stories260K.gguf"), data: data, text: text, prompt: "Once upon a time",
		train: []string{"--steps", "60", "--lr", "5e-3", "--rank", "8"}, tolerance: 2e-5, exact: true,
	}.compare(t)
}

// TestDemo trains over the built-in model in F32 and in the quantized types that users have.
func TestDemo(t *testing.T) {
	needs(t)
	for _, c := range []struct {
		typ       gguf.Type
		tolerance float64
	}{{gguf.F32, 2e-5}, {gguf.Q8_0, 5e-3}, {gguf.Q4_K, 2e-2}, {gguf.Q6_K, 1e-2}} {
		t.Run(c.typ.String(), func(t *testing.T) {
			model, err := demo.BaseAs(c.typ)
			if err != nil {
				t.Fatal(err)
			}
			text := demo.OwlTextEval()
			subject{
				base: writeFile(t, "base.gguf", model), data: writeFile(t, "train.txt", demo.OwlTextTrain()),
				text: writeFile(t, "eval.txt", text[:min(len(text), 4_000)]), prompt: "Once there was",
				train:     []string{"--steps", "12", "--lr", "2e-3", "--rank", "8", "--seq-len", "256", "--batch-tokens", "512"},
				tolerance: c.tolerance, exact: c.typ == gguf.F32,
			}.compare(t)
		})
	}
}

// compare trains, exports and merges, and holds peftconv's figures against llama.cpp's for each.
func (s subject) compare(t *testing.T) {
	dir := t.TempDir()
	lora, exported, merged := filepath.Join(dir, "out.safetensors"), filepath.Join(dir, "lora.gguf"),
		filepath.Join(dir, "merged.gguf")
	peftconv(t, append([]string{"train", "--base", s.base, "--data", s.data, "--out", lora}, s.train...)...)
	peftconv(t, "export", "--lora", lora, "--to", "gguf", "--out", exported)
	peftconv(t, "merge", "--lora", lora, "--out", merged)
	for _, c := range []struct {
		name     string
		model    string
		ours     []string
		adapters []adapter
	}{
		{"base", s.base, nil, nil},
		{"base and adapter", s.base, []string{"--lora", lora}, []adapter{{exported, 1}}},
		{"base and half the adapter", s.base, []string{"--lora", lora + ":0.5"}, []adapter{{exported, 0.5}}},
		{"merged", merged, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			theirs := llama(t, request{
				Model: c.model, Adapters: c.adapters, Generate: &generate{prompt(t, s.base, s.prompt), 48},
				Score: &score{windows(t, s.base, s.text), window / 2},
			})
			s.compareLoss(t, append(c.ours, "--base", c.model), theirs)
			s.compareTokens(t, append(c.ours, "--base", c.model), theirs)
		})
	}
}

func (s subject) compareLoss(t *testing.T, flags []string, theirs answer) {
	var ours struct {
		Loss   float64 `json:"loss"`
		Tokens int     `json:"tokens"`
	}
	parse(t, peftconv(t, append([]string{"eval", "--data", s.text, "--ctx", "128", "--json"}, flags...)...), &ours)
	t.Logf("mean loss over %d tokens: %.6f, llama.cpp %.6f", ours.Tokens, ours.Loss, theirs.NLL)
	if ours.Tokens != theirs.Scored {
		t.Errorf("%d tokens are scored, by llama.cpp %d", ours.Tokens, theirs.Scored)
	}
	if d := math.Abs(ours.Loss - theirs.NLL); !(d <= s.tolerance) {
		t.Errorf("the losses differ by %g, more than %g", d, s.tolerance)
	}
}

func (s subject) compareTokens(t *testing.T, flags []string, theirs answer) {
	var ours struct {
		IDs  []int32 `json:"ids"`
		Text string  `json:"text"`
	}
	parse(t, peftconv(t, append([]string{"generate", "--prompt", s.prompt, "--temperature", "0", "--n", "48", "--json"},
		flags...)...), &ours)
	same := 0
	for same < min(len(ours.IDs), len(theirs.Generated)) && ours.IDs[same] == theirs.Generated[same] {
		same++
	}
	t.Logf("%q; %d of %d greedy tokens agree", ours.Text, same, len(ours.IDs))
	if s.exact && !slices.Equal(trim(ours.IDs, theirs.Generated), theirs.Generated) {
		t.Errorf("greedy tokens %v, by llama.cpp %v", ours.IDs, theirs.Generated)
	}
}

// trim allows for the token that ends an answer, which llama.cpp's list has and ours does not.
func trim(ours, theirs []int32) []int32 {
	if len(theirs) == len(ours)+1 && len(theirs) < 48 {
		return append(slices.Clone(ours), theirs[len(ours)])
	}
	return ours
}

func parse(t *testing.T, data []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
}

// vocabulary is the tokenizer of a model's file.
func vocabulary(t *testing.T, model string) *tokenizer.Tokenizer {
	t.Helper()
	f, err := gguf.Open(model)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tok, err := tokenizer.FromGGUF(f.Meta)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// prompt is a text's tokens with BOS where the vocabulary asks for it.
func prompt(t *testing.T, model, text string) []int32 {
	tok := vocabulary(t, model)
	ids := tok.Encode(text, true)
	if bos, ok := tok.BOS(); ok && tok.AddBOS() {
		ids = append([]int32{bos}, ids...)
	}
	return ids
}

// windows cuts a file as llama-perplexity does.
func windows(t *testing.T, model, file string) [][]int32 {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ids := prompt(t, model, string(text))
	var all [][]int32
	for chunk := range slices.Chunk(ids, window) {
		if len(chunk) == window {
			all = append(all, append([]int32{ids[0]}, chunk[1:]...))
		}
	}
	return all
}

// head is the beginning of a reference file.
func head(t *testing.T, name string, n int) []byte {
	t.Helper()
	data, err := os.ReadFile(testdata.Shared(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return data[:n]
}

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
