package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"
)

var day = time.Date(2026, 11, 30, 1, 2, 4, 0, time.UTC)

// TestArchives reads both kinds of archives, which have the same bytes in whatever order files come.
func TestArchives(t *testing.T) {
	files := []file{{"peftconv", 0o755, []byte("program")}, {"man/man1/a.1", 0o644, []byte("page")}}
	for name, pack := range map[string]func(string, []file, time.Time) ([]byte, error){"tar": tarGz, "zip": zipped} {
		first, err := pack("folder", files, day)
		if err != nil {
			t.Fatal(err)
		}
		second, err := pack("folder", []file{files[1], files[0]}, day)
		if err != nil || !bytes.Equal(first, second) {
			t.Errorf("%s: the order of files changes the archive: %v", name, err)
		}
		later, err := pack("folder", files, day.Add(time.Hour))
		if err != nil || bytes.Equal(first, later) {
			t.Errorf("%s: the archive has no time: %v", name, err)
		}
	}
	packed, _ := tarGz("folder", files, day)
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil || z.Name != "" || !z.ModTime.IsZero() {
		t.Fatalf("gzip: name %q, time %v, %v", z.Name, z.ModTime, err)
	}
	r := tar.NewReader(z)
	for _, want := range []file{{"folder/man/man1/a.1", 0o644, []byte("page")}, {"folder/peftconv", 0o755,
		[]byte("program")}} {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		data, _ := io.ReadAll(r)
		if h.Name != want.Name || h.Mode != int64(want.Mode) || !bytes.Equal(data, want.Data) || !h.ModTime.Equal(day) ||
			h.Uid != 0 || h.Uname != "root" {
			t.Errorf("%+v with %q, want %+v", h, data, want)
		}
	}
	packed, _ = zipped("folder", files, day)
	archive, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil || len(archive.File) != 2 || archive.File[1].Name != "folder/peftconv" ||
		archive.File[1].Mode() != 0o755 || !archive.File[1].Modified.Equal(day) {
		t.Errorf("zip: %v, %v", archive, err)
	}
}

func TestPackageVersion(t *testing.T) {
	for version, want := range map[string]string{
		"v1.2.3": "1.2.3", "1.2": "1.2", "v1.2.3-rc1": "1.2.3~rc1", "v1.2.3-5-gabcdef0": "1.2.3+5.gabcdef0",
		"v1.2.3-5-gabcdef0-dirty": "1.2.3+5.gabcdef0.dirty", "abcdef0": "0.1.0~git20261130.abcdef0",
		"1234567-dirty": "0.1.0~git20261130.1234567.dirty",
	} {
		r := release{version: version, time: day}
		if got := r.packageVersion(); got != want {
			t.Errorf("%s: the packages have version %s, want %s", version, got, want)
		}
	}
}

// TestRecipes wants the sum and the address of each archive in the recipe that installs it.
func TestRecipes(t *testing.T) {
	r := release{module: "example.org/p", version: "v1.2.3", out: t.TempDir(), targets: allTargets,
		sums: map[string]string{}}
	for _, target := range allTargets {
		r.sums[r.archiveFile(target)] = "sum of " + target
	}
	texts, err := r.filled()
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range allTargets {
		text := string(texts["peftconv.rb"])
		if strings.HasPrefix(target, "windows-") {
			text = string(texts["peftconv.json"])
		}
		address := "https://example.org/p/releases/download/v1.2.3/" + r.archiveFile(target) + `"`
		_, after, found := strings.Cut(text, address)
		if !found || !strings.Contains(strings.SplitN(after, "\n", 3)[1], `"sum of `+target+`"`) {
			t.Errorf("%s: no %s with its sum in\n%s", target, address, text)
		}
	}
	var manifest struct {
		Version      string
		Architecture map[string]struct {
			URL        string
			Hash       string
			ExtractDir string `json:"extract_dir"`
		}
		Bin string
	}
	if err := json.Unmarshal(texts["peftconv.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	a := manifest.Architecture["arm64"]
	if manifest.Version != "1.2.3" || a.ExtractDir != "peftconv-v1.2.3-windows-arm64" {
		t.Errorf("the manifest is %+v", manifest)
	}
}

// TestSettle wants nothing of the machine in the list of modules.
func TestSettle(t *testing.T) {
	r := release{version: "v1.2.3", time: day}
	text, err := r.settle([]byte(`{"metadata": {"timestamp": "2001-01-01T00:00:00Z", "component": {"name": "p"},
		"tools": [{"name": "tool", "hashes": [{"content": "1234"}]}]}, "components": [{"name": "q"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"timestamp": "2026-11-30T01:02:04Z"`, `"version": "v1.2.3"`, `"name": "q"`} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the list has no %s: %s", want, text)
		}
	}
	if bytes.Contains(text, []byte("1234")) {
		t.Errorf("the list has hashes of the tool: %s", text)
	}
	inside := `{"metadata": {"component": {"name": "p", "bom-ref": "REF", "purl": "REF&goos=linux"}, "tools": [{}]},
		"dependencies": [{"ref": "pkg:golang/a"}, {"ref": "REF"}, {"ref": "pkg:golang/z"}]}`
	var first []byte
	for _, ref := range []string{"pkg:golang/p@v0.0.0-1-abc?type=module", "pkg:golang/p?type=module", "pkg:golang/0"} {
		text, err := r.settle([]byte(strings.ReplaceAll(inside, "REF", ref)))
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = text
		}
		if !bytes.Equal(text, first) || !bytes.Contains(text, []byte(`"ref": "pkg:golang/p@v1.2.3?type=module"`)) {
			t.Errorf("with %s the list is %s", ref, text)
		}
	}
	if _, err := r.settle([]byte(`{}`)); err == nil {
		t.Error("an empty list is taken")
	}
}
