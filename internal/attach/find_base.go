package attach

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/names"
)

// Kinds of errors.
var (
	ErrWrongBase = errors.New("the adapter belongs to another base")
	ErrNoCodes   = errors.New("the type of a tensor has no codes to train")
	ErrNoInit    = errors.New("the model that a LoRA is initialized from cannot be read")
	ErrNoMaster  = errors.New("the original weights of a base are missing")
)

// FindBase looks for the base that an adapter was trained over: at the path in its origin, else under the name of that
// in the adapter's own directory and in the working directory, else in the cache of the Hugging Face Hub as the
// repository that an adapter of HF PEFT names. adapterPath is what the adapter was loaded from.
func FindBase(a *Adapter, adapterPath string) (string, error) {
	base := a.Origin.Base
	if base == "" {
		return "", fmt.Errorf("%s does not say which base it was trained over: name the base", adapterPath)
	}
	name := base[strings.LastIndexAny(base, `/\`)+1:] // it may have been written on another system
	tried := []string{base, filepath.Join(filepath.Dir(adapterPath), name), name}
	for _, path := range tried {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	if repo := trimHubURL(base); strings.Count(repo, "/") == 1 && filepath.Ext(repo) != ".gguf" {
		path, err := names.Resolve("hf:" + repo)
		if err == nil {
			return path, nil
		}
		tried = append(tried, err.Error())
	}
	return "", fmt.Errorf("the base of %s was not found (tried %s): name the base", adapterPath, strings.Join(tried, ", "))
}

// CheckBase reports a base whose weights are not those that the adapter was trained over. An adapter that does not
// say over which it was fits any.
func CheckBase(a *Adapter, b *Base) error {
	if a.Origin.BaseSHA256 == "" {
		return nil
	}
	sum, err := b.SHA256()
	if err != nil {
		return err
	}
	if sum == a.Origin.BaseSHA256 {
		return nil
	}
	if old, err := hashFiles(b.Store.Files); err != nil || old != a.Origin.BaseSHA256 {
		return errkind.Errorf(ErrWrongBase, "the adapter was trained over %s with SHA-256 %s, but %s has %s",
			filepath.Base(a.Origin.Base), a.Origin.BaseSHA256, b.Path, sum)
	}
	return nil
}

// Absolute is a path that stays right in another working directory.
func Absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// trimHubURL turns the address of a Hugging Face repository into its name.
func trimHubURL(repo string) string {
	return strings.TrimPrefix(strings.TrimPrefix(repo, "https://"), "huggingface.co/")
}
