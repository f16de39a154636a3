package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/modeltest"
	"github.com/peftconv/peftconv/safetensors"
)

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func writeSafetensors(t *testing.T, path string, items ...safetensors.Item) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(safetensors.Write(f, nil, items), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// check wants tensor x of 2 rows of 3 in a type, and whatever else is listed.
func check(t *testing.T, s *Store, typ gguf.Type, files []string, names ...string) {
	t.Helper()
	x, ok := s.Tensor("x")
	if !ok || x.Name != "x" || !slices.Equal(x.Shape, []int64{2, 3}) || x.Type != typ || len(x.Data) != 24 {
		t.Errorf("%s: %+v", s.Path, x)
	}
	if _, ok := s.Tensor("absent"); ok {
		t.Errorf("%s: a tensor that is not there was found", s.Path)
	}
	var all []string
	for x := range s.Tensors() {
		all = append(all, x.Name)
	}
	if !slices.Equal(all, names) || !slices.Equal(s.Files, files) {
		t.Errorf("%s: tensors %v in %v, expected %v in %v", s.Path, all, s.Files, names, files)
	}
	for range s.Tensors() {
		break
	}
}

func TestSafetensors(t *testing.T) {
	dir := t.TempDir()
	one := filepath.Join(dir, "model-00001-of-00002.safetensors")
	two := filepath.Join(dir, "model-00002-of-00002.safetensors")
	x := safetensors.Item{Name: "x", DType: safetensors.F32, Shape: []int64{2, 3}, Data: make([]byte, 24)}
	writeSafetensors(t, one, x)
	writeSafetensors(t, two, safetensors.Item{Name: "y", DType: safetensors.U8, Shape: []int64{1}, Data: []byte{1}})
	index := filepath.Join(dir, "model.safetensors.index.json")
	for path, text := range map[string]string{
		index: `{"weight_map": {"x": "model-00001-of-00002.safetensors",
			"y": "model-00002-of-00002.safetensors"}}`,
		filepath.Join(dir, "config.json"): `{"hidden_size": 3}`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{dir, index} {
		s := open(t, path)
		check(t, s, gguf.F32, []string{one, two}, "x", "y")
		if y, _ := s.Tensor("y"); y.Type != Unknown || y.TypeName != "U8" {
			t.Errorf("%+v", y)
		}
		if config, err := s.Config(); err != nil || config["hidden_size"] != 3.0 {
			t.Errorf("%s: config %v, error %v", path, config, err)
		}
	}
	single := open(t, one)
	check(t, single, gguf.F32, []string{one}, "x")
	single.Release()
	const infinite = `{"limit": [0.0, Infinity, -Infinity, NaN], "name": "an \" Infinity"}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(infinite), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := single.Config()
	if limit, _ := config["limit"].([]any); err != nil || len(limit) != 4 || limit[1] != nil ||
		config["name"] != `an " Infinity` {
		t.Errorf("a configuration of Python's: %v, error %v", config, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`[]`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := single.Config(); err == nil || !strings.Contains(err.Error(), "config.json") {
		t.Errorf("a configuration that is a list: %v", err)
	}
}

// TestGGUF opens a model whole and split.
func TestGGUF(t *testing.T) {
	dir := t.TempDir()
	tensors := []gguf.Tensor{{Name: "x", Shape: []int64{3, 2}}, {Name: "y", Shape: []int64{4}}}
	meta := modeltest.Meta(t, "general.architecture", "new")
	whole := filepath.Join(dir, "whole.gguf")
	modeltest.WriteGGUF(t, whole, gguf.Format{Order: binary.LittleEndian}, meta, tensors, nil)
	s := open(t, whole)
	check(t, s, gguf.F32, []string{whole}, "x", "y")
	if _, err := s.Config(); err == nil {
		t.Error("a GGUF file has a config.json")
	}
	s.Release()

	var paths []string
	for i := range tensors {
		path := filepath.Join(dir, fmt.Sprintf("split-%05d-of-00002.gguf", i+1))
		part, err := gguf.SplitMetadata(meta, i, 2, 2)
		if err != nil {
			t.Fatal(err)
		}
		modeltest.WriteGGUF(t, path, gguf.Format{Order: binary.LittleEndian}, part, tensors[i:i+1], nil)
		paths = append(paths, path)
	}
	check(t, open(t, paths[0]), gguf.F32, paths, "x", "y")
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "other.txt")
	if err := os.WriteFile(text, []byte("text and more"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := `neither GGUF nor safetensors: it begins with "text"`
	if _, err := Open(text); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a text: %v", err)
	}
	if _, err := Open(filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a directory without a model was opened")
	}
}
