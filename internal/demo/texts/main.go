// Command texts writes texts of the kind that the built-in model was made for, and the model itself:
//
//	go run ./internal/demo/texts FOLDER [TEXTS]
//
// The folder gets tales-train.txt, tales-valid.txt and tales.gguf. With TEXTS, a folder with tinyshakespeare.txt and
// gsm8k/train.jsonl and test.jsonl, it gets 600 kB to learn and 40 kB to measure of each as well:
// shakespeare-train.txt, shakespeare-valid.txt, mathematics-train.txt and mathematics-valid.txt.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/peftconv/peftconv/internal/demo"
	"github.com/peftconv/peftconv/internal/demo/tale"
	"github.com/peftconv/peftconv/internal/infile"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "texts:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 && len(args) != 2 {
		return fmt.Errorf("%d arguments, expected one or two folders", len(args))
	}
	if len(args) == 2 {
		if err := others(args[0], args[1]); err != nil {
			return err
		}
	}
	for _, text := range []struct {
		name     string
		seed, n  uint64
		heldBack bool
	}{{"tales-train.txt", 1, 4000, false}, {"tales-valid.txt", 1001, 160, true}} {
		var b bytes.Buffer
		if err := tale.WriteCorpus(&b, text.seed, 0, text.n, text.heldBack); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(args[0], text.name), b.Bytes(), 0o666); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(args[0], "tales.gguf"), demo.BaseGGUF(), 0o666)
}

// others writes Shakespeare and mathematics to a folder, from one with texts.
func others(folder, texts string) error {
	shakespeare, err := infile.Read(filepath.Join(texts, "tinyshakespeare.txt"), 1<<30)
	if err != nil {
		return err
	}
	parts := map[string][]byte{
		"shakespeare-train.txt": shakespeare, "shakespeare-valid.txt": shakespeare[len(shakespeare)-40000:],
	}
	files := map[string]string{"mathematics-train.txt": "train.jsonl", "mathematics-valid.txt": "test.jsonl"}
	for name, file := range files {
		records, err := infile.Read(filepath.Join(texts, "gsm8k", file), 1<<30)
		if err != nil {
			return err
		}
		for line := range bytes.Lines(records) {
			var record struct{ Question, Answer string }
			if err := json.Unmarshal(line, &record); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			parts[name] = fmt.Appendf(parts[name], "%s\n%s\n\n", record.Question, record.Answer)
		}
	}
	for name, text := range parts {
		size := 600000
		if strings.HasSuffix(name, "-valid.txt") {
			size = 40000
		}
		if err := os.WriteFile(filepath.Join(folder, name), text[:size], 0o666); err != nil {
			return err
		}
	}
	return nil
}
