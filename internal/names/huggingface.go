package names

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/infile"
)

// repository is a name in the Hub's cache: org/name[@revision][/file or :file].
type repository struct {
	id       string   // org/name, or a name alone
	revision []string // what follows the @, by slashes: the first are the revision, the others a file
	file     string
}

// hubCache is the folder of the Hub's cache, by the rules of its own library.
func hubCache() (string, error) {
	for _, variable := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"} {
		if dir := os.Getenv(variable); dir != "" {
			return expand(dir)
		}
	}
	if dir := os.Getenv("HF_HOME"); dir != "" {
		dir, err := expand(dir)
		return filepath.Join(dir, "hub"), err
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		dir, err := expand(dir)
		return filepath.Join(dir, "huggingface", "hub"), err
	}
	own, err := home()
	return filepath.Join(own, ".cache", "huggingface", "hub"), err
}

func huggingFace(name string) (string, error) {
	cache, err := hubCache()
	if err != nil {
		return "", err
	}
	repo, err := parseRepository(name)
	if err != nil {
		return "", err
	}
	entries, err := list(cache)
	if err != nil {
		return "", err
	}
	folder := sameFold(entries, repo.folder())
	if folder == "" && len(repo.revision) == 0 && repo.file == "" {
		repo.fileFromID(entries)
		folder = sameFold(entries, repo.folder())
	}
	if folder == "" {
		var all []string
		for _, e := range entries {
			if id, ok := strings.CutPrefix(e, "models--"); ok {
				all = append(all, strings.ReplaceAll(id, "--", "/"))
			}
		}
		return "", missing("not in the Hub's cache %s, %s; to get it: %s", cache, there(all, repo.id), download(repo.id))
	}
	return repo.find(filepath.Join(cache, folder))
}

// download is the command that fetches a repository.
func download(repo string) string {
	return "hf download " + repo + " (older: huggingface-cli download)"
}

// parseRepository reads org/name[@revision][:file]; a file may also follow a slash.
func parseRepository(name string) (*repository, error) {
	repo := &repository{}
	rest, file, _ := strings.Cut(name, ":")
	repo.file = file
	id, revision, at := strings.Cut(rest, "@")
	parts := strings.Split(strings.Trim(id, "/"), "/")
	if len(parts) > 2 && !at && file == "" {
		repo.file = strings.Join(parts[2:], "/")
		parts = parts[:2]
	}
	repo.id = strings.Join(parts, "/")
	if at {
		repo.revision = strings.Split(strings.Trim(revision, "/"), "/")
	}
	bad := func(part string) bool {
		return part == "" || part == "." || part == ".." || strings.Contains(part, `\`)
	}
	switch {
	case len(parts) > 2 || slices.ContainsFunc(parts, bad), at && slices.ContainsFunc(repo.revision, bad),
		repo.file != "" && !fs.ValidPath(repo.file):
		return nil, fmt.Errorf("expected hf:ORG/NAME, hf:ORG/NAME@REVISION, or one of these with :FILE")
	}
	return repo, nil
}

// folder is where the cache has the repository.
func (r *repository) folder() string { return "models--" + strings.ReplaceAll(r.id, "/", "--") }

// fileFromID takes the second part of an id for a file, where the cache has the first as a repository of no
// organization.
func (r *repository) fileFromID(entries []string) {
	if id, file, ok := strings.Cut(r.id, "/"); ok && sameFold(entries, "models--"+id) != "" {
		r.id, r.file = id, file
	}
}

// find gives the path in the repository's folder.
func (r *repository) find(folder string) (string, error) {
	snapshot, err := r.snapshot(folder)
	if err != nil {
		return "", err
	}
	files, err := list(snapshot)
	if err != nil {
		return "", err
	}
	weights := slices.ContainsFunc(files, func(f string) bool {
		return strings.HasSuffix(f, ".safetensors") || strings.HasSuffix(f, ".safetensors.index.json")
	})
	if r.file != "" && exists(filepath.Join(snapshot, filepath.FromSlash(r.file))) {
		return filepath.Join(snapshot, filepath.FromSlash(r.file)), nil
	}
	if r.file == "" && weights {
		return snapshot, r.checkLinks(snapshot, files)
	}
	models, err := ggufs(snapshot)
	if err != nil {
		return "", err
	}
	chosen, err := choose(models, r.file)
	if err == nil {
		return filepath.Join(snapshot, filepath.FromSlash(chosen)), nil
	}
	if len(models) == 0 {
		err = missing("neither safetensors nor GGUF files are there, only %s", some(files))
		if len(files) == 0 {
			err = missing("nothing is there")
		}
		if r.file != "" && weights {
			err = missing("no file %q is there, only %s", r.file, some(files))
		}
	}
	return "", fmt.Errorf("%s: %w; to get more of it: %s", snapshot, err, download(r.id))
}

// checkLinks reports a file of a snapshot whose content is not there, as an interrupted download leaves them.
func (r *repository) checkLinks(snapshot string, files []string) error {
	for _, f := range files {
		if !exists(filepath.Join(snapshot, f)) {
			return missing("%s has been downloaded in part: the content of %s is missing; to get it: %s", snapshot, f,
				download(r.id))
		}
	}
	return nil
}

// snapshot is the folder of the revision: of what refs names, or of a commit, or of the only commit that begins so. The
// parts of r.revision behind it become the file.
func (r *repository) snapshot(folder string) (string, error) {
	wanted := r.revision
	if len(wanted) == 0 {
		wanted = []string{"main"}
	}
	commits, err := list(filepath.Join(folder, "snapshots"))
	if err != nil {
		return "", err
	}
	for n := len(wanted); n > 0; n-- {
		revision := strings.Join(wanted[:n], "/")
		commit, err := infile.Read(filepath.Join(folder, "refs", filepath.FromSlash(revision)), infile.Pointer)
		name := strings.TrimSpace(string(commit))
		if err != nil { // no ref
			name = commitOf(commits, revision)
		}
		if name == "" || !slices.Contains(commits, name) {
			continue
		}
		if n < len(wanted) && r.file == "" {
			r.file = strings.Join(wanted[n:], "/")
		}
		return filepath.Join(folder, "snapshots", name), nil
	}
	known := append(refs(folder), commits...)
	if len(known) == 0 {
		return "", missing("%s has no revision yet; to get one: %s", folder, download(r.id))
	}
	return "", missing("%s has no revision %s, only %s; to get it: %s", folder, strings.Join(wanted, "/"), some(known),
		download(r.id+" --revision "+strings.Join(wanted, "/")))
}

// commitOf is the commit with this name, or the only one that begins with it (7 letters at least), "" without one.
func commitOf(commits []string, revision string) string {
	if slices.Contains(commits, revision) {
		return revision
	}
	found := slices.DeleteFunc(slices.Clone(commits), func(c string) bool { return !strings.HasPrefix(c, revision) })
	if len(revision) < 7 || len(found) != 1 {
		return ""
	}
	return found[0]
}

// refs are the names of a repository's revisions.
func refs(folder string) []string {
	var found []string
	dir := filepath.Join(folder, "refs")
	filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			found = append(found, filepath.ToSlash(rel))
		}
		return nil
	})
	return found
}

// Repository is the name, owner/name, of the repository of the Hub in whose part of the cache a path is; "" where it is
// in none.
func Repository(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	for dir := path; ; {
		parent, name := filepath.Split(filepath.Clean(dir))
		if id, ok := strings.CutPrefix(name, "models--"); ok {
			return strings.Replace(id, "--", "/", 1)
		}
		if dir = filepath.Clean(parent); dir == filepath.Dir(dir) {
			return ""
		}
	}
}
