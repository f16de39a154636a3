package infile

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
	if pipe := filepath.Join(dir, "pipe"); makePipe(pipe) == nil {
		refused[pipe] = "pipe"
		link := filepath.Join(dir, "link")
		if os.Symlink(pipe, link) == nil {
			refused[link] = "pipe"
		}
	}
	for path, kind := range refused {
		f, err := Open(path)
		if err == nil || !strings.Contains(err.Error(), "is a "+kind) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, expected to hear of a %s", path, err, kind)
		}
		if err == nil {
			f.Close()
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
