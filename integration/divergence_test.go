package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/peftconv/peftconv/internal/demo"
	"github.com/peftconv/peftconv/internal/demo/tale"
	"github.com/peftconv/peftconv/internal/testdata"
)

// TestDivergence compares eval --kl-base with llama-perplexity --kl-divergence, each over the file of log probabilities
// that the other wrote.
func TestDivergence(t *testing.T) {
	bin, dir := compiled(t, "perplexity"), t.TempDir()
	base := testdata.Shared(t, "models/stories260K.gguf")
	text := writeFile(t, "text.txt", head(t, "text/tinyshakespeare.txt", 60_000))
	ours, theirs := filepath.Join(dir, "ours.logits"), filepath.Join(dir, "theirs.logits")
	peftconv(t, "eval", "--base", base, "--data", text, "--ctx", "256", "--save-logprobs", ours)
	shell(t, bin, dir, fmt.Sprintf("%s -m %s -f %s --kl-divergence-base %s", perplexity, base, text, theirs))
	// What the two round differently is a larger part of what Q8_0 changes.
	for kind, times := range map[string]float64{"Q4_0": 1, "Q8_0": 5} {
		model := filepath.Join(dir, kind+".gguf")
		peftconv(t, "quantize", base, model, kind)
		printed := divergenceOf(t, bin, model, ours)
		var figures struct {
			Perplexity struct{ Value float64 }
			Divergence struct{ Value, Error float64 } `json:"kl_divergence"`
			Spread     struct{ P99, Median float64 }  `json:"kl_divergence_spread"`
			RMS        struct{ Value float64 }        `json:"delta_p_rms"`
			SameTop    struct{ Value float64 }        `json:"same_top"`
		}
		if err := json.Unmarshal(peftconv(t, "eval", "--base", model, "--kl-base", theirs, "--json"), &figures); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			pattern   string
			got       float64
			tolerance float64 // relative
		}{
			{`Mean PPL\(Q\)\s*:\s*(\S+)`, figures.Perplexity.Value, 3e-4},
			{`Mean\s+KLD:\s*(\S+)`, figures.Divergence.Value, 0.01},
			{`99\.0%\s+KLD:\s*(\S+)`, figures.Spread.P99, 0.03},
			{`Median\s+KLD:\s*(\S+)`, figures.Spread.Median, 0.01},
			{`RMS Δp\s*:\s*(\S+)`, 100 * figures.RMS.Value, 0.01},
			{`Same top p:\s*(\S+)`, 100 * figures.SameTop.Value, 3e-3},
		} {
			want := number(t, printed, c.pattern)
			if math.Abs(c.got/want-1) > times*c.tolerance {
				t.Errorf("%s, %s: %.6g, llama.cpp has %.6g", kind, c.pattern, c.got, want)
			}
		}
		t.Logf("%s: KL divergence %.6f ± %.6f", kind, figures.Divergence.Value, figures.Divergence.Error)
	}
}

// perplexity is the program and how it reads.
const perplexity = "llama-perplexity -t 1 -c 256 -b 256"

// divergenceOf is what the program prints of a model and the logits of another.
func divergenceOf(t *testing.T, bin, model, logits string) string {
	t.Helper()
	line := fmt.Sprintf("%s -m %s --kl-divergence-base %s --kl-divergence 2>&1", perplexity, model, logits)
	return shell(t, bin, t.TempDir(), line)
}

// number is the number that a text has where a pattern says.
func number(t *testing.T, text, pattern string) float64 {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("nothing like %q in\n%s", pattern, text)
	}
	x, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// TestHealed has llama-perplexity measure models before and after they are healed, over text that was not used for it.
func TestHealed(t *testing.T) {
	bin, dir := compiled(t, "perplexity"), t.TempDir()
	tales := filepath.Join(dir, "tales.gguf")
	if err := os.WriteFile(tales, demo.BaseGGUF(), 0o666); err != nil {
		t.Fatal(err)
	}
	var used, held bytes.Buffer
	err := errors.Join(tale.WriteCorpus(&used, 1, 0, 60, false), tale.WriteCorpus(&held, 1001, 0, 40, true))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		teacher    string
		used, held []byte
		kind       string
	}{
		{testdata.Shared(t, "models/stories260K.gguf"), head(t, "text/tinyshakespeare.txt", 60_000), held.Bytes(), "Q4_0"},
		{tales, used.Bytes(), held.Bytes(), "Q2_K"},
		{tales, used.Bytes(), held.Bytes(), "IQ3_XXS"},
	} {
		data, text := writeFile(t, "used.txt", c.used), writeFile(t, "held.txt", c.held)
		base, healed := filepath.Join(dir, c.kind+".gguf"), filepath.Join(dir, c.kind+"-healed.gguf")
		logits, matrix := filepath.Join(dir, "logits"), filepath.Join(dir, "imatrix.gguf")
		peftconv(t, "imatrix", "--base", c.teacher, "--data", data, "--out", matrix, "--ctx", "256", "--force")
		peftconv(t, "quantize", c.teacher, base, c.kind, "--imatrix", matrix, "--allow-requantize")
		peftconv(t, "heal", "--base", base, "--teacher", c.teacher, "--data", data, "--eval-data", text, "--ctx", "256",
			"--tokens", "4096", "--out", healed)
		shell(t, bin, dir, fmt.Sprintf("%s -m %s -f %s --kl-divergence-base %s", perplexity, c.teacher, text, logits))
		var divergence [2]float64
		for i, model := range []string{base, healed} {
			divergence[i] = number(t, divergenceOf(t, bin, model, logits), `Mean\s+KLD:\s*(\S+)`)
		}
		if t.Logf("%s: %v, healed %v", c.kind, divergence[0], divergence[1]); divergence[1] > 0.8*divergence[0] {
			t.Errorf("%s: the divergence falls from %v to %v only", c.kind, divergence[0], divergence[1])
		}
	}
}
