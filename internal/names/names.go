// Package names finds the files of models that other programs have downloaded, by the names that these programs have
// for them: hf:org/name in the cache of the Hugging Face Hub, ollama:name in Ollama's store,
// lmstudio:publisher/repo/file in LM Studio's folder. Nothing is fetched: a look-up reads folders of this machine.
package names

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/errkind"
)

// Help says which names there are, for the help of flags.
const Help = "hf:ORG/NAME[@REVISION][:FILE], ollama:NAME[:TAG] or lmstudio:PUBLISHER/REPOSITORY[/FILE]"

// lookups are the kinds of names by what they begin with. They get the rest of the name.
var lookups = map[string]func(name string) (string, error){
	"hf": huggingFace, "ollama": ollama, "lmstudio": lmStudio,
}

// Resolve gives the path of a model: a name's, where the text is one, and otherwise the text itself. What exists as a
// file or directory is never taken for a name. The path of hf: is a directory with safetensors, or a GGUF file; that of
// the others is a GGUF file. Errors, of kind fs.ErrNotExist, say where was searched, what is there, and how to get the
// model.
func Resolve(name string) (string, error) {
	kind, rest, ok := strings.Cut(name, ":")
	lookup := lookups[kind]
	if !ok || lookup == nil || exists(name) {
		return name, nil
	}
	path, err := lookup(rest)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return path, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// missing is an error of kind fs.ErrNotExist.
func missing(format string, args ...any) error {
	return errkind.Errorf(fs.ErrNotExist, format, args...)
}

// home is the user's own directory: $HOME, and %USERPROFILE% under Windows.
func home() (string, error) {
	dir, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("the home directory is not known: %w", err)
	}
	return dir, nil
}

// expand is a directory from a variable or a settings file: a ~ at its beginning is the user's own directory.
func expand(dir string) (string, error) {
	rest, ok := strings.CutPrefix(dir, "~")
	if !ok || rest != "" && !os.IsPathSeparator(rest[0]) {
		return dir, nil
	}
	own, err := home()
	return filepath.Join(own, rest), err
}

// list are the names of a folder's entries that do not begin with a dot, in order. A folder that is not there has none.
func list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var found []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			found = append(found, e.Name())
		}
	}
	return found, err
}

// sameFold is the entry of a folder with a name, whatever the case of its letters, "" where there is none.
func sameFold(entries []string, name string) string {
	if slices.Contains(entries, name) {
		return name
	}
	i := slices.IndexFunc(entries, func(e string) bool { return strings.EqualFold(e, name) })
	if i < 0 {
		return ""
	}
	return entries[i]
}

// ggufs are the GGUF files at any depth of a folder, as slash-separated paths from it, in order. Links are followed to
// files, not to folders. Of a model that is split over several files only the first is listed.
func ggufs(dir string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.EqualFold(filepath.Ext(path), ".gguf") {
			return err
		}
		if laterShard(e.Name()) || !exists(path) {
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		found = append(found, filepath.ToSlash(rel))
		return err
	})
	return found, err
}

// shard is the end of the name of a part of a split model: its number, and of how many.
var shard = regexp.MustCompile(`-(\d{5})-of-\d{5}\.gguf$`)

// laterShard says whether a file is the second or a later one of a split model.
func laterShard(name string) bool {
	number := shard.FindStringSubmatch(name)
	return number != nil && number[1] != "00001"
}

// choose finds among the GGUF files of a folder the one that is meant: by its path, by its name, or by a part of its
// name as the type in it, whatever the case. Without wanted there must be one file only, beside projectors of images.
func choose(files []string, wanted string) (string, error) {
	match := func(fits func(file string) bool) []string {
		return slices.DeleteFunc(slices.Clone(files), func(f string) bool { return !fits(f) })
	}
	base := func(f string) string { return f[strings.LastIndexByte(f, '/')+1:] }
	found := match(func(f string) bool { return !strings.Contains(strings.ToLower(base(f)), "mmproj") })
	if wanted != "" {
		for _, fits := range []func(f string) bool{
			func(f string) bool { return strings.EqualFold(f, wanted) },
			func(f string) bool { return strings.EqualFold(base(f), wanted) },
			func(f string) bool { return hasWord(strings.TrimSuffix(base(f), ".gguf"), wanted) },
		} {
			if found = match(fits); len(found) > 0 {
				break
			}
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", missing("several files fit: name one of %s", some(found))
	case len(files) == 0:
		return "", missing("no GGUF file is there")
	case wanted == "":
		return "", missing("only projectors of images are there: %s", some(files))
	}
	return "", missing("no file %q is there, only %s", wanted, some(files))
}

// hasWord says whether a file's name has a word between the dots and dashes that part it, whatever the case: Q4_K_M,
// but not Q4_K, is one of model.Q4_K_M-00001-of-00002.
func hasWord(name, word string) bool {
	name, word = strings.ToLower(name), strings.ToLower(word)
	isEdge := func(i int) bool { return i < 0 || i >= len(name) || name[i] == '.' || name[i] == '-' }
	for from := 0; ; from++ {
		i := strings.Index(name[from:], word)
		if i < 0 {
			return false
		}
		if from += i; isEdge(from-1) && isEdge(from+len(word)) {
			return true
		}
	}
}

// mostListed is how many names an error lists.
const mostListed = 12

// some are names for an error.
func some(list []string) string {
	if len(list) > mostListed {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:mostListed], ", "), len(list)-mostListed)
	}
	return strings.Join(list, ", ")
}

// near are the names most like the one that was looked for, all of them where none is like it.
func near(list []string, wanted string) []string {
	words := strings.FieldsFunc(strings.ToLower(wanted), func(r rune) bool { return strings.ContainsRune("/-_.:", r) })
	count := func(name string) (n int) {
		name = strings.ToLower(name)
		for _, w := range words {
			if len(w) > 1 && strings.Contains(name, w) {
				n++
			}
		}
		return n
	}
	best := 0
	for _, name := range list {
		best = max(best, count(name))
	}
	if best == 0 {
		return list
	}
	sorted := slices.DeleteFunc(slices.Clone(list), func(name string) bool { return count(name) == 0 })
	slices.SortStableFunc(sorted, func(a, b string) int { return count(b) - count(a) })
	return sorted
}

// there says what is in a place that does not have what was looked for.
func there(list []string, wanted string) string {
	if len(list) == 0 {
		return "which has no models"
	}
	return "which has " + some(near(list, wanted))
}
