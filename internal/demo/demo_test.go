package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/demo/pretrain"
	"github.com/peftconv/peftconv/internal/demo/tale"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

func builtin(t *testing.T) (*gguf.File, *model.Model, *tokenizer.Tokenizer) {
	t.Helper()
	f, err := gguf.Parse(BaseGGUF())
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.FromGGUF(f)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.FromGGUF(f.Meta)
	if err != nil {
		t.Fatal(err)
	}
	return f, m, tok
}

func TestBaseIsWithinItsSize(t *testing.T) {
	if n := len(BaseGGUF()); n < 1<<20 || n > 4<<20 {
		t.Errorf("the built-in model has %d bytes, expected 1 to 4 MiB", n)
	}
	f, _, _ := builtin(t)
	for _, tensor := range f.Tensors {
		if tensor.Cols()%256 != 0 {
			t.Errorf("%s has rows of %d, no multiple of 256: K-quants do not apply", tensor.Name, tensor.Cols())
		}
	}
}

// The text and the vocabulary that the generator makes today are those that the model was made of.
func TestBaseIsMadeOfTodaysText(t *testing.T) {
	f, _, _ := builtin(t)
	r := pretrain.Builtin()
	if seed, _ := f.Meta.Uint(pretrain.KeySeed); seed != r.Seed {
		t.Errorf("made with seed %d, the recipe has %d", seed, r.Seed)
	}
	v, sha, err := r.Vocabulary()
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := f.Meta.String(pretrain.KeyVocabSHA256); sha != want {
		t.Errorf("SHA-256 of the vocabulary's text is %s, the file says %s", sha, want)
	}
	if tokens, _ := f.Meta.Strings("tokenizer.ggml.tokens"); !slices.Equal(tokens, v.Tokens) {
		t.Error("the trained vocabulary is not the file's")
	}
	if scores, _ := f.Meta.Floats("tokenizer.ggml.scores"); !slices.Equal(scores, v.Scores) {
		t.Error("the scores of the trained vocabulary are not the file's")
	}
	if testing.Short() {
		return
	}
	n, _ := f.Meta.Uint(pretrain.KeyDocuments)
	sha, err = r.CorpusSHA256(n)
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := f.Meta.String(pretrain.KeyCorpusSHA256); sha != want {
		t.Errorf("SHA-256 of the first %d documents is %s, the file says %s", n, sha, want)
	}
}

// The ids in testdata/tokens.json are what llama.cpp makes of the texts with this vocabulary.
func TestTokensAreThoseOfLlamaCpp(t *testing.T) {
	_, _, tok := builtin(t)
	data, err := os.ReadFile("testdata/tokens.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Text string
		IDs  []int32
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if got := tok.Encode(c.Text, false); !slices.Equal(got, c.IDs) {
			t.Errorf("%q: ids %v, expected %v", c.Text, got, c.IDs)
		}
	}
}

func TestTokensGiveTheTextBack(t *testing.T) {
	_, _, tok := builtin(t)
	for i := range uint64(300) {
		want := tale.Document(77, i, i%2 == 0)
		if got := tok.Decode(tok.Encode(want, false)); got != want {
			t.Fatalf("document %d comes back as\n%s\nexpected\n%s", i, got, want)
		}
	}
}

// What the model has learned, measured anew; the file's own figures are over more text.
func TestBaseHasLearned(t *testing.T) {
	f, m, tok := builtin(t)
	marks, err := pretrain.Exam{Seed: 2002, Documents: 40, Probes: 60}.Examine(m, tok)
	if err != nil {
		t.Fatal(err)
	}
	told, _ := f.Meta.Float(pretrain.KeyPerplexity)
	if marks.Perplexity > perplexityBound || math.Abs(marks.Perplexity-told) > 0.1*told {
		t.Errorf("held-out perplexity %.3f, expected below %g and near the file's %.3f", marks.Perplexity, perplexityBound,
			told)
	}
	if marks.Tales < talesBound || marks.Facts < factsBound {
		t.Errorf("answers right: %.2f about tales, %.2f about the world, expected at least %g and %g",
			marks.Tales, marks.Facts, talesBound, factsBound)
	}
}

func TestBaseAs(t *testing.T) {
	for _, kind := range []gguf.Type{gguf.F32, gguf.Q4_K, gguf.Q8_0} {
		data, err := BaseAs(kind)
		if err != nil {
			t.Fatal(err)
		}
		f, err := gguf.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := model.FromGGUF(f); err != nil {
			t.Errorf("as %v: %v", kind, err)
		}
		if got := f.Tensor("blk.0.ffn_down.weight").Type; got != kind {
			t.Errorf("a matrix has type %v, expected %v", got, kind)
		}
	}
	same, _ := BaseAs(gguf.Q8_0)
	f, _ := gguf.Parse(same)
	from, _, _ := builtin(t)
	for i, tensor := range f.Tensors {
		if !bytes.Equal(tensor.Bytes(), from.Tensors[i].Bytes()) {
			t.Errorf("%s changes when quantized to its own type again", tensor.Name)
		}
	}
	if _, err := BaseAs(gguf.Type(9999)); err == nil {
		t.Error("no error for an unknown type")
	}
}

func TestWriteFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "dir")
	if err := WriteFiles(dir); err != nil {
		t.Fatal(err)
	}
	for _, f := range Files() {
		got, err := os.ReadFile(filepath.Join(dir, f.Name))
		if err != nil || !bytes.Equal(got, f.Data()) {
			t.Errorf("%s: %v, or other bytes", f.Name, err)
		}
	}
}

func TestTrainAndEvalDataAreApart(t *testing.T) {
	lines := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSpace(string(TrainData())), "\n") {
		lines[line] = true
	}
	if len(lines) < 1900 {
		t.Errorf("%d different training examples, expected about 2000", len(lines))
	}
	for _, line := range strings.Split(strings.TrimSpace(string(EvalData())), "\n") {
		if lines[line] {
			t.Errorf("in both: %s", line)
		}
	}
}

// A run of a few steps goes through everything; PEFTCONV_LONG=1 makes it the real demonstration.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	steps, long := 3, os.Getenv("PEFTCONV_LONG") != ""
	if long {
		steps = 0
	}
	dir := t.TempDir()
	var out strings.Builder
	r, err := Run(context.Background(), Options{Dir: dir, Steps: steps, quick: !long}, &out)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
	for _, name := range []string{"base.gguf", "train.jsonl", AdapterFile, MergedFile, LoRAFile,
		filepath.Join(PEFTDir, "adapter_config.json")} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if r.After.Loss >= r.Before.Loss || r.Merged.Loss >= r.Before.Loss {
		t.Errorf("loss %.4f before, %.4f after, %.4f merged", r.Before.Loss, r.After.Loss, r.Merged.Loss)
	}
	if !strings.Contains(out.String(), "peftconv train --base model.gguf") {
		t.Error("the commands are not told")
	}
	if long && (r.After.Mood.Right < 80 || r.Before.Mood.Right > 10 || r.After.Loss > 0.8) {
		t.Errorf("moods %v -> %v, loss after training %.4f", r.Before.Mood, r.After.Mood, r.After.Loss)
	}
}

func TestRunStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, Options{}, new(strings.Builder)); err == nil {
		t.Error("no error from a run that was cancelled")
	}
}

// The known results of the built-in model, with a margin.
const (
	perplexityBound = 1.75
	talesBound      = 0.8
	factsBound      = 0.95
)
