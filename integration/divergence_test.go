package integration

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

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
	llama := "llama-perplexity -t 2 -c 256 -b 256 "
	shell(t, bin, dir, fmt.Sprintf("%s -m %s -f %s --kl-divergence-base %s", llama, base, text, theirs))
	number := func(text, pattern string) float64 {
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
	// What the two round differently is a larger part of what Q8_0 changes.
	for kind, times := range map[string]float64{"Q4_0": 1, "Q8_0": 5} {
		model := filepath.Join(dir, kind+".gguf")
		peftconv(t, "quantize", base, model, kind)
		printed := shell(t, bin, dir,
			fmt.Sprintf("%s -m %s --kl-divergence-base %s --kl-divergence 2>&1", llama, model, ours))
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
			want := number(printed, c.pattern)
			if math.Abs(c.got/want-1) > times*c.tolerance {
				t.Errorf("%s, %s: %.6g, llama.cpp has %.6g", kind, c.pattern, c.got, want)
			}
		}
		t.Logf("%s: KL divergence %.6f ± %.6f", kind, figures.Divergence.Value, figures.Divergence.Error)
	}
}
