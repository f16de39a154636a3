package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/files"
)

// TestFullOutput prints to a disk that is full: every verb has failed then, whatever it prints.
func TestFullOutput(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /dev/full")
	}
	base, data := tinyBase(t, tiny), tinyText(t)
	adapter := trained(t, base)
	other := tiny
	other.seed = 2
	tuned := tinyBase(t, other)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	want(t, cli.ExitOK, "quantize", base, at("ill.gguf"), "Q4_0", "--pure")
	commands := [][]string{
		{"help"}, {"version"}, {"help", "train", "all"}, {"help", "train", "lora"}, {"completion", "bash"},
		{"completion", "fish"}, {"man", at("man")},
		{"inspect", base}, {"inspect", base, "--tensors"}, {"inspect", base, "--json"}, {"inspect", adapter},
		{"inspect", base, "--key", "general.name"},
		{"doctor", "--quick"}, {"doctor", base, "--quick", "--json"},
		{"verify", base}, {"verify", base, "--hashes"}, {"verify", base, "--json"}, {"verify", base, "--quick"},
		{"diff", base, base}, {"diff", base, base, "--json"}, {"diff", base, adapter},
		{"split", base, at("parts"), "--max-tensors", "5", "--dry-run"},
		{"split", base, at("parts"), "--max-tensors", "5"}, {"join", at("parts-00001-of-00004.gguf"), at("joined.gguf")},
		{"edit", base, "--set", "general.name=x", "--dry-run"},
		{"edit", base, "--set", "general.name=x", "--out", at("edited.gguf"), "--json"},
		{"quantize", base, "Q8_0", "--dry-run"}, {"quantize", base, at("q.gguf"), "Q8_0"},
		{"eval", "--base", base, "--data", data, "--ctx", "32"},
		{"eval", "--base", base, "--data", data, "--ctx", "32", "--json"},
		{"generate", "--base", base, "--prompt", "the", "-n", "2"},
		{"generate", "--base", base, "--prompt", "the", "-n", "2", "--json"},
		{"data", "--base", base, "--data", data}, {"data", "--base", base, "--data", data, "--json"},
		{"imatrix", "--base", base, "--data", data, "--ctx", "32", "--out", at("imatrix.gguf")},
		{"merge", "--base", base, "--lora", adapter, "--out", at("merged.gguf")},
		{"heal", "--base", at("ill.gguf"), "--teacher", base, "--data", data, "--ctx", "32", "--out", at("healed.gguf")},
		{"export", "--base", base, "--lora", adapter, "--to", "gguf", "--out", at("lora.gguf")},
		{"resize", adapter, at("small.safetensors"), "--rank", "2"},
		{"combine", adapter, adapter, "--out", at("sum.safetensors")},
		{"convert", adapter, "--base", base, "--out", at("converted.gguf")},
		{"extract", "--base", base, "--tuned", tuned, "--rank", "2", "--out", at("difference.safetensors")},
		{"train", "--base", base, "--data", data, "--out", at("a.safetensors"), "--steps", "1", "--seq-len", "48"},
		{"train", "--base", base, "--data", data, "--steps", "1", "--seq-len", "48", "--dry-run", "--json"},
		{"report", adapter, "--out", at("report.html")}, {"report", adapter, "--out", "-"},
		{"compare", "--base", base, "--data", data, "--eval-data", data, "-n", "1", "--seq-len", "48", "-m", "lora"},
		{"compare", "--base", base, "--data", data, "--eval-data", data, "-n", "1", "--seq-len", "48", "-m", "lora",
			"--svg", "-"},
	}
	tried := map[string]bool{"bench": true, "demo": true} // they take long
	for _, v := range verbs {
		commands = append(commands, []string{v.Name, "--help"})
	}
	for _, args := range commands {
		var errs bytes.Buffer
		status := run(t.Context(), args, cli.Streams{In: strings.NewReader(""), Out: full, Err: &errs})
		if status != cli.ExitError || !strings.HasSuffix(errs.String(),
			": write standard output: no space left on device\n") {
			t.Errorf("%s: status %d and %q", strings.Join(args, " "), status, errs.String())
		}
		if len(args) > 1 && args[1] != "--help" {
			tried[args[0]] = true
		}
	}
	if status := run(t.Context(), []string{"diff", base, base, "--exit-code"}, cli.Streams{Out: full,
		Err: &bytes.Buffer{}}); status != files.ExitTrouble {
		t.Errorf("diff --exit-code ends with %d, want %d", status, files.ExitTrouble)
	}
	for _, v := range verbs {
		if !tried[v.Name] {
			t.Errorf("%s is not tried", v.Name)
		}
	}
}

