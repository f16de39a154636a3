package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/cli"
)

// discreteData is records of a text and a label.
func discreteData(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for range 6 {
		b.WriteString(`{"text":"the sea is in","label":"sun"}` + "\n" + `{"text":"the rain is out","label":"rain"}` + "\n")
	}
	return writeFile(t, "data.jsonl", []byte(b.String()))
}

func TestTrainDiscretePrompt(t *testing.T) {
	base, data := tinyBase(t, tiny), discreteData(t)
	out := filepath.Join(t.TempDir(), "prompt.json")
	args := []string{"train", "--method", "discrete-prompt", "--base", base, "--data", data, "--template",
		"{text}[slot*2]\n{label}", "--task", "classify",
		"--labels", "sun,rain", "--sweeps", "1", "--forms", "text,system,modelfile", "--out", out}
	stdout, stderr := want(t, cli.ExitOK, args...)
	for _, part := range []string{"prompt.json, ", "prompt.system.txt", "given  loss", "found  loss", "accuracy",
		"--prompt-template " + out} {
		if !strings.Contains(stdout, part) {
			t.Errorf("no %q in\n%s", part, stdout)
		}
	}
	if !strings.Contains(stderr, "6 records to search on, 3 to choose by, 3 for the report") {
		t.Errorf("how the data is divided is not said:\n%s", stderr)
	}
	for _, end := range []string{".txt", ".system.txt", ".Modelfile"} {
		if text, err := os.ReadFile(strings.TrimSuffix(out, ".json") + end); err != nil || len(text) == 0 {
			t.Errorf("%s: %d bytes, %v", end, len(text), err)
		}
	}
	stdout, _ = want(t, cli.ExitOK, append(args, "--json", "--force")...)
	doc := document(t, stdout, "template", "slots", "verbalizer", "base", "base_sha256", "start", "found", "sweeps",
		"seed")
	if doc["found"].(map[string]any)["accuracy"] == nil {
		t.Errorf("no accuracy in %v", doc["found"])
	}
	stdout, _ = want(t, cli.ExitOK, "eval", "--base", base, "--data", data, "--prompt-template", out)
	if !strings.Contains(stdout, "accuracy") {
		t.Errorf("no accuracy in\n%s", stdout)
	}
	stdout, _ = want(t, cli.ExitOK, "generate", "--base", base, "--prompt-template", out, "--prompt", "the sea", "-n", "2",
		"--temperature", "0")
	if !strings.HasPrefix(stdout, "the sea") || !strings.Contains(stdout, "\n") {
		t.Errorf("the prompt is not in its template:\n%s", stdout)
	}
}

func TestEvalWithAPromptByHand(t *testing.T) {
	base, data := tinyBase(t, tiny), discreteData(t)
	stdout, _ := want(t, cli.ExitOK, "eval", "--base", base, "--data", data, "--prompt-template", "{text}. {label}")
	if !strings.Contains(stdout, "loss") || strings.Contains(stdout, "accuracy") {
		t.Errorf("completions:\n%s", stdout)
	}
	stdout, _ = want(t, cli.ExitOK, "eval", "--base", base, "--data", data, "--prompt-template", "{text}. {label}",
		"--task", "classify", "--labels", "sun,rain")
	if !strings.Contains(stdout, "accuracy") {
		t.Errorf("labels:\n%s", stdout)
	}
}

func TestDiscretePromptRefuses(t *testing.T) {
	base, data := tinyBase(t, tiny), discreteData(t)
	out := filepath.Join(t.TempDir(), "prompt.json")
	for _, c := range []struct {
		want string
		args []string
	}{
		{"needs --template", nil},
		{"has no slot", []string{"--template", "{text} {label}"}},
		{"[slot is not closed", []string{"--template", "{text}[slot {label}"}},
		{`no field "story"`, []string{"--template", "{story}[slot] {label}"}},
		{"--lr has no effect with --method discrete-prompt", []string{"--template", "{text}[slot] {label}", "--lr", "1"}},
		{"--rank has no effect with --method discrete-prompt", []string{"--template", "{text}[slot] {label}", "--rank", "4"}},
		{"--search-verbalizer: needs --task", []string{"--template", "{text}[slot] {label}", "--search-verbalizer"}},
		{"--forms: \"x\" is not known", []string{"--template", "{text}[slot] {label}", "--forms", "x"}},
		{"expected a name that ends in .json", []string{"--template", "{text}[slot] {label}", "--out", out + ".safetensors"}},
		{`"cold" is none of the labels`,
			[]string{"--template", "{text}[slot] {label}", "--task", "classify", "--labels", "sun,rain", "--verbalizer",
				"cold=x"}},
	} {
		args := append([]string{"train", "--method", "discrete-prompt", "--base", base, "--data", data, "--out", out},
			c.args...)
		status, _, stderr := runArgs(t, args...)
		if status == cli.ExitOK || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: status %d, want %q in\n%s", c.args, status, c.want, stderr)
		}
	}
}
