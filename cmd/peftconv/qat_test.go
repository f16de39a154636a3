package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/cli"
)

// TestQAT trains with --qat, merges with --verify, and finds the merged file bit-exact; of an ordinary adapter merge
// says how much of the gain is kept.
func TestQAT(t *testing.T) {
	m := tiny
	m.typ = gguf.Q4_0
	base, out := tinyBase(t, m), filepath.Join(t.TempDir(), "merged.gguf")
	text := filepath.Join(t.TempDir(), "eval.txt")
	if err := os.WriteFile(text, []byte(strings.Repeat("the sun and the sea ", 20)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, channels := range []string{"auto", "scale", "code+row"} {
		adapter := trained(t, base, "--qat", channels, "--steps", "3")
		stdout, _ := want(t, cli.ExitOK, "merge", "--lora", adapter, "--out", out, "--verify", "--force")
		if !strings.Contains(stdout, "bit-exact: the weights are those") || strings.Count(stdout, "the same") != 14 ||
			!strings.Contains(stdout, "random tokens") {
			t.Errorf("%s: merge prints %s", channels, stdout)
		}
		stdout, _ = want(t, cli.ExitOK, "merge", "--lora", adapter, "--out", out, "--verify", "--eval-data", text,
			"--seq-len", "32", "--json", "--force")
		var report struct {
			BitExact     bool     `json:"bit_exact"`
			Kept         *float64 `json:"kept_share"`
			Verification struct{ Matches bool }
		}
		if err := json.Unmarshal([]byte(stdout), &report); err != nil {
			t.Fatal(err)
		}
		if !report.BitExact || !report.Verification.Matches || report.Kept == nil {
			t.Errorf("%s: merge reports %+v", channels, report)
		}
		want(t, cli.ExitOK, "generate", "--lora", adapter, "--prompt", "the", "--n", "3")
	}
	for flags, decay := range map[string]string{"": "4", "--weight-decay 0": "0", "--weight-decay 3": "3"} {
		adapter := trained(t, base, append([]string{"--qat", "auto", "--lr", "0.01", "--steps", "1"},
			strings.Fields(flags)...)...)
		stdout, _ := want(t, cli.ExitOK, "inspect", adapter, "--json")
		if !strings.Contains(stdout, `weight_decay\":`+decay+",") {
			t.Errorf("with %q inspect prints %s", flags, stdout)
		}
	}
	lora := trained(t, base, "--steps", "20")
	stdout, _ := want(t, cli.ExitOK, "merge", "--lora", lora, "--out", out, "--eval-data", text, "--seq-len", "32",
		"--force")
	if !strings.Contains(stdout, "base and adapter") || strings.Contains(stdout, "bit-exact") ||
		strings.Contains(stdout, "SHA-256") {
		t.Errorf("of an ordinary adapter merge prints %s", stdout)
	}
	stdout, _ = want(t, cli.ExitOK, "merge", "--lora", lora, "--out", out, "--calibration", text, "--seq-len", "32",
		"--force")
	if !strings.Contains(stdout, "compensated") && !strings.Contains(stdout, "by descent") {
		t.Errorf("with calibration text merge prints %s", stdout)
	}
	stdout, _ = want(t, cli.ExitOK, "merge", "--lora", lora, "--out", out, "--verify", "--force")
	if !strings.Contains(stdout, "no hashes of trained tensors") {
		t.Errorf("of an ordinary adapter merge --verify prints %s", stdout)
	}
}

// TestQATStore: the file of an adapter that is trained quantization-aware has blocks unless pairs are asked for, gives
// the same merged file, says what it has, and is trained further.
func TestQATStore(t *testing.T) {
	m := tiny
	m.typ = gguf.Q4_0
	base, text := tinyBase(t, m), tinyText(t)
	var merged [][]byte
	for _, c := range []struct{ form, stored, inspected string }{
		{"pairs", "stored as pairs of 14 weights", "blocks of 0 weights (0 B), pairs of 14 weights"},
		{"blocks", "stored as blocks of 14 weights", "pairs of 0 weights (0 B)"},
		{"", "stored as blocks of 14 weights", "pairs of 0 weights (0 B)"},
	} {
		flags := []string{"--qat", "auto", "--rank", "32"}
		if c.form != "" {
			flags = append(flags, "--qat-store", c.form)
		}
		adapter, stdout, _ := trainWith(t, base, text, flags...)
		if !strings.Contains(stdout, c.stored) {
			t.Errorf("%q: train prints %s", c.form, stdout)
		}
		if stdout, _ = want(t, cli.ExitOK, "inspect", adapter); !strings.Contains(stdout, c.inspected) ||
			!strings.Contains(stdout, "safetensors adapter") {
			t.Errorf("%q: inspect prints %s", c.form, stdout)
		}
		want(t, cli.ExitOK, "verify", adapter)
		want(t, cli.ExitOK, "eval", "--lora", adapter, "--data", text, "--ctx", "16")
		out := filepath.Join(t.TempDir(), "merged.gguf")
		want(t, cli.ExitOK, "merge", "--lora", adapter, "--out", out, "--verify")
		f, err := gguf.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		merged = append(merged, slices.Clone(f.Tensor("blk.0.ffn_up.weight").Bytes()))
		f.Close()
		if c.form == "blocks" {
			_, stderr := want(t, cli.ExitError, "eval", "--lora", adapter+":0.5", "--data", text, "--ctx", "16")
			if !strings.Contains(stderr, "cannot be scaled by 0.5, as only that of pairs can (train with --qat-store pairs)") {
				t.Errorf("scaled: %s", stderr)
			}
			more := filepath.Join(t.TempDir(), "more.safetensors")
			stdout, _ := want(t, cli.ExitOK, "train", "--base", base, "--data", text, "--resume-from", adapter, "--steps", "2",
				"--seq-len", "16", "--qat-store", "pairs", "--out", more)
			if !strings.Contains(stdout, "stored as pairs of 14 weights") {
				t.Errorf("trained further: %s", stdout)
			}
			want(t, cli.ExitOK, "merge", "--lora", more, "--out", out, "--verify", "--force")
		}
	}
	if !slices.EqualFunc(merged[:2], merged[1:], bytes.Equal) {
		t.Error("the merged files differ")
	}
}

// TestQATMethods trains with every method that has --qat and wants the merged file to be the trained model.
func TestQATMethods(t *testing.T) {
	m := tiny
	m.typ = gguf.Q4_0
	base := tinyBase(t, m)
	for _, flags := range []string{
		"--dora", "--init pissa --rslora", "--rank-pattern q_proj=2 --lr-ratio 4", "--method loha", "--method lokr",
		"--method vera --rank 8", "--method oft --block-size 8",
		"--method adalora --rank 4", "--method ia3", "--method ia3 --targets k_proj --qat row",
		"--method loha --qat code --qat-dither none",
	} {
		words := strings.Fields(flags)
		if !strings.Contains(flags, "--qat ") {
			words = append(words, "--qat", "auto")
		}
		adapter, _, _ := trainWith(t, base, tinyText(t), words...)
		out := filepath.Join(t.TempDir(), "merged.gguf")
		stdout, _ := want(t, cli.ExitOK, "merge", "--lora", adapter, "--out", out, "--verify")
		if !strings.Contains(stdout, "bit-exact: the weights are those") || strings.Count(stdout, "the same") < 2 {
			t.Errorf("%s: merge prints %s", flags, stdout)
		}
		want(t, cli.ExitOK, "eval", "--lora", adapter, "--data", tinyText(t), "--ctx", "16")
	}
}

// TestLatent trains from master weights, which merge finds, is given, or does not find.
func TestLatent(t *testing.T) {
	m := tiny
	m.typ = gguf.Q4_0
	base, original, text := tinyBase(t, m), tinyBase(t, tiny), tinyText(t)
	for _, flags := range []string{"--qat scale+code --qat-store pairs", "--qat auto --method loha"} {
		adapter, _, _ := trainWith(t, base, text, append(strings.Fields(flags), "--latent", original)...)
		merge := []string{"merge", "--lora", adapter, "--out", filepath.Join(t.TempDir(), "merged.gguf"), "--verify"}
		stdout, _ := want(t, cli.ExitOK, merge...)
		if !strings.Contains(stdout, "bit-exact: the weights are those") || strings.Count(stdout, "the same") != 14 {
			t.Errorf("%s: merge prints %s", flags, stdout)
		}
		moved := filepath.Join(t.TempDir(), "elsewhere.gguf")
		if err := os.Rename(original, moved); err != nil {
			t.Fatal(err)
		}
		if _, stderr := want(t, cli.ExitError,
			merge...); !strings.Contains(stderr, "which are not there: say where they are (--latent)") {
			t.Errorf("%s: without the original merge says %s", flags, stderr)
		}
		if _, stderr := want(t, cli.ExitError,
			append(merge, "--latent", base)...); !strings.Contains(stderr, "are not those that the adapter was trained with") {
			t.Errorf("%s: with other weights merge says %s", flags, stderr)
		}
		want(t, cli.ExitOK, append(merge, "--latent", moved, "--force")...)
		want(t, cli.ExitOK, "eval", "--lora", adapter, "--latent", moved, "--data", text, "--ctx", "16")
		if err := os.Rename(moved, original); err != nil {
			t.Fatal(err)
		}
	}
}

func TestQATFlagsRefused(t *testing.T) {
	train := []string{"train", "--base", "b.gguf", "--data", "d.txt", "--out", "o.safetensors"}
	for _, c := range []struct {
		flags []string
		want  string
	}{
		{[]string{"--qat", "scales"}, `--qat: channel "scales" is not known`},
		{[]string{"--qat", "code", "--qat-dither", "some"}, `--qat-dither: "some" is not known`},
		{[]string{"--qat-dither", "none"}, "--qat-dither: needs --qat"},
		{[]string{"--qat-store", "pairs"}, "--qat-store: needs --qat"},
		{[]string{"--qat-store", "some", "--qat", "auto"},
			`--qat-store: "some" is not known, expected smallest, pairs, blocks`},
		{[]string{"--qat", "auto", "--dropout", "0.1"}, "--dropout: cannot be combined with --qat"},
		{[]string{"--latent", "x"}, "--latent: needs --qat"},
		{[]string{"--latent", "x", "--qat", "scale"},
			"--latent: gives the master weights of the channel code, which --qat scale does not have"},
		{[]string{"--latent", "x", "--method", "prefix-tuning"}, "--latent has no effect with --method prefix-tuning"},
		{[]string{"--qat", "auto", "--bias", "all"}, "--bias and --train-… cannot be combined with it"},
		{[]string{"--qat", "scale", "--dora"}, "--qat scale: is for plain LoRA pairs only"},
		{[]string{"--qat", "code+row", "--method", "oft"}, "choose code, row or auto"},
		{[]string{"--qat", "code", "--method", "vera", "--dropout", "0.1"}, "--dropout: cannot be combined with --qat"},
		{[]string{"--qat-dither", "none", "--method", "loha"}, "--qat-dither: needs --qat"},
		{[]string{"--qat", "auto", "--method", "prompt-tuning"},
			"--qat: not with --method prompt-tuning: it changes no weight"},
		{[]string{"--qat", "auto", "--method", "adapter"}, "it adds networks of its own"},
		{[]string{"--qat", "auto", "--method", "bitfit"}, "it trains vectors, which merge writes as they are"},
	} {
		if _, stderr := want(t, cli.ExitUsage, append(train, c.flags...)...); !strings.Contains(stderr, c.want) {
			t.Errorf("%v: %s, expected %q", c.flags, stderr, c.want)
		}
	}
	if _, stderr := want(t, cli.ExitUsage, "merge", "--lora", "x",
		"--rounding", "up"); !strings.Contains(stderr, `rounding "up" is not known`) {
		t.Errorf("--rounding up: %s", stderr)
	}
}
