package attach

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/names"
)

// Kinds of errors.
var (
	ErrWrongBase = errors.New("the adapter belongs to another base")
	ErrNoCodes   = errors.New("the type of a tensor has no codes to train")
	ErrNoInit    = errors.New("the model that a LoRA is initialized from cannot be read")
	ErrNoMaster  = errors.New("the original weights of a base are missing")

	// ErrOnlyBlocks is why an adapter that has blocks in place of pairs cannot be scaled.
	ErrOnlyBlocks = errors.New("the adapter has blocks in place of pairs")
)

// FindBase looks for the base that an adapter was trained over: at the path in its origin, else under the name of that
// in the adapter's own directory and in the working directory, else in the cache of the Hugging Face Hub as the
// repository that an adapter of HF PEFT names. adapterPath is what the adapter was loaded from.
func FindBase(a *Adapter, adapterPath string) (string, error) {
	places, missing, err := basePlaces(a, adapterPath)
	if err != nil {
		return "", err
	}
	for _, path := range places {
		found, err := isModel(path)
		if found {
			return path, nil
		}
		missing = append(missing, because(path, err))
	}
	return "", notFound(adapterPath, missing)
}

// OpenRecorded opens the base that an adapter was trained over: the first that has the weights which the adapter
// records, at a path that is known from elsewhere or in the places of FindBase. What is neither a regular file nor a
// directory is not opened. An adapter that records no weights takes the first that there is.
func OpenRecorded(a *Adapter, adapterPath, known string) (*Base, error) {
	places, missing, err := basePlaces(a, adapterPath)
	switch {
	case known != "":
		places = append([]string{known}, places...)
	case err != nil:
		return nil, err
	}
	for _, path := range places {
		found, err := isModel(path)
		if found {
			var b *Base
			if b, err = OpenBase(path); err == nil {
				if err = CheckBase(a, b); err == nil {
					return b, nil
				}
				b.Close()
			}
			if len(places) == 1 {
				return nil, fmt.Errorf("the base of %s: %w: name the base", adapterPath, err)
			}
		}
		missing = append(missing, because(path, err))
	}
	return nil, notFound(adapterPath, missing)
}

// basePlaces are the paths at which the base of an adapter may be, and why there is none of the Hub.
func basePlaces(a *Adapter, adapterPath string) (paths, missing []string, err error) {
	base := a.Origin.Base
	if base == "" {
		return nil, nil, fmt.Errorf("%s does not say which base it was trained over: name the base", adapterPath)
	}
	name := base[strings.LastIndexAny(base, `/\`)+1:] // it may have been written on another system
	for _, path := range []string{base, filepath.Join(filepath.Dir(adapterPath), name), name} {
		if !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	if repo := trimHubURL(base); strings.Count(repo, "/") == 1 && filepath.Ext(repo) != ".gguf" {
		path, err := names.Resolve("hf:" + repo)
		if err == nil {
			return append(paths, path), nil, nil
		}
		missing = append(missing, err.Error())
	}
	return paths, missing, nil
}

// isModel says whether a path is that of a regular file or of a directory. What else is there is an error.
func isModel(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil || info.IsDir() {
		return err == nil, nil
	}
	err = infile.Regular(path, info)
	return err == nil, err
}

// because is a path, and why it was not taken where that is not only that it is not there.
func because(path string, err error) string {
	if err == nil {
		return path
	}
	return fmt.Sprintf("%s: %v", path, err)
}

// notFound is the error of a base that is not where it may be.
func notFound(adapterPath string, missing []string) error {
	return fmt.Errorf("the base of %s was not found (tried %s): name the base", adapterPath, strings.Join(missing, ", "))
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
	if old, err := b.files(); err != nil || old != a.Origin.BaseSHA256 {
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
