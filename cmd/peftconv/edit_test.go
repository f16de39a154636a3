package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/edit"
	"github.com/peftconv/peftconv/internal/cli"
)

// value reads a metadata value of a file as text.
func value(t *testing.T, path, key string) string {
	t.Helper()
	out, _ := want(t, cli.ExitOK, "inspect", path, "--key", key)
	return strings.TrimSuffix(out, "\n")
}

func TestEdit(t *testing.T) {
	base := tinyBase(t, tiny)
	original, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	out, _ := want(t, cli.ExitOK, "edit", base, "--set", "general.name=wide", "--set", "x.y:u32=7", "--remove",
		"tokenizer.ggml.scores", "--dry-run")
	for _, part := range []string{`~ general.name           str       "tiny" → "wide"`, "+ x.y",
		"- tokenizer.ggml.scores  f32[274]", "nothing written: the header would fit"} {
		if !strings.Contains(out, part) {
			t.Errorf("no %q in\n%s", part, out)
		}
	}
	if now, _ := os.ReadFile(base); !bytes.Equal(now, original) {
		t.Fatal("a dry run changed the file")
	}
	out, _ = want(t, cli.ExitOK, "edit", base, "--set", "general.name=wide")
	if !strings.Contains(out, "tiny.gguf edited") || value(t, base, "general.name") != "wide" {
		t.Errorf("edit shows\n%s", out)
	}
	want(t, cli.ExitOK, "generate", "--base", base, "--prompt", "the", "--n", "2")
	want(t, cli.ExitOK, "edit", base, "--set", "general.name=tiny")
	if now, _ := os.ReadFile(base); !bytes.Equal(now, original) {
		t.Error("there and back is not where it began")
	}
	if out, _ = want(t, cli.ExitOK, "edit", base,
		"--set", "general.name=tiny"); !strings.Contains(out, "nothing changes") {
		t.Errorf("edit shows\n%s", out)
	}
}

func TestEditTemplate(t *testing.T) {
	base := tinyBase(t, tiny)
	text := "{% for m in messages %}{{ m.content }}\n{% endfor %}" + strings.Repeat("{# … #}", 20)
	copied := filepath.Join(t.TempDir(), "copy.gguf")
	want(t, cli.ExitOK, "edit", base, "--template", writeFile(t, "chat.jinja", []byte(text)), "--out", copied, "--reserve",
		"10k")
	if got := value(t, copied, "tokenizer.chat_template"); got != text {
		t.Errorf("the template is %q", got)
	}
	other := writeFile(t, "chat.jinja", []byte(strings.Replace(text, "content", "text", 1)))
	out, _ := want(t, cli.ExitOK, "edit", copied, "--template", other)
	if !strings.Contains(out, `…"es %}{{ m.content }}\n`) || !strings.Contains(out, "from byte 28 on") ||
		!strings.Contains(out, "edited") {
		t.Errorf("edit shows\n%s", out)
	}
	_, stderr := want(t, cli.ExitError, "edit", copied, "--template", "absent.jinja")
	if !strings.Contains(stderr, "--template: stat absent.jinja") {
		t.Errorf("stderr %q", stderr)
	}
	want(t, cli.ExitError, "edit", copied, "--template", writeFile(t, "chat.jinja", []byte("\xff\xfe")))
}

func TestEditWarnsAndReports(t *testing.T) {
	base := tinyBase(t, tiny)
	out, stderr := want(t, cli.ExitOK, "edit", base, "--set", "general.architecture=qwen2", "--rename-tensor",
		"output_norm.weight=norm", "--json")
	if !strings.Contains(stderr, `warning: general.architecture is "qwen2"`) {
		t.Errorf("stderr %q", stderr)
	}
	doc := document(t, out, "file", "output", "metadata", "renamed_tensors", "warnings", "method", "way")
	if doc["method"] != "header" || len(doc["warnings"].([]any)) != 1 {
		t.Errorf("%s", out)
	}
	change := doc["metadata"].([]any)[0].(map[string]any)
	if change["key"] != "general.architecture" || change["old"] != "llama" || change["new"] != "qwen2" {
		t.Errorf("change %v", change)
	}
}

