package names

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/infile"
)

// Types of layers in Ollama's manifests.
const (
	OllamaModel    = "application/vnd.ollama.image.model"
	OllamaAdapter  = "application/vnd.ollama.image.adapter"
	OllamaTemplate = "application/vnd.ollama.image.template"
	OllamaSystem   = "application/vnd.ollama.image.system"
	OllamaParams   = "application/vnd.ollama.image.params"
	OllamaConfig   = "application/vnd.docker.container.image.v1+json"
	OllamaList     = "application/vnd.docker.distribution.manifest.v2+json" // of a manifest itself
)

// OllamaManifest is the file that lists what an Ollama model is made of.
type OllamaManifest struct {
	SchemaVersion int           `json:"schemaVersion"`
	MediaType     string        `json:"mediaType"`
	Config        OllamaLayer   `json:"config"`
	Layers        []OllamaLayer `json:"layers"`
}

// OllamaLayer is a blob with what it is.
type OllamaLayer struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"` // sha256: and 64 hexadecimal digits
	Size      int64  `json:"size"`
	From      string `json:"from,omitempty"` // the model that it was taken from
	Name      string `json:"name,omitempty"`
}

// OllamaName is a model's name, each part filled in. Letters of any case are the same.
type OllamaName struct{ Host, Namespace, Model, Tag string }

// What Ollama fills in where a name does not say it.
const (
	ollamaHost      = "registry.ollama.ai"
	ollamaNamespace = "library"
	ollamaTag       = "latest"
)

// Parts of names, as Ollama allows them.
var (
	ollamaHosts      = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}$`)
	ollamaNamespaces = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]{0,79}$`)
	ollamaParts      = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}$`)
	ollamaDigest     = regexp.MustCompile(`^sha256[:-][0-9a-fA-F]{64}$`)
)

// ParseOllamaName reads [[host/]namespace/]model[:tag].
func ParseOllamaName(text string) (OllamaName, error) {
	n := OllamaName{Host: ollamaHost, Namespace: ollamaNamespace, Tag: ollamaTag}
	rest := text
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		rest, n.Tag = rest[:i], rest[i+1:]
	}
	parts := strings.Split(rest, "/")
	n.Model = parts[len(parts)-1]
	if len(parts) > 1 {
		n.Namespace = parts[len(parts)-2]
	}
	if len(parts) > 2 {
		n.Host = strings.Join(parts[:len(parts)-2], "/")
	}
	if !ollamaHosts.MatchString(n.Host) || !ollamaNamespaces.MatchString(n.Namespace) ||
		!ollamaParts.MatchString(n.Model) || !ollamaParts.MatchString(n.Tag) {
		return n, fmt.Errorf("%q is no name of a model in Ollama, expected [[HOST/]NAMESPACE/]NAME[:TAG]", text)
	}
	return n, nil
}

// String is the name as Ollama shows it: without what it would fill in, but with the tag.
func (n OllamaName) String() string {
	text := n.Model + ":" + n.Tag
	if other := !strings.EqualFold(n.Host, ollamaHost); other || !strings.EqualFold(n.Namespace, ollamaNamespace) {
		text = n.Namespace + "/" + text
		if other {
			text = n.Host + "/" + text
		}
	}
	return text
}

// OllamaStore is a folder in which Ollama keeps models.
type OllamaStore struct{ Dir string }

// ollamaStores are the folders that are searched: the one that OLLAMA_MODELS names, or else the user's and those of the
// service that Ollama's installation sets up.
func ollamaStores() ([]OllamaStore, error) {
	if dir := os.Getenv("OLLAMA_MODELS"); dir != "" {
		dir, err := expand(strings.Trim(strings.TrimSpace(dir), `"'`))
		return []OllamaStore{{dir}}, err
	}
	own, err := home()
	if err != nil {
		return nil, err
	}
	stores := []OllamaStore{{filepath.Join(own, ".ollama", "models")}}
	if runtime.GOOS == "linux" {
		stores = append(stores, OllamaStore{"/usr/share/ollama/.ollama/models"},
			OllamaStore{"/var/lib/ollama/.ollama/models"}, OllamaStore{"/var/snap/ollama/common/models"})
	}
	return stores, nil
}

// DefaultOllamaStore is the store that a model is put into: the one that OLLAMA_MODELS names, or else the first that
// has models, or else the user's.
func DefaultOllamaStore() (OllamaStore, error) {
	stores, err := ollamaStores()
	if err != nil {
		return OllamaStore{}, err
	}
	for _, s := range stores {
		if exists(s.manifests()) {
			return s, nil
		}
	}
	return stores[0], nil
}

func (s OllamaStore) manifests() string { return filepath.Join(s.Dir, "manifests") }

// ManifestPath is where the manifest of a name is, or would be. An entry that differs in the case of letters only is
// taken.
func (s OllamaStore) ManifestPath(n OllamaName) (string, error) {
	path := s.manifests()
	for _, part := range []string{n.Host, n.Namespace, n.Model, n.Tag} {
		entries, err := list(path)
		if err != nil {
			return "", err
		}
		if found := sameFold(entries, part); found != "" {
			part = found
		}
		path = filepath.Join(path, part)
	}
	return path, nil
}

