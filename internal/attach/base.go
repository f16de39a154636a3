package attach

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/hashcache"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/names"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/internal/store"
	"github.com/peftconv/peftconv/internal/tokenizer"
	"github.com/peftconv/peftconv/kernels"
)

// IndexFile lists the files of a sharded model.
const IndexFile = "model.safetensors.index.json"

// Base is a frozen model, mapped from its files. Everything made from it is valid until Close.
type Base struct {
	Path      string               // as it was given to OpenBase
	Model     *model.Model         // the decoder over the mapped weights
	Tokenizer *tokenizer.Tokenizer // nil where the files have none
	GGUF      *gguf.File           // nil for a Hugging Face directory

	Store  *store.Store // nil when closed
	hash   func() (string, error)
	files  func() (string, error) // what adapters of earlier versions record in place of hash
	Master *requant.MasterWeights // what it was quantized from, or nil
}

// OpenBase opens a model: a GGUF file, or a Hugging Face directory with config.json and safetensors, whole or sharded.
func OpenBase(path string) (*Base, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open base: %w", err)
	}
	files, err := openModel(path, info.IsDir())
	if err != nil {
		return nil, fmt.Errorf("open base %s: %w", path, err)
	}
	b, err := OfStore(path, files)
	if err != nil {
		files.Close()
		return nil, fmt.Errorf("open base %s: %w", path, err)
	}
	return b, nil
}

// openModel opens the files of a model.
func openModel(path string, isDir bool) (*store.Store, error) {
	switch {
	case !isDir && filepath.Ext(path) == ".safetensors":
		return nil, errors.New("a single safetensors file is no model: give the directory that holds it and config.json")
	case !isDir:
		f, err := gguf.Open(path)
		if err != nil {
			return nil, err
		}
		return store.OfGGUF(f), nil
	case !HasFile(path, "model.safetensors") && !HasFile(path, IndexFile):
		return nil, fmt.Errorf("the directory has neither model.safetensors nor %s", IndexFile)
	}
	return store.Open(path)
}

// OfStore is OpenBase for files that are open, which are closed with the base. Where there is an error they stay open.
func OfStore(path string, files *store.Store) (*Base, error) {
	b := &Base{Path: path, Store: files, GGUF: files.GGUF}
	b.hash = sync.OnceValues(func() (string, error) {
		return hashcache.Of("tensors", files.Files, func() (string, error) { return hashTensors(files), nil })
	})
	b.files = sync.OnceValues(func() (string, error) {
		return hashcache.Of("files", files.Files, func() (string, error) { return hashFiles(files.Files) })
	})
	if b.GGUF != nil {
		b.GGUF.Meta.RemoveSplit() // what is made of a split base is one file
	}
	var err error
	if b.Model, err = model.Load(files); err != nil {
		return nil, err
	}
	if b.GGUF == nil {
		if HasFile(path, "tokenizer.json") || HasFile(path, "tokenizer.model") {
			b.Tokenizer, err = tokenizer.FromHF(path)
		}
		return b, err
	}
	meta := b.GGUF.Meta
	_, model := meta.Get("tokenizer.ggml.model")
	_, tokens := meta.Get("tokenizer.ggml.tokens")
	if !model && !tokens || hasNoWords(meta) {
		return b, nil
	}
	if b.Tokenizer, err = tokenizer.FromGGUF(meta); err != nil {
		return nil, err
	}
	if n, rows := b.Tokenizer.Size(), b.Model.Spec.Vocab; n != rows {
		return nil, fmt.Errorf("the vocabulary has %d tokens, but the embedding table rows for %d", n, rows)
	}
	return b, nil
}

// OpenOutline opens as much of a model as an adapter's names, sizes and orders of rows need: a GGUF file, or the
// config.json of a Hugging Face directory, whose weights need not be there. Nothing can be computed with what is opened
// of a directory. Where factors of the base's experts are part of an adapter's pairs in GGUF files, the weights are
// opened too.
func OpenOutline(path string) (*Base, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open base: %w", err)
	}
	config := path
	if info.IsDir() {
		config = filepath.Join(path, "config.json")
	} else if filepath.Base(path) != "config.json" {
		return OpenBase(path)
	}
	read, err := arch.ReadConfig(config)
	if err != nil {
		return nil, fmt.Errorf("open base %s: %w", path, err)
	}
	if read.Arch.Tensor(arch.ExpertScale) != nil && read.Spec.At(0).Experts.Count > 0 {
		return OpenBase(filepath.Dir(config))
	}
	m, err := model.Outline(read)
	if err != nil {
		return nil, fmt.Errorf("open base %s: %w", path, err)
	}
	return &Base{Path: path, Model: m, hash: func() (string, error) {
		return "", fmt.Errorf("%s was opened without its weights", path)
	}}, nil
}

