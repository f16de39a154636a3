package attach

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

// IndexFile lists the files of a sharded model.
const IndexFile = "model.safetensors.index.json"

// Base is a frozen model, mapped from its files. Everything made from it is valid until Close.
type Base struct {
	Path      string               // as it was given to OpenBase
	Model     *model.Model         // the decoder over the mapped weights
	Tokenizer *tokenizer.Tokenizer // nil where the files have none
	GGUF      *gguf.File           // nil for a Hugging Face directory

	Weights []string // the files that hold the weights
	Closer  io.Closer
	hash    func() (string, error)
	Latent  *requant.LatentWeights // what it was quantized from, or nil
}

// OpenBase opens a model: a GGUF file, or a Hugging Face directory with config.json and safetensors, whole or sharded.
func OpenBase(path string) (*Base, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open base: %w", err)
	}
	b := &Base{Path: path}
	if info.IsDir() {
		err = b.openHF()
	} else {
		err = b.openGGUF()
	}
	if err != nil {
		b.Close()
		return nil, fmt.Errorf("open base %s: %w", path, err)
	}
	b.hash = sync.OnceValues(func() (string, error) { return hashFiles(b.Weights) })
	return b, nil
}

func (b *Base) openGGUF() (err error) {
	if filepath.Ext(b.Path) == ".safetensors" {
		return errors.New("a single safetensors file is no model: give the directory that holds it and config.json")
	}
	if b.GGUF, err = gguf.Open(b.Path); err != nil {
		return err
	}
	b.Closer, b.Weights = b.GGUF, []string{b.Path}
	if b.Model, err = model.FromGGUF(b.GGUF); err != nil {
		return err
	}
	if _, ok := b.GGUF.Meta.Get("tokenizer.ggml.model"); ok {
		b.Tokenizer, err = tokenizer.FromGGUF(b.GGUF.Meta)
	}
	return err
}

func (b *Base) openHF() (err error) {
	if b.Weights, err = weightFiles(b.Path); err != nil {
		return err
	}
	if b.Model, b.Closer, err = model.FromHF(b.Path); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(b.Path, "tokenizer.json")); err != nil {
		return nil
	}
	b.Tokenizer, err = tokenizer.FromHF(b.Path)
	return err
}

// Close unmaps the files.
func (b *Base) Close() error {
	err := b.closeLatent()
	if b.Closer == nil {
		return err
	}
	closer := b.Closer
	b.Closer = nil
	return errors.Join(err, closer.Close())
}

// SHA256 is the hash of the weights in hexadecimal. For a GGUF file and a single model.safetensors it is the SHA-256
// of the file. For a sharded model it is the SHA-256 of the lines that sha256sum prints for the shards in alphabetical
// order (hash, two spaces, base name, newline). The files are read once.
func (b *Base) SHA256() (string, error) { return b.hash() }

// Architecture is the name that GGUF has for the model's architecture, for example "llama".
func (b *Base) Architecture() string { return b.Model.Spec.Architecture }

// Name is what PEFT should load an adapter of this base onto: the repository that the file says it was made from, or
// else the path.
func (b *Base) Name() string {
	if b.GGUF != nil {
		for _, key := range []string{"general.source.huggingface.repository", "general.base_model.0.repo_url"} {
			if repo, ok := b.GGUF.Meta.String(key); ok && repo != "" {
				return trimHubURL(repo)
			}
		}
	}
	return b.Path
}

// weightFiles lists the safetensors files of a Hugging Face directory, in alphabetical order.
func weightFiles(dir string) ([]string, error) {
	single := filepath.Join(dir, "model.safetensors")
	if _, err := os.Stat(single); err == nil {
		return []string{single}, nil
	}

	data, err := os.ReadFile(filepath.Join(dir, IndexFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the directory has neither model.safetensors nor %s", IndexFile)
	}
	if err != nil {
		return nil, err
	}
	var index struct {
		Map map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", IndexFile, err)
	}
	names := slices.Compact(slices.Sorted(maps.Values(index.Map)))
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: names no file in weight_map", IndexFile)
	}
	for i, name := range names {
		if !filepath.IsLocal(name) {
			return nil, fmt.Errorf("%s: file %q lies outside the directory", IndexFile, name)
		}
		names[i] = filepath.Join(dir, name)
	}
	return names, nil
}

// hashFiles is the SHA-256 of one file, or of the list of hashes of several.
func hashFiles(paths []string) (string, error) {
	if len(paths) == 1 {
		return hashFile(paths[0])
	}
	all := sha256.New()
	for _, path := range paths {
		sum, err := hashFile(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(all, "%s  %s\n", sum, filepath.Base(path))
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("hash the base: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(h, f, make([]byte, 1<<20)); err != nil {
		return "", fmt.Errorf("hash the base: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// BaseOf is a base over a model that no file holds, for measurements. It has no tokenizer; the hash of its weights is
// that of the name.
func BaseOf(name string, m *model.Model) *Base {
	sum := sha256.Sum256([]byte(name))
	return &Base{Path: name, Model: m, hash: func() (string, error) { return hex.EncodeToString(sum[:]), nil }}
}

// SameFile reports whether two paths lead to one file.
func SameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
