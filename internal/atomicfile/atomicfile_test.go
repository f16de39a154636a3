package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/peftconv/peftconv/internal/mapped"
)

// onlyFiles fails unless dir holds just the named files.
func onlyFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the directory holds %q, expected %q", got, want)
	}
}

func content(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %.40q (%v), expected %.40q", filepath.Base(path), got, err, want)
	}
}

func put(t *testing.T, path, s string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(s), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, path string) *File {
	t.Helper()
	f, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Abort)
	return f
}

func TestCommitMakesTheFileAppear(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	f := create(t, path)
	io.WriteString(f, "hello world")
	if _, err := f.WriteAt([]byte("J"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	io.WriteString(f, "!")
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file is there before Commit: %v", err)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	content(t, path, "Jello world!")
	f.Abort()
	content(t, path, "Jello world!")
	if err := f.Commit(); err == nil {
		t.Error("a second Commit succeeded")
	}
	onlyFiles(t, dir, "out")
}

// TestLargeFile writes more than what the system is asked to bring to the disk at a time.
func TestLargeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	f := create(t, path)
	piece := make([]byte, 5<<20)
	want := int64(0)
	for want <= writeAhead {
		if n, err := f.Write(piece); n != len(piece) || err != nil {
			t.Fatalf("%d bytes written, %v", n, err)
		}
		want += int64(len(piece))
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != want {
		t.Errorf("%v, %v; %d bytes were written", info, err, want)
	}
}

func TestSealedFilesAppearAtCommit(t *testing.T) {
	dir := t.TempDir()
	files := []*File{create(t, filepath.Join(dir, "a")), create(t, filepath.Join(dir, "b")),
		create(t, filepath.Join(dir, "c"))}
	for _, f := range files {
		io.WriteString(f, "content")
		for range 2 {
			if err := f.Seal(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.WriteString(f, "more"); err == nil {
			t.Error("a sealed file was written to")
		}
	}
	if found, _ := filepath.Glob(filepath.Join(dir, "[abc]")); found != nil {
		t.Errorf("%v are there before Commit", found)
	}
	for _, f := range files[:2] {
		if err := f.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	files[2].Abort()
	content(t, filepath.Join(dir, "a"), "content")
	onlyFiles(t, dir, "a", "b")
}

// TestCloneFrom takes a clone where the file system makes one, and checks that the file is still usable where it does
// not.
func TestCloneFrom(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	put(t, path, "old content", 0o600)
	src, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	f := create(t, path)
	if err := f.CloneFrom(src); err != nil {
		t.Logf("no clones here: %v", err)
		if _, err := f.ReadFrom(src); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.WriteAt([]byte("new"), 0); err != nil {
		t.Fatal(err)
	}
	content(t, path, "old content")
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	content(t, path, "new content")
	onlyFiles(t, dir, "out")
}

func TestAbortLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	f := create(t, filepath.Join(dir, "out"))
	io.WriteString(f, "half")
	f.Abort()
	f.Abort()
	onlyFiles(t, dir)
	if err := f.Commit(); err == nil {
		t.Error("Commit after Abort succeeded")
	}
}

func TestAbortKeepsTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	put(t, path, "old", 0o600)
	f := create(t, path)
	io.WriteString(f, "half")
	f.Abort()
	content(t, path, "old")
	onlyFiles(t, dir, "out")
}

func TestPermissions(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("windows has no permission bits")
	}
	for _, mode := range []fs.FileMode{0, 0o600, 0o640, 0o444, 0o755} {
		path := filepath.Join(t.TempDir(), "out")
		want := fs.FileMode(0o644)
		if mode != 0 {
			put(t, path, "old", mode)
			want = mode
		}
		if err := Write(path, func(w io.Writer) error { _, err := io.WriteString(w, "new"); return err }); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("mode %v (%v), expected %v", info.Mode(), err, want)
		}
	}
}

func TestSymbolicLinkStays(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	put(t, target, "old", 0o644)
	if err := os.Symlink("target", link); err != nil {
		t.Skip(err)
	}
	if err := Write(link, func(w io.Writer) error { _, err := io.WriteString(w, "new"); return err }); err != nil {
		t.Fatal(err)
	}
	content(t, target, "new")
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v %v", info, err)
	}
	onlyFiles(t, dir, "link", "target")
}

func TestDeviceIsWrittenDirectly(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /dev/null and /dev/full")
	}
	hello := func(w io.Writer) error { _, err := io.WriteString(w, "hello"); return err }
	if err := Write("/dev/null", hello); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat("/dev/null"); err != nil || info.Mode()&fs.ModeDevice == 0 {
		t.Errorf("/dev/null is %v, %v", info.Mode(), err)
	}
	if err := Write("/dev/full", hello); err == nil {
		t.Error("a full device was written to without an error")
	}
}

func TestCreateRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Create(dir); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := Create(filepath.Join(dir, "absent", "out")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a directory that is not there: %v", err)
	}
	onlyFiles(t, dir)
}

func TestCommitFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	f := create(t, path)
	io.WriteString(f, "new")
	// Meanwhile a directory with something in it takes the name, which no file can replace.
	if err := os.MkdirAll(filepath.Join(path, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); err == nil {
		t.Error("Commit over a directory succeeded")
	}
	onlyFiles(t, dir, "out")
}

func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	put(t, path, "old", 0o644)
	boom := errors.New("boom")
	err := Write(path, func(w io.Writer) error { io.WriteString(w, "half"); return boom })
	if !errors.Is(err, boom) {
		t.Errorf("error %v, expected %v", err, boom)
	}
	func() {
		defer func() { _ = recover() }()
		_ = Write(path, func(w io.Writer) error { io.WriteString(w, "half"); panic("boom") })
	}()
	content(t, path, "old")
	onlyFiles(t, dir, "out")
}

// TestReplaceMappedInput reads a file through a map while the same name is being replaced.
func TestReplaceMappedInput(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("windows does not replace mapped files")
	}
	path := filepath.Join(t.TempDir(), "model")
	put(t, path, strings.Repeat("abc", 1<<18), 0o644)
	in, err := mapped.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	err = Write(path, func(w io.Writer) error {
		_, err := io.WriteString(w, strings.ToUpper(string(in.Bytes())))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	content(t, path, strings.Repeat("ABC", 1<<18))
	if !strings.HasPrefix(string(in.Bytes()), "abcabc") {
		t.Error("the map of the old file changed")
	}
}

// TestKilled runs a writer in a process of its own and kills it in the middle.
func TestKilled(t *testing.T) {
	if path := os.Getenv("ATOMICFILE_TEST_WRITE"); path != "" {
		endless(path)
	}
	for _, old := range []string{"", "old"} {
		path := filepath.Join(t.TempDir(), "out")
		if old != "" {
			put(t, path, old, 0o644)
		}
		killWriter(t, path)
		if old != "" {
			content(t, path, old)
		} else if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("a killed writer left a file: %v", err)
		}
	}
}

// endless is killed while it writes, and says when it has begun.
func endless(path string) {
	err := Write(path, func(w io.Writer) error {
		for range 32 {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return err
			}
		}
		fmt.Println("begun")
		time.Sleep(time.Minute)
		return nil
	})
	fmt.Println("ended", err)
	os.Exit(1)
}

func killWriter(t *testing.T, path string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), "ATOMICFILE_TEST_WRITE="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}