// BlobPath is where a blob with a digest is, or would be. Errors: a digest that is not one of SHA-256.
func (s OllamaStore) BlobPath(digest string) (string, error) {
	if !ollamaDigest.MatchString(digest) {
		return "", fmt.Errorf("%q is no digest, expected sha256: and 64 hexadecimal digits", digest)
	}
	return filepath.Join(s.Dir, "blobs", strings.Replace(digest, ":", "-", 1)), nil
}

// ReadManifest reads a manifest.
func ReadManifest(path string) (*OllamaManifest, error) {
	text, err := infile.Read(path, infile.Config)
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(text)
	if err != nil {
		return nil, fmt.Errorf("%s: not a manifest of Ollama: %w", path, err)
	}
	return m, nil
}

func parseManifest(text []byte) (*OllamaManifest, error) {
	m := &OllamaManifest{}
	return m, json.Unmarshal(text, m)
}

// Named are the models of a store by name. Files that are not manifests are left out.
func (s OllamaStore) Named() (map[OllamaName]string, error) {
	found := map[OllamaName]string{}
	err := filepath.WalkDir(s.manifests(), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(s.manifests(), path)
		if parts := strings.Split(filepath.ToSlash(rel), "/"); len(parts) == 4 && !strings.HasPrefix(parts[3], ".") {
			found[OllamaName{parts[0], parts[1], parts[2], parts[3]}] = path
		}
		return nil
	})
	return found, err
}

func ollama(text string) (string, error) {
	name, err := ParseOllamaName(text)
	if err != nil {
		return "", err
	}
	stores, err := ollamaStores()
	if err != nil {
		return "", err
	}
	var searched, known []string
	var failed error
	for _, s := range stores {
		path, err := s.ManifestPath(name)
		if err == nil && exists(path) {
			return s.model(path)
		}
		searched = append(searched, s.Dir)
		all, listErr := s.Named()
		failed = errors.Join(failed, err, listErr)
		for n := range all {
			known = append(known, n.String())
		}
	}
	slices.Sort(known)
	hint := ""
	if failed != nil {
		hint = fmt.Sprintf(" (not all of it could be read: %v)", failed)
	}
	return "", missing("not in Ollama's store %s, %s%s; to get it: ollama pull %s; OLLAMA_MODELS names another store",
		strings.Join(searched, " or "), there(slices.Compact(known), name.Model), hint, name)
}

// model is the GGUF file that a manifest names.
func (s OllamaStore) model(manifest string) (string, error) {
	m, err := ReadManifest(manifest)
	if err != nil {
		return "", err
	}
	var found, adapters, types []string
	for _, layer := range m.Layers {
		types = append(types, layer.MediaType)
		if layer.MediaType != OllamaModel && layer.MediaType != OllamaAdapter {
			continue
		}
		path, err := s.BlobPath(layer.Digest)
		if err != nil {
			return "", fmt.Errorf("%s: %w", manifest, err)
		}
		if layer.MediaType == OllamaModel {
			found = append(found, path)
		} else {
			adapters = append(adapters, path)
		}
	}
	switch {
	case len(found) > 0 && len(adapters) > 0:
		return "", fmt.Errorf("%s is a base with an adapter, which one path cannot name: give the base %s and the adapter %s",
			manifest, found[0], strings.Join(adapters, ", "))
	case len(found) == 0:
		return "", missing("%s has no GGUF file: its layers are %s", manifest, some(slices.Compact(types)))
	case len(found) > 1:
		return "", missing("%s has the model in %d files, which cannot be opened as one: join them into a GGUF file",
			manifest, len(found))
	case !exists(found[0]):
		return "", missing("%s: its model %s is not there; to get it: ollama pull", manifest, found[0])
	}
	return found[0], nil
}

// OllamaModelOf finds the model of an Ollama store that a file is the weights of, and that has no adapter. Without one
// ok is false.
func OllamaModelOf(path string) (store OllamaStore, name OllamaName, manifest *OllamaManifest, ok bool) {
	dir, file := filepath.Split(path)
	if dir = filepath.Clean(dir); filepath.Base(dir) != "blobs" || !ollamaDigest.MatchString(file) {
		return store, name, nil, false
	}
	store = OllamaStore{filepath.Dir(dir)}
	named, err := store.Named()
	if err != nil {
		return store, name, nil, false
	}
	all := make([]OllamaName, 0, len(named))
	for n := range named {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b OllamaName) int { return strings.Compare(a.String(), b.String()) })
	for _, n := range all {
		m, err := ReadManifest(named[n])
		if err != nil {
			continue
		}
		isModel := func(l OllamaLayer) bool {
			return l.MediaType == OllamaModel && strings.Replace(l.Digest, ":", "-", 1) == file
		}
		isAdapter := func(l OllamaLayer) bool { return l.MediaType == OllamaAdapter }
		if slices.ContainsFunc(m.Layers, isModel) && !slices.ContainsFunc(m.Layers, isAdapter) {
			return store, n, m, true
		}
	}
	return store, name, nil, false
}
