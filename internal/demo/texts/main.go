// Command texts writes texts of the kind that the built-in model was made for, and the model itself:
//
//	go run ./internal/demo/texts FOLDER
//
// The folder gets tales-train.txt, tales-valid.txt and tales.gguf.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/peftconv/peftconv/internal/demo"
	"github.com/peftconv/peftconv/internal/demo/tale"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "texts:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%d arguments, expected a folder", len(args))
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
