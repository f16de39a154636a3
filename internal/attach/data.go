package attach

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/chat"
	"github.com/peftconv/peftconv/internal/dataset"
	"github.com/peftconv/peftconv/internal/hfvocab"
	"github.com/peftconv/peftconv/internal/infile"
)

// Data is token sequences with loss masks, to train or evaluate on. It can be made from a file by LoadData, or by
// hand: Data{Examples: []Example{{IDs: ids}}}.
type Data = dataset.Set

// Example is one token sequence of a Data.
type Example = dataset.Example

// File is a file of a Data, and where its examples end.
type File = dataset.File

// DataOptions says how a file becomes examples.
type DataOptions = dataset.Options

// Source is a file, a directory or standard input, with a weight.
type Source = dataset.Source

// LoadData reads sources in the vocabulary of a base, and holds a share of them back where the options say so;
// otherwise eval is nil. SeqLen 0 is 512, or less where the base was made for less.
func LoadData(sources []Source, b *Base, opt DataOptions) (train, eval *Data, err error) {
	spec := &b.Model.Spec
	if opt.SeqLen == 0 {
		opt.SeqLen = 512
		if spec.Context > 0 {
			opt.SeqLen = min(opt.SeqLen, spec.Context)
		}
	}
	if opt.VocabSize == 0 {
		opt.VocabSize = spec.Vocab
	}
	if opt.Cache.Keep {
		if opt.Cache.Vocabulary, err = b.vocabularyHash(); err != nil {
			return nil, nil, err
		}
	}
	return dataset.LoadSplit(sources, b.Tokenizer, opt)
}

// vocabularyHash is a hash of all that says how a text becomes token ids.
func (b *Base) vocabularyHash() (string, error) {
	h := sha256.New()
	if b.GGUF != nil {
		for key, value := range b.GGUF.Meta.All() {
			if !strings.HasPrefix(key, "tokenizer.") {
				continue
			}
			text, err := json.Marshal(value)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(h, "%s=%s\x00", key, text)
		}
		return hex.EncodeToString(h.Sum(nil)), nil
	}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json"} {
		text, err := infile.Read(filepath.Join(b.Path, name), infile.Index)
		if err != nil && !os.IsNotExist(err) {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\x00%s", name, len(text), text)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// ChatTemplate is the chat template of a base: a file, or one of the base's own by its name; given "" it is the one
// that the base uses where none is named, nil where it has none.
func (b *Base) ChatTemplate(given string) (*chat.Template, error) {
	if b.Tokenizer == nil {
		return nil, fmt.Errorf("%s has no tokenizer, which conversations need", b.Path)
	}
	source, err := b.templateText(given)
	if err != nil || source == "" {
		return nil, err
	}
	t, err := chat.New(source)
	if err != nil {
		if given == "" {
			given = b.Path
		}
		return nil, fmt.Errorf("%s: %w", given, err)
	}
	t.Use(b.Tokenizer)
	return t, nil
}

// templateText is the text of the chat template, "" where the base has none.
func (b *Base) templateText(given string) (string, error) {
	own, err := b.chatTemplates()
	if err != nil {
		return "", fmt.Errorf("%s: %w", b.Path, err)
	}
	if text, ok := own[given]; ok || given == "" {
		return text, nil
	}
	data, err := infile.ReadStream(given, infile.Config)
	if err == nil {
		return string(data), nil
	}
	if strings.ContainsAny(given, `/\.`) {
		return "", fmt.Errorf("chat template: %w", err)
	}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(own)), func(n string) bool { return n == "" })
	if len(names) == 0 {
		return "", fmt.Errorf("chat template: there is no file %s, and the base has no templates with names", given)
	}
	return "", fmt.Errorf("chat template: there is no file %s, and the templates of the base are %s", given,
		strings.Join(names, ", "))
}

// CheckTemplates are the errors of the base's own chat templates that cannot be read.
func (b *Base) CheckTemplates() (errs []error) {
	own, err := b.chatTemplates()
	if err != nil {
		errs = append(errs, err)
	}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		if _, err := chat.New(own[name]); err != nil {
			errs = append(errs, fmt.Errorf("%w (template %q)", err, name))
		}
	}
	return errs
}

// chatTemplates are the base's own by their names.
func (b *Base) chatTemplates() (map[string]string, error) {
	if b.GGUF == nil {
		return hfvocab.ChatTemplates(infile.Dir(b.Path))
	}
	const key = "tokenizer.chat_template"
	out := map[string]string{}
	if text, ok := b.GGUF.Meta.String(key); ok {
		out[""] = text
	}
	names, _ := b.GGUF.Meta.Strings(key + "s")
	for _, name := range names {
		if text, ok := b.GGUF.Meta.String(key + "." + name); ok {
			out[name] = text
		}
	}
	return out, nil
}