// hasNoWords reports metadata that say that the model has no vocabulary.
func hasNoWords(meta *gguf.Metadata) bool {
	kind, _ := meta.String("tokenizer.ggml.model")
	return kind == "none" || kind == "no_vocab"
}

// HasFile says whether a directory has a file of a name.
func HasFile(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// Close unmaps the files.
func (b *Base) Close() error {
	err := b.closeMaster()
	if b.Store == nil {
		return err
	}
	files := b.Store
	b.Store = nil
	return errors.Join(err, files.Close())
}

// SHA256 says which weights a model has, whatever its metadata and its division into files: the SHA-256, in
// hexadecimal, of a line for each tensor, by name: the SHA-256 of its data, its type, shape (rows first) and name. The
// weights are read once.
func (b *Base) SHA256() (string, error) { return b.hash() }

// Architecture is the name that GGUF has for the model's architecture (general.architecture).
func (b *Base) Architecture() string { return b.Model.Spec.Architecture }

// Name is what PEFT should load an adapter of this base onto: the repository that the file says it was made from or
// that it lies in, in the cache of the Hub, or else the name of the file or directory, without the folders of this
// machine.
func (b *Base) Name() string {
	if b.GGUF != nil {
		if name := HubName(b.GGUF.Meta); name != "" {
			return name
		}
	}
	if name := names.Repository(b.Path); name != "" {
		return name
	}
	return filepath.Base(b.Path)
}

// Canonical is a name of a module by which the classes of Hugging Face that the base may be of have it alike.
func (b *Base) Canonical(module string) string { return b.Model.Arch.Canonical(module) }

// LinearsByName are linear maps by their canonical names.
func (b *Base) LinearsByName(list []*model.Linear) map[string]*model.Linear {
	byName := make(map[string]*model.Linear, len(list))
	for _, l := range list {
		byName[b.Canonical(l.Module)] = l
	}
	return byName
}

// HubName is the repository of the model that a GGUF file was made from, or that an adapter in one is for; "" where its
// metadata do not say.
func HubName(meta *gguf.Metadata) string {
	for _, key := range []string{"general.source.huggingface.repository", "general.base_model.0.repo_url"} {
		if repo, ok := meta.String(key); ok && repo != "" {
			return trimHubURL(repo)
		}
	}
	return ""
}

// hashTensors is what Base.SHA256 says.
func hashTensors(s *store.Store) string {
	tensors := slices.SortedFunc(s.Tensors(), func(a, b store.Tensor) int { return strings.Compare(a.Name, b.Name) })
	lines := make([]string, len(tensors))
	kernels.Parallel(len(tensors), func(i int) {
		t := &tensors[i]
		h := sha256.New()
		for data := t.Data; len(data) > 0; {
			n := min(len(data), releasedBytes)
			h.Write(data[:n])
			mapped.Release(data[:n])
			data = data[n:]
		}
		lines[i] = fmt.Sprintf("%x  %s %v %s\n", h.Sum(nil), t.TypeName, t.Shape, t.Name)
	})
	s.Release()
	all := sha256.New()
	for _, line := range lines {
		io.WriteString(all, line)
	}
	return hex.EncodeToString(all.Sum(nil))
}

// releasedBytes is how much of a tensor is read before the memory of its pages is given back.
const releasedBytes = 2 << 20

// hashFiles is what adapters of earlier versions record: the SHA-256 of the base's file, or of the list of hashes of
// several.
func hashFiles(paths []string) (string, error) {
	if len(paths) == 1 {
		return HashFile(paths[0])
	}
	all := sha256.New()
	for _, path := range paths {
		sum, err := HashFile(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(all, "%s  %s\n", sum, filepath.Base(path))
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}

// HashFile is the SHA-256 of a file, in hexadecimal digits.
func HashFile(path string) (string, error) {
	f, err := infile.Open(path)
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
	hash := func() (string, error) { return hex.EncodeToString(sum[:]), nil }
	return &Base{Path: name, Model: m, hash: hash, files: hash}
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
