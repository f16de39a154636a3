package split

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/modeltest"
	"github.com/peftconv/peftconv/internal/testdata"
)

// small is a model's file.
func small(t *testing.T, format gguf.Format, pairs ...any) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "small.gguf")
	meta, tensors := modeltest.Llama(t, 2, gguf.Q4_0)
	for i := 0; i < len(pairs); i += 2 {
		if err := meta.Set(pairs[i].(string), pairs[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	modeltest.WriteGGUF(t, path, format, meta, tensors, nil)
	return path
}

func open(t *testing.T, path string) *gguf.File {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// split writes a model in files of that prefix and gives their paths.
func split(t *testing.T, path, prefix string, opt Options) []string {
	t.Helper()
	plan, err := NewPlan(open(t, path), prefix, opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Write(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, s := range plan.Shards {
		if info, err := os.Stat(s.Path); err != nil || info.Size() != s.Bytes {
			t.Errorf("%s: %v, %d bytes were planned", s.Path, err, s.Bytes)
		}
		paths = append(paths, s.Path)
	}
	return paths
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

// TestThereAndBack: what is split and joined is the same to the byte, whatever the format and the limits.
func TestThereAndBack(t *testing.T) {
	models := map[string]string{
		"version 3":                small(t, gguf.Format{}),
		"version 2":                small(t, gguf.Format{Version: 2}),
		"version 1":                small(t, gguf.Format{Version: 1}),
		"big-endian":               small(t, gguf.Format{Order: binary.BigEndian}),
		"alignment 64":             small(t, gguf.Format{}, "general.alignment", uint32(64)),
		"alignment 8":              small(t, gguf.Format{}, "general.alignment", uint32(8)),
		"a tensor of unknown type": foreign(t),
	}
	for name, path := range models {
		want := read(t, path)
		for _, opt := range []Options{
			{MaxTensors: 1}, {MaxTensors: 7}, {MaxTensors: 1000}, {MaxBytes: 1}, {MaxBytes: 150_000},
			{MaxTensors: 9, EmptyFirst: true},
		} {
			t.Run(fmt.Sprintf("%s %+v", name, opt), func(t *testing.T) {
				prefix := filepath.Join(t.TempDir(), "part")
				paths := split(t, path, prefix, opt)
				if len(paths) == 1 {
					return // one file of one is a whole model
				}
				out := filepath.Join(t.TempDir(), "joined.gguf")
				last := open(t, paths[len(paths)-1])
				j, err := Join(t.Context(), last, out, nil)
				if err != nil {
					t.Fatal(err)
				}
				if got := read(t, out); !bytes.Equal(got, want) || j.Bytes != int64(len(want)) || j.Tensors != len(last.Tensors) {
					t.Errorf("%d bytes, %+v; the original has %d", len(got), j, len(want))
				}
			})
		}
	}
}

// foreign is a file with a tensor whose type is not known here.
func foreign(t *testing.T) string {
	t.Helper()
	path := small(t, gguf.Format{})
	data := read(t, path)
	at := bytes.Index(data, []byte("blk.1.attn_v.weight")) + len("blk.1.attn_v.weight") + 4 + 2*8
	binary.LittleEndian.PutUint32(data[at:], 999)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSplitFiles(t *testing.T) {
	dir := t.TempDir()
	paths := split(t, small(t, gguf.Format{}), filepath.Join(dir, "m"), Options{MaxTensors: 8})
	if got := names(t, dir); got != "m-00001-of-00003.gguf m-00002-of-00003.gguf m-00003-of-00003.gguf" {
		t.Errorf("files %s", got)
	}
	for i, path := range paths {
		f, err := gguf.OpenShard(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if n := len(f.Tensors); n != []int{8, 8, 4}[i] {
			t.Errorf("%s has %d tensors", path, n)
		}
		if _, ok := f.Meta.Get("general.name"); ok != (i == 0) {
			t.Errorf("%s: a name: %v", path, ok)
		}
	}
}

// TestSplitAgain: a model that is split can be split otherwise without being joined first.
func TestSplitAgain(t *testing.T) {
	path := small(t, gguf.Format{})
	first := split(t, path, filepath.Join(t.TempDir(), "a"), Options{MaxTensors: 3})
	second := split(t, first[1], filepath.Join(t.TempDir(), "b"), Options{MaxTensors: 11})
	direct := split(t, path, filepath.Join(t.TempDir(), "c"), Options{MaxTensors: 11})
	for i := range direct {
		if !bytes.Equal(read(t, direct[i]), read(t, second[i])) {
			t.Errorf("file %d differs", i+1)
		}
	}
}

func TestRefusals(t *testing.T) {
	path := small(t, gguf.Format{})
	dir := t.TempDir()
	paths := split(t, path, filepath.Join(dir, "m"), Options{MaxTensors: 8})
	f := open(t, paths[0])
	before := names(t, dir)
	again, err := NewPlan(f, filepath.Join(dir, "m"), Options{MaxTensors: 9})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Write(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "is a file of the model") {
		t.Errorf("a model was split over itself: %v", err)
	}
	if again.Existing() != paths[0] {
		t.Errorf("existing: %q", again.Existing())
	}
	if _, err := Join(t.Context(), f, paths[2], nil); err == nil ||
		!strings.Contains(err.Error(), "is a file of the model") {
		t.Errorf("a model was joined over itself: %v", err)
	}
	if _, err := Join(t.Context(), open(t, path), filepath.Join(dir, "x.gguf"), nil); err == nil ||
		!strings.Contains(err.Error(), "whole model") {
		t.Errorf("a whole model was joined: %v", err)
	}
	if _, err := Join(t.Context(), f, filepath.Join(dir, "absent", "x.gguf"), nil); err == nil {
		t.Error("joined into a directory that does not exist")
	}
	if after := names(t, dir); after != before {
		t.Errorf("files %s, before %s", after, before)
	}
}

// stopAfter is a context that ends after n pieces, and the progress that counts them.
func stopAfter(t *testing.T, n int) (context.Context, Progress) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, func(int64, int64, string) {
		if n--; n == 0 {
			cancel()
		}
	}
}

// TestInterrupted stops splitting and joining after some pieces: nothing appears, and what was there stays.
func TestInterrupted(t *testing.T) {
	path := small(t, gguf.Format{})
	old := split(t, small(t, gguf.Format{}, "general.name", "old"), filepath.Join(t.TempDir(), "m"),
		Options{MaxTensors: 8})
	dir := filepath.Dir(old[0])
	before := snapshot(t, dir)
	for _, n := range []int{1, 2, 8, 9, 19} {
		ctx, progress := stopAfter(t, n)
		plan, err := NewPlan(open(t, path), filepath.Join(dir, "m"), Options{MaxTensors: 8})
		if err != nil {
			t.Fatal(err)
		}
		if err := plan.Write(ctx, progress); !errors.Is(err, context.Canceled) {
			t.Errorf("split, stopped after %d pieces: %v", n, err)
		}
		ctx, progress = stopAfter(t, n)
		_, err = Join(ctx, open(t, old[0]), filepath.Join(dir, "joined.gguf"), progress)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("join, stopped after %d pieces: %v", n, err)
		}
		if !slices.Equal(snapshot(t, dir), before) {
			t.Fatalf("the directory has changed: %s", names(t, dir))
		}
	}
}

// snapshot is the names and contents of a directory.
func snapshot(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	for _, name := range strings.Fields(names(t, dir)) {
		list = append(list, name, string(read(t, filepath.Join(dir, name))))
	}
	return list
}

// TestReplace: a set of files is replaced by another of the same names.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	prefix := filepath.Join(dir, "m")
	split(t, small(t, gguf.Format{}, "general.name", "old"), prefix, Options{MaxTensors: 8})
	paths := split(t, small(t, gguf.Format{}), prefix, Options{MaxTensors: 8})
	if name, _ := open(t, paths[1]).Meta.String("general.name"); name != "small" {
		t.Errorf("the model's name is %q", name)
	}
	if got := len(strings.Fields(names(t, dir))); got != 3 {
		t.Errorf("%d files", got)
	}
}

// TestJoinIgnores: metadata in a file after the first is reported.
func TestJoinIgnores(t *testing.T) {
	dir := t.TempDir()
	prefix := filepath.Join(dir, "m")
	list := []gguf.Tensor{{Name: "a", Shape: []int64{8}}, {Name: "b", Shape: []int64{8}}}
	for i := range list {
		meta, err := gguf.SplitMetadata(modeltest.Meta(t, "general.name", "x"), i, 2, 2)
		if err != nil {
			t.Fatal(err)
		}
		if err := meta.Set("general.name", "x"); err != nil {
			t.Fatal(err)
		}
		if err := meta.Set("general.author", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		modeltest.WriteGGUF(t, gguf.SplitPath(prefix, i, 2), gguf.Format{}, meta, list[i:i+1], nil)
	}
	j, err := Join(t.Context(), open(t, gguf.SplitPath(prefix, 0, 2)), filepath.Join(dir, "j.gguf"), nil)
	if err != nil || !slices.Equal(j.Ignored, []string{"general.author"}) {
		t.Errorf("%v, ignored %v", err, j)
	}
}

// TestRealModel splits and joins a model of the reference data.
func TestRealModel(t *testing.T) {
	path := testdata.Shared(t, "models/stories260K.gguf")
	paths := split(t, path, filepath.Join(t.TempDir(), "stories"), Options{MaxBytes: 300_000})
	if len(paths) < 3 {
		t.Errorf("%d files", len(paths))
	}
	out := filepath.Join(t.TempDir(), "joined.gguf")
	if _, err := Join(t.Context(), open(t, paths[1]), out, nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, out), read(t, path)) {
		t.Error("the joined file differs")
	}
}

// TestLikeGGUFSplit compares the files, one after another, with those that llama-gguf-split of llama.cpp makes.
func TestLikeGGUFSplit(t *testing.T) {
	path := testdata.Shared(t, "quant/files/tiny-llama-f16.gguf")
	tests := []struct {
		like  string
		opt   Options
		files int
		want  string // SHA-256 of all files
	}{
		{"--split-max-size 3M", Options{MaxBytes: 3_000_000}, 4,
			"2871c517c914b9efa0aea24ebbee63f0492d86a03134b3c3473da3f7c805923b"},
		{"--split-max-tensors 7", Options{MaxTensors: 7}, 11,
			"96384581045a6d8911f0be9a6249d1ce6d5babe526ae17c011eb3e8f49620579"},
		{"--split-max-tensors 10 --no-tensor-first-split", Options{MaxTensors: 10, EmptyFirst: true}, 9,
			"443d454ba6d243e7333a0fde6561c78f3e44850c953c48a846700223739dda9d"},
	}
	for _, tt := range tests {
		paths := split(t, path, filepath.Join(t.TempDir(), "part"), tt.opt)
		sum := sha256.New()
		for _, p := range paths {
			sum.Write(read(t, p))
		}
		if got := hex.EncodeToString(sum.Sum(nil)); got != tt.want || len(paths) != tt.files {
			t.Errorf("%s: %d files with SHA-256 %s, expected %d with %s", tt.like, len(paths), got, tt.files, tt.want)
		}
	}
}