func TestEditRefuses(t *testing.T) {
	base := tinyBase(t, tiny)
	for _, c := range []struct {
		status  int
		args    []string
		message string
	}{
		{cli.ExitUsage, nil, "nothing to change"},
		{cli.ExitUsage, []string{"--set", "x"}, "--set:"},
		{cli.ExitUsage, []string{"--set", "x:u33=1"}, "no kind of value"},
		{cli.ExitUsage, []string{"--rename", "x"}, "--rename:"},
		{cli.ExitUsage, []string{"--rename-tensor", "x="}, "--rename-tensor:"},
		{cli.ExitUsage, []string{"--reserve", "lots"}, "expected a number of bytes"},
		{cli.ExitError, []string{"--remove", "general.nam"}, `did you mean "general.name"?`},
		{cli.ExitError, []string{"--rename-tensor", "output_norm.weigt=x"}, `did you mean "output_norm.weight"?`},
		{cli.ExitError, []string{"--set", "general.alignment:u32=33"}, "a power of two"},
		{cli.ExitError, []string{"--set", "general.name=x", "--out", base}, "never overwritten"},
	} {
		if _, stderr := want(t, c.status,
			append([]string{"edit", base}, c.args...)...); !strings.Contains(stderr, c.message) {
			t.Errorf("%v: stderr %q lacks %q", c.args, stderr, c.message)
		}
	}
	want(t, cli.ExitUsage, "edit")
	want(t, cli.ExitError, "edit", "absent.gguf", "--set", "a=b")
	want(t, cli.ExitError, "edit", writeFile(t, "x.safetensors", safetensorsFile("{}", nil)), "--set", "a=b")
}

// journalOf is the journal of an edit in place that makes after of before.
func journalOf(before, after []byte) []byte {
	lo, hi := 0, len(before)
	for before[lo] == after[lo] {
		lo++
	}
	for before[hi-1] == after[hi-1] {
		hi--
	}
	b := []byte("peftconv edit journal 1\n")
	for _, n := range []int{len(before), lo, hi - lo} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	b = append(append(b, before[lo:hi]...), after[lo:hi]...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// TestEditFinishesWhatWasInterrupted leaves a file half-written beside its journal, as a crash would.
func TestEditFinishesWhatWasInterrupted(t *testing.T) {
	base := tinyBase(t, tiny)
	read := func() []byte {
		data, err := os.ReadFile(base)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	write := func(path string, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := read()
	want(t, cli.ExitOK, "edit", base, "--remove", "general.type")
	after := read()
	torn := append(bytes.Clone(after[:500]), before[500:]...)
	write(base, torn)
	write(base+".edit-journal", journalOf(before, after))
	if _, stderr := want(t, cli.ExitError, "inspect",
		base); !strings.Contains(stderr, "was interrupted: \"peftconv edit ") {
		t.Errorf("stderr %q does not say what to do", stderr)
	}
	if _, stderr := want(t, cli.ExitError, "edit", base, "--set", "general.name=x",
		"--dry-run"); !strings.Contains(stderr, "was interrupted") {
		t.Errorf("stderr %q", stderr)
	}
	if !bytes.Equal(read(), torn) {
		t.Fatal("the file has been changed")
	}
	if _, stderr := want(t, cli.ExitOK, "edit", base); !strings.Contains(stderr, "finished an edit") {
		t.Errorf("stderr %q", stderr)
	}
	if !bytes.Equal(read(), after) || edit.Pending(base) {
		t.Error("the edit is not finished")
	}
	torn[600] ^= 0x55
	write(base, torn)
	write(base+".edit-journal", journalOf(before, after))
	if _, stderr := want(t, cli.ExitError, "edit", base,
		"--set", "general.name=x"); !strings.Contains(stderr, "belongs to another file") {
		t.Errorf("stderr %q", stderr)
	}
	if !bytes.Equal(read(), torn) {
		t.Error("the file has been changed")
	}
}

// TestKilledEditLosesNothing kills edits of a header and of a whole file at many moments. The file is the old
// one or the new one, or one that peftconv edit completes.
func TestKilledEditLosesNothing(t *testing.T) {
	base := large(t)
	before, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"--set", "general.name=small", "--remove", "tokenizer.ggml.tokens"},
		{"--set", "general.name=" + strings.Repeat("long", 1000)},
		{"--set", "general.alignment:u32=4096"},
	} {
		path := filepath.Join(t.TempDir(), "model.gguf")
		reset := func() {
			if err := os.WriteFile(path, before, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		reset()
		start := time.Now()
		killAfter(t, time.Minute, append([]string{"edit", path}, args...)...)
		took := time.Since(start)
		after, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, delay := range kills(took) {
			reset()
			killAfter(t, delay, append([]string{"edit", path}, args...)...)
			if edit.Pending(path) {
				want(t, cli.ExitOK, "edit", path)
			}
			now, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(now, before) && !bytes.Equal(now, after) {
				t.Errorf("killed after %v: %d bytes, neither the old file nor the new one: %v", delay, len(now), err)
			}
		}
	}
}

func TestEditedModelOpens(t *testing.T) {
	base := tinyBase(t, tiny)
	want(t, cli.ExitOK, "edit", base, "--set", "general.alignment:u32=256")
	f, err := gguf.Open(base)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Alignment != 256 {
		t.Errorf("alignment %d", f.Alignment)
	}
	want(t, cli.ExitOK, "generate", "--base", base, "--prompt", "the", "--n", "2")
}
