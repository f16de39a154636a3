package infile

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/peftconv/peftconv/internal/testdata"
)

func put(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	path := put(t, "twelve bytes")
	for limit, want := range map[int64]string{12: "", 13: "", Unlimited: "", 11: "has 12 bytes", 0: "at most 0"} {
		data, err := Read(path, limit)
		switch {
		case want == "" && (err != nil || string(data) != "twelve bytes"):
			t.Errorf("limit %d: %q, %v", limit, data, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path)):
			t.Errorf("limit %d: %v, expected %q and the path", limit, err, want)
		}
	}
	if _, err := Read(path+".absent", 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
}

func TestReadFromHasALimit(t *testing.T) {
	if _, err := ReadFrom(strings.NewReader("12345"), "standard input", 4); err == nil ||
		!strings.Contains(err.Error(), "standard input") {
		t.Errorf("5 bytes where 4 are allowed: %v", err)
	}
	if data, err := ReadFrom(strings.NewReader("12345"), "standard input", Unlimited); err != nil || len(data) != 5 {
		t.Errorf("without a limit: %q, %v", data, err)
	}
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	refused := map[string]string{dir: "directory"}
	if _, err := os.Stat("/dev/zero"); err == nil {
		refused["/dev/zero"] = "device"
	}
	for path, kind := range refused {
		for _, open := range []func(string) (*os.File, error){Open, OpenStream, openToWrite} {
			wantRefused(t, path, kind, open)
		}
	}
	// Systems do not open sockets at all.
	socket := filepath.Join(dir, "s")
	if l, err := net.Listen("unix", socket); err == nil {
		defer l.Close()
		if _, err := Open(socket); err == nil {
			t.Error("a socket was opened")
		}
	}
}

func openToWrite(path string) (*os.File, error) { return OpenWith(path, os.O_RDWR) }

func wantRefused(t *testing.T, path, kind string, open func(string) (*os.File, error)) {
	t.Helper()
	f, err := open(path)
	if err == nil || !strings.Contains(err.Error(), "is a "+kind) || !strings.Contains(err.Error(), filepath.Base(path)) {
		t.Errorf("%s: %v, expected to hear of a %s", path, err, kind)
	}
	if err == nil {
		f.Close()
	}
}

func TestPipes(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	testdata.Pipe(t, pipe)
	link := filepath.Join(dir, "link")
	if err := os.Symlink(pipe, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, link} {
		wantRefused(t, path, "pipe", openToWrite)
		wantRefused(t, path, "pipe", Open) // which does not wait for a writer
		wantRefused(t, path, "pipe", func(path string) (*os.File, error) {
			_, err := Dir(dir).Open(filepath.Base(path))
			return nil, err
		})
	}
	go os.WriteFile(pipe, []byte("12345"), 0) // waits for the reader
	if data, err := ReadStream(link, 5); err != nil || string(data) != "12345" {
		t.Errorf("read %q from a pipe: %v", data, err)
	}
	go os.WriteFile(pipe, []byte("12345"), 0)
	if _, err := ReadStream(link, 4); err == nil || !strings.Contains(err.Error(), "at most 4") {
		t.Errorf("5 bytes of a pipe where 4 are allowed: %v", err)
	}
}

func TestDir(t *testing.T) {
	path := put(t, "twelve bytes")
	dir := filepath.Dir(path)
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	files := Dir(dir)
	for limit, want := range map[int64]string{12: "", 11: "file: has 12 bytes"} {
		for name, files := range map[string]fs.FS{"a directory": files,
			"memory": fstest.MapFS{"file": {Data: []byte("twelve bytes")}}} {
			data, err := ReadIn(files, "file", limit)
			if want == "" && string(data) != "twelve bytes" || want != "" && !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("%s, limit %d: %q, %v", name, limit, data, err)
			}
		}
	}
	_, err := ReadIn(files, "absent", 1)
	if !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), dir) {
		t.Errorf("an absent file: %v", err)
	}
	for _, name := range []string{"../file", "/etc/passwd", "sub"} {
		if f, err := files.Open(name); err == nil {
			f.Close()
			t.Errorf("%s was opened", name)
		}
	}
	if found, err := fs.Glob(files, "f*"); err != nil || len(found) != 1 {
		t.Errorf("found %q: %v", found, err)
	}
	if info, err := fs.Stat(files, "sub"); err != nil || !info.IsDir() {
		t.Errorf("a directory in it: %v", err)
	}
}
