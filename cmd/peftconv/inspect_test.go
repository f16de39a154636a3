package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/testdata"
)

func TestInspectGGUF(t *testing.T) {
	m := tiny
	m.typ = gguf.Q8_0
	base := tinyBase(t, m)
	out, _ := want(t, cli.ExitOK, "inspect", base)
	for _, part := range []string{"GGUF v3 model, llama", "general.name", "tiny", "Q8_0", "15 tensors",
		`["<unk>", "<s>", "</s>", `} {
		if !strings.Contains(out, part) {
			t.Errorf("no %q in\n%s", part, out)
		}
	}
	if strings.Contains(out, "blk.1.ffn_down.weight") {
		t.Error("tensors are listed without --tensors")
	}
	if out, _ = want(t, cli.ExitOK, "inspect", base,
		"--tensors"); !strings.Contains(out, "64 × 32   blk.1.ffn_down.weight") {
		t.Errorf("no line for blk.1.ffn_down.weight in\n%s", out)
	}
	if out, _ = want(t, cli.ExitOK, "inspect", base, "--key", "general.name"); out != "tiny\n" {
		t.Errorf("--key prints %q", out)
	}
	_, stderr := want(t, cli.ExitError, "inspect", base, "--key", "general.nam")
	if !strings.Contains(stderr, `did you mean "general.name"`) {
		t.Errorf("stderr %q", stderr)
	}
}

func TestInspectJSON(t *testing.T) {
	base := tinyBase(t, tiny)
	out, _ := want(t, cli.ExitOK, "inspect", base, "--json")
	doc := document(t, out, "kind", "architecture", "metadata", "tensors", "parameters", "types")
	if doc["kind"] != "model" || doc["architecture"] != "llama" || doc["format"] != "gguf" {
		t.Errorf("kind %v, architecture %v, format %v", doc["kind"], doc["architecture"], doc["format"])
	}
	if n := len(doc["tensors"].([]any)); n != len(tiny.tensors()) {
		t.Errorf("%d tensors, want %d", n, len(tiny.tensors()))
	}
	keys := []string{"general.architecture", "general.type", "general.name"}
	if at := strings.Index(out, keys[0]); at < 0 || strings.Index(out, keys[1]) < at ||
		strings.Index(out, keys[2]) < strings.Index(out, keys[1]) {
		t.Error("the metadata's order is lost")
	}
}

// TestInspectHostileText: what a file says must not reach the terminal as control characters.
func TestInspectHostileText(t *testing.T) {
	path := writeFile(t, "x.safetensors",
		safetensorsFile(`{"__metadata__":{"a\u001b[2J":"b\u0007"},"w\u001b]0;x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, make([]byte, 4)))
	out, _ := want(t, cli.ExitOK, "inspect", path, "--tensors")
	if strings.ContainsAny(out, "\x1b\x07") {
		t.Errorf("control characters in %q", out)
	}
}

func TestInspectSafetensors(t *testing.T) {
	header := `{"__metadata__":{"format":"pt"},"x.lora_A.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},` +
		`"x.lora_B.weight":{"dtype":"F32","shape":[4,2],"data_offsets":[24,56]}}`
	path := writeFile(t, "adapter.safetensors", safetensorsFile(header, make([]byte, 56)))
	out, _ := want(t, cli.ExitOK, "inspect", path, "--json")
	doc := document(t, out, "kind", "metadata", "tensors", "adapter")
	if doc["kind"] != "adapter" || doc["parameters"] != 14.0 {
		t.Errorf("kind %v, parameters %v", doc["kind"], doc["parameters"])
	}
	second := doc["tensors"].([]any)[1].(map[string]any)
	if second["offset"] != 24.0 || second["bytes"] != 32.0 {
		t.Errorf("tensor %v", second)
	}
}

func TestInspectDirectories(t *testing.T) {
	out, _ := want(t, cli.ExitOK, "inspect", testdata.Shared(t, "peft/lora_qv_r4/final"))
	for _, part := range []string{"safetensors adapter", "rank 4", "peft_type"} {
		if !strings.Contains(out, part) {
			t.Errorf("no %q in\n%s", part, out)
		}
	}
	if out, _ = want(t, cli.ExitOK, "inspect",
		testdata.Shared(t, "peft/base")); !strings.Contains(out, "safetensors model, llama") {
		t.Errorf("a model's directory shows as\n%s", out)
	}
}

func TestInspectRefuses(t *testing.T) {
	good, err := os.ReadFile(tinyBase(t, tiny))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, file string
		data       []byte
		message    string
	}{
		{"empty", "x.gguf", nil, "neither GGUF nor safetensors"},
		{"other", "x.gguf", []byte("PK\x03\x04 and more"), `it begins with "PK\x03\x04"`},
		{"magic only", "x.gguf", good[:4], "x.gguf"},
		{"header cut", "x.gguf", good[:1000], "x.gguf"},
		{"data cut", "x.gguf", good[:len(good)-100], "x.gguf"},
		{"no header", "x.safetensors", []byte{1, 2, 3}, "x.safetensors"},
		{"header too long", "x.safetensors", safetensorsFile("{}", nil)[:9], "x.safetensors"},
		{"beyond the end", "x.safetensors",
			safetensorsFile(`{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, make([]byte, 4)), "x.safetensors"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := writeFile(t, c.file, c.data)
			_, stderr := want(t, cli.ExitError, "inspect", path)
			if !strings.Contains(stderr, c.message) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("stderr %q lacks %q", stderr, c.message)
			}
		})
	}
	want(t, cli.ExitError, "inspect", filepath.Join(t.TempDir(), "absent.gguf"))
	want(t, cli.ExitUsage, "inspect")
	want(t, cli.ExitUsage, "inspect", "a", "b")
	want(t, cli.ExitUsage, "inspect", "a", "--json", "--key", "k")
}
