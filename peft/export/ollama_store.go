package export

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/names"
)

// create puts the model into Ollama's store: blobs by their hashes, and at the end the manifest under the name. Where
// it fails the blobs that it added are removed again.
func (m *ollamaModel) create(opt OllamaOptions) (r *OllamaReport, err error) {
	name, err := names.ParseOllamaName(opt.Create)
	if err != nil {
		return nil, err
	}
	store, err := names.DefaultOllamaStore()
	if err != nil {
		return nil, err
	}
	path, err := store.ManifestPath(name)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err == nil && !opt.Force {
		return nil, errkind.Errorf(ErrTaken, "%s has a model of this name already", store.Dir)
	}
	w := &storeWriter{store: store}
	defer func() {
		if err != nil {
			w.undo()
		}
	}()
	if err := w.open(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("the store of Ollama cannot be written: %w; \"ollama create\" with a Modelfile can, where "+
			"the store belongs to a service", err)
	}
	defer w.close()
	r = &OllamaReport{Name: name.String(), Store: store.Dir}
	if err := m.write(w.temp, r); err != nil {
		return nil, err
	}
	manifest, err := m.manifest(w)
	if err != nil {
		return nil, err
	}
	r.Files = nil
	for _, layer := range append(manifest.Layers, manifest.Config) {
		r.Files = append(r.Files, strings.Replace(layer.Digest, ":", "-", 1))
	}
	return r, atomicfile.Write(path, func(out io.Writer) error { return json.NewEncoder(out).Encode(manifest) })
}

// manifest adds the layers to the store and lists them.
func (m *ollamaModel) manifest(w *storeWriter) (*names.OllamaManifest, error) {
	var layers []names.OllamaLayer
	var failed error
	add := func(layer names.OllamaLayer, err error) {
		layers = append(layers, layer)
		failed = errors.Join(failed, err)
	}
	if m.modelFile != "" {
		add(w.move(names.OllamaModel, m.modelFile))
	} else {
		path := m.base.Path()
		layer, err := w.copyFile(names.OllamaModel, path, func() (string, error) { return attach.HashFile(path) })
		if m.from.Model != "" {
			layer.From = m.from.String()
		}
		add(layer, err)
	}
	for _, layer := range m.kept {
		blob, err := m.store.BlobPath(layer.Digest)
		if err == nil {
			layer.From = m.from.String()
			_, err = w.copyFile(layer.MediaType, blob, func() (string, error) { return hexOf(layer.Digest), nil })
		}
		add(layer, err)
	}
	if m.adapterFile != "" {
		add(w.move(names.OllamaAdapter, m.adapterFile))
	}
	if m.template != "" {
		add(w.text(names.OllamaTemplate, []byte(m.template)))
	}
	if m.system != "" {
		add(w.text(names.OllamaSystem, []byte(m.system)))
	}
	if len(m.params) > 0 {
		text, err := json.Marshal(m.params)
		failed = errors.Join(failed, err)
		add(w.text(names.OllamaParams, text))
	}
	if failed != nil {
		return nil, failed
	}
	digests := make([]string, len(layers))
	for i, layer := range layers {
		digests[i] = layer.Digest
	}
	m.config["rootfs"] = map[string]any{"type": "layers", "diff_ids": digests}
	text, err := json.Marshal(m.config)
	if err != nil {
		return nil, err
	}
	config, err := w.text(names.OllamaConfig, text)
	return &names.OllamaManifest{SchemaVersion: 2, MediaType: names.OllamaList, Config: config, Layers: layers}, err
}

// storeWriter adds blobs to a store.
type storeWriter struct {
	store names.OllamaStore
	temp  string   // a directory in the store for files that become blobs
	close func()   // removes it
	added []string // blobs that were not there before
}

// open makes the folders.
func (w *storeWriter) open(manifests string) (err error) {
	err = errors.Join(os.MkdirAll(filepath.Join(w.store.Dir, "blobs"), 0o755), os.MkdirAll(manifests, 0o755))
	if err != nil {
		return err
	}
	w.temp, w.close, err = atomicfile.ScratchDir(w.store.Dir, "blobs")
	return err
}

// undo removes the blobs that were added.
func (w *storeWriter) undo() {
	for _, path := range w.added {
		os.Remove(path)
	}
}

// blob is the layer of a hash, with the path at which it is not yet, "" where it is.
func (w *storeWriter) blob(mediaType, sum string, size int64) (layer names.OllamaLayer, path string, err error) {
	layer = names.OllamaLayer{MediaType: mediaType, Digest: "sha256:" + sum, Size: size}
	path, err = w.store.BlobPath(layer.Digest)
	if err != nil {
		return layer, "", err
	}
	if info, err := os.Stat(path); err == nil && info.Size() == size {
		return layer, "", nil
	}
	w.added = append(w.added, path)
	return layer, path, nil
}

// text adds a small blob.
func (w *storeWriter) text(mediaType string, text []byte) (names.OllamaLayer, error) {
	layer, path, err := w.blob(mediaType, fmt.Sprintf("%x", sha256.Sum256(text)), int64(len(text)))
	if err != nil || path == "" {
		return layer, err
	}
	return layer, attach.WriteText(path, string(text))
}

// move makes a file of the temporary directory a blob.
func (w *storeWriter) move(mediaType, name string) (names.OllamaLayer, error) {
	from := filepath.Join(w.temp, name)
	info, err := os.Stat(from)
	if err != nil {
		return names.OllamaLayer{}, err
	}
	sum, err := attach.HashFile(from)
	if err != nil {
		return names.OllamaLayer{}, err
	}
	layer, path, err := w.blob(mediaType, sum, info.Size())
	if err != nil || path == "" {
		return layer, err
	}
	return layer, os.Rename(from, path)
}

// copyFile makes a copy of a file a blob, sharing its disk blocks where the file system can. hash gives its SHA-256.
func (w *storeWriter) copyFile(mediaType, from string, hash func() (string, error)) (names.OllamaLayer, error) {
	src, err := infile.Open(from)
	if err != nil {
		return names.OllamaLayer{}, err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return names.OllamaLayer{}, err
	}
	sum, err := hash()
	if err != nil {
		return names.OllamaLayer{}, err
	}
	layer, path, err := w.blob(mediaType, sum, info.Size())
	if err != nil || path == "" {
		return layer, err
	}
	dst, err := atomicfile.Create(path)
	if err != nil {
		return layer, err
	}
	defer dst.Abort()
	if dst.CloneFrom(src) != nil {
		if _, err := dst.ReadFrom(src); err != nil {
			return layer, fmt.Errorf("copy %s to %s: %w", from, path, err)
		}
	}
	return layer, dst.Commit()
}

// hexOf is the hexadecimal part of a digest.
func hexOf(digest string) string { return digest[strings.IndexAny(digest, ":-")+1:] }