// TestClosedPipe runs the program into pipes that nobody reads: it ends quietly, as soon as it prints, and cleans up.
func TestClosedPipe(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("windows has no SIGPIPE")
	}
	base, data := tinyBase(t, tiny), tinyText(t)
	dir := t.TempDir()
	for _, args := range [][]string{
		{"verify", base, "--hashes"},
		{"help"},
		{"train", "--base", base, "--data", data, "--out", filepath.Join(dir, "out.safetensors"), "--steps", "1000000",
			"--seq-len", "48", "--profile", filepath.Join(dir, "profile")},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		var errs bytes.Buffer
		cmd := process(t, &errs, args...)
		if cmd.Stdout = w; args[0] == "train" {
			cmd.Stderr = w
		}
		timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
		cmd.Run()
		timer.Stop()
		w.Close()
		if status := cmd.ProcessState.ExitCode(); status != cli.ExitClosedPipe || errs.Len() > 0 {
			t.Errorf("%s: status %d, %q", args[0], status, errs.String())
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 1 || len(left) == 1 && left[0].Name() != "out.checkpoint.safetensors" {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestExitStatuses wants 2 for wrong usage alone: what is wrong with files is a failure.
func TestExitStatuses(t *testing.T) {
	base, data := tinyBase(t, tiny), tinyText(t)
	adapter := trained(t, base)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("there.yaml"), []byte("rank: 4\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const failed, usage = cli.ExitError, cli.ExitUsage
	train := []string{"train", "--base", base, "--data", data, "--out", at("out.safetensors")}
	with := func(args []string, more ...string) []string { return append(args[:len(args):len(args)], more...) }
	for _, c := range []struct {
		status int
		args   []string
	}{
		{failed, []string{"verify", at("absent.gguf")}},
		{failed, []string{"verify", dir}},
		{failed, []string{"verify", "ollama:absent"}},
		{failed, []string{"train", "--base", at("absent.gguf"), "--data", data, "--out", at("out.safetensors")}},
		{failed, with(train, "--config", at("absent.yaml"))},
		{failed, with(train, "--config", dir)},
		{failed, with(train, "--out", adapter)},
		{failed, []string{"merge", "--base", base, "--lora", adapter, "--out", base}},
		{failed, with(train, "--out", at("absent/out.safetensors"))},
		{failed, with(train, "--resume", at("absent.safetensors"))},
		{failed, with(train, "--chat-template", "absent")},
		{failed, []string{"merge", "--base", base, "--lora", at("absent"), "--out", at("m.gguf")}},
		{failed, []string{"edit", base, "--template", at("absent"), "--out", at("e.gguf")}},
		{failed, []string{"generate", "--base", base, "--file", at("absent")}},
		{failed, []string{"generate", "--base", base, "--prompt", "x", "--prompt-template", at("absent")}},
		{failed, []string{"quantize", at("absent.gguf"), at("q.gguf"), "Q8_0"}},
		{failed, []string{"convert", at("absent"), "--out", at("c.gguf")}},
		{usage, nil},
		{usage, []string{"absent"}},
		{usage, []string{"verify"}},
		{usage, []string{"verify", base, "--absent"}},
		{usage, []string{"verify", base, "--quick", "--hashes"}},
		{usage, with(train, "--out", at("out.bin"))},
		{usage, with(train, "--rank", "0")},
		{usage, with(train, "--rank", "many")},
		{usage, with(train, "--config", at("there.yaml"), "-q", "-v")},
		{usage, []string{"train", "--base", base, "--data", data}},
		{usage, []string{"generate", "--base", base, "--prompt", "x", "--prompt-template", "{a} {a"}},
		{usage, []string{"quantize", base, at("q.gguf"), "Q9_9"}},
		{usage, []string{"completion", "absent"}},
		{usage, []string{"help", "absent"}},
	} {
		var errs bytes.Buffer
		status := run(t.Context(), c.args, cli.Streams{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &errs})
		if status != c.status {
			t.Errorf("%s: status %d, want %d: %s", strings.Join(c.args, " "), status, c.status, errs.String())
		}
	}
}

// hostile puts hostileText behind a word in all names and texts in the header of a safetensors file.
func hostile(t *testing.T, path, word string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := binary.LittleEndian.Uint64(data)
	var header map[string]any
	if err := json.Unmarshal(data[8:8+n], &header); err != nil {
		t.Fatal(err)
	}
	texts := header["__metadata__"].(map[string]any)
	for key, text := range texts {
		evil := word + hostileText
		if text := text.(string); strings.HasPrefix(text, "{") { // JSON within JSON
			quoted, _ := json.Marshal(evil)
			evil = string(quoted[1 : len(quoted)-1])
		}
		texts[key] = strings.ReplaceAll(text.(string), word, evil)
	}
	for name, tensor := range header {
		if strings.Contains(name, word) {
			delete(header, name)
			header[strings.ReplaceAll(name, word, word+hostileText)] = tensor
		}
	}
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "hostile.safetensors", safetensorsFile(string(text), data[8+n:]))
}

// hostileText wants a line of its own, what terminals obey, and to be very long.
var hostileText = "\nFAKE: \x1b[2J\u202e" + strings.Repeat("x y", 1<<17)

// TestHostileTexts runs verbs over files whose names and metadata want to be more than text.
func TestHostileTexts(t *testing.T) {
	base, data := tinyBase(t, tiny), tinyText(t)
	adapter := trained(t, base)
	out := filepath.Join(t.TempDir(), "out")
	var list [][]string
	for _, word := range []string{"q_proj", "tiny", "llama", "LORA"} {
		evil := hostile(t, adapter, word)
		list = append(list, [][]string{
			{"inspect", evil, "--tensors"}, {"verify", evil}, {"verify", evil, "--hashes"}, {"diff", adapter, evil},
			{"eval", "--base", base, "--data", data, "--ctx", "32", "--lora", evil},
			{"merge", "--base", base, "--lora", evil, "--out", out + ".gguf", "--force"},
			{"export", "--base", base, "--lora", evil, "--to", "gguf", "--out", out + ".lora.gguf", "--force"},
			{"export", "--base", base, "--lora", evil, "--to", "peft", "--out", out + "-peft", "--force"},
			{"combine", adapter, evil, "--out", out + ".sum.safetensors", "--force"},
			{"resize", evil, out + ".small.safetensors", "--rank", "2", "--force"},
			{"report", evil, "--out", out + ".html", "--md", out + ".md", "--svg", out + ".svg", "--force"},
			{"train", "--base", base, "--data", data, "--resume-from", evil, "--out", out + ".safetensors", "--steps", "1",
				"--seq-len", "48", "--force"},
			{"train", "--base", base, "--data", data, "--resume", evil, "--out", out + ".safetensors", "--steps", "1",
				"--seq-len", "48", "--force"},
		}...)
	}
	for _, set := range []string{"general.name", "tokenizer.chat_template", "general.basename"} {
		path := tinyBase(t, tiny)
		want(t, cli.ExitOK, "edit", path, "--set", set+"=x"+hostileText)
		list = append(list, [][]string{
			{"inspect", path}, {"verify", path}, {"diff", base, path},
			{"generate", "--base", path, "--chat", "--prompt", "the", "-n", "1"},
			{"train", "--base", path, "--data", data, "--out", out + ".safetensors", "-n", "1", "--seq-len", "48", "--force"},
			{"eval", "--base", path, "--lora", adapter, "--data", data, "--ctx", "32"},
			{"edit", path, "--remove", set, "--dry-run"},
		}...)
	}
	for _, args := range list {
		var stdout, stderr bytes.Buffer
		run(t.Context(), args, cli.Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr})
		for name, text := range map[string]string{"output": stdout.String(), "error": stderr.String()} {
			for line := range strings.Lines(text) {
				whole := slices.Contains(args, "--hashes") // of a file's names, for other programs
				if strings.HasPrefix(line, "FAKE") || !whole && (strings.ContainsAny(line, "\x1b\u202e") || len(line) > 5000) {
					t.Errorf("%s: a line of standard %s: %d bytes, %.200q", strings.Join(args[:2], " "), name, len(line), line)
				}
			}
		}
	}
}
