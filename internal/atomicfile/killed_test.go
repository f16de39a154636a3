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
	"strconv"
	"strings"
	"testing"
)

// jobs are writers that a process of its own runs over a directory in which all is "old".
var jobs = map[string]func(dir string) error{
	"file": func(dir string) error {
		return Write(filepath.Join(dir, "a"), func(w io.Writer) error { _, err := io.WriteString(w, "new"); return err })
	},
	"files": func(dir string) error {
		var files []*File
		for _, name := range []string{"a", "b", "c"} {
			f, err := Create(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			defer f.Abort()
			io.WriteString(f, "new")
			files = append(files, f)
		}
		return CommitAll(files...)
	},
	"directory": writeSet,
	"directory without exchange": func(dir string) error {
		exchange = func(_, _ string) error { return errors.ErrUnsupported }
		return writeSet(dir)
	},
}

// writeSet replaces the directory "set".
func writeSet(dir string) error {
	return WriteDir(filepath.Join(dir, "set"), isSetPart, func(dir string) error {
		for _, name := range []string{"a", "b", "c"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("new"), 0o600); err != nil {
				return err
			}
		}
		return nil
	})
}

func isSetPart(name string) bool { return len(name) == 1 }

// state is the content of files of a directory; "mixed" where some are old and some new.
func state(t *testing.T, dir string, names ...string) string {
	t.Helper()
	var all []string
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			data = []byte("absent")
		}
		all = append(all, string(data))
	}
	for _, s := range all {
		if s != all[0] {
			return fmt.Sprint("mixed: ", all)
		}
	}
	return all[0]
}

func runJob(dir, job, stop string) ([]byte, error) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledAtAnyStep$")
	cmd.Env = append(os.Environ(), "ATOMICFILE_TEST_JOB="+job, "ATOMICFILE_TEST_STOP="+stop, "ATOMICFILE_TEST_DIR="+dir)
	return cmd.CombinedOutput()
}

// TestKilledAtAnyStep ends the process, as a kill would, before each change of a name in turn. What there is then is
// the old state, or the new one once the next run has settled it; never a mixture, and nothing of others' is lost.
func TestKilledAtAnyStep(t *testing.T) {
	if job := os.Getenv("ATOMICFILE_TEST_JOB"); job != "" {
		left, _ := strconv.Atoi(os.Getenv("ATOMICFILE_TEST_STOP"))
		step = func() {
			if left--; left == 0 {
				os.Exit(3) // without deferred calls
			}
		}
		if err := jobs[job](os.Getenv("ATOMICFILE_TEST_DIR")); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	for name := range jobs {
		for _, fresh := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, fresh %v", name, fresh), func(t *testing.T) { killAtEachStep(t, name, fresh) })
		}
	}
}

func killAtEachStep(t *testing.T, name string, fresh bool) {
	seen := map[string]int{}
	for stop := 1; ; stop++ {
		dir := t.TempDir()
		set, names := dir, []string{"a", "b", "c"}
		if strings.HasPrefix(name, "directory") {
			set = filepath.Join(dir, "set")
		}
		if name == "file" {
			names = names[:1]
		}
		old := "absent"
		if !fresh {
			old = "old"
			if err := os.MkdirAll(set, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, n := range append([]string{"others"}, names...) {
				put(t, filepath.Join(set, n), "old", 0o600)
			}
		}
		out, err := runJob(dir, name, strconv.Itoa(stop))
		var exit *exec.ExitError
		if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 3) {
			t.Fatalf("step %d: %v, %s", stop, err, out)
		}
		if err := Settle(dir); err != nil {
			t.Fatalf("step %d: %v", stop, err)
		}
		got := state(t, set, names...)
		if seen[got]++; got != old && got != "new" {
			t.Errorf("step %d: the files are %s", stop, got)
		}
		if !fresh {
			content(t, filepath.Join(set, "others"), "old")
		}
		if found, _ := filepath.Glob(filepath.Join(dir, ".*")); found != nil {
			t.Errorf("step %d: %q are left", stop, found)
		}
		if err == nil {
			break // there is no such step
		}
	}
	if seen["new"] < 2 && name != "file" {
		t.Errorf("no step was found after which all is new: %v", seen)
	}
}

func TestNextRunRemovesWhatWasLeft(t *testing.T) {
	dir := t.TempDir()
	killWriter(t, filepath.Join(dir, "out"))
	if found, _ := filepath.Glob(filepath.Join(dir, ".out.*"+suffix)); len(found) != 1 {
		t.Fatalf("left behind: %q", found)
	}
	stranger := filepath.Join(dir, ".out.tmp")
	put(t, stranger, "not ours", 0o600)
	mine := create(t, filepath.Join(dir, "another"))
	io.WriteString(mine, "new")
	create(t, filepath.Join(dir, "third")).Abort()
	if err := mine.Commit(); err != nil {
		t.Fatal(err)
	}
	onlyFiles(t, dir, ".out.tmp", "another")
}

// TestOneWriter refuses to write what another process is writing.
func TestOneWriter(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	f := create(t, path)
	if _, err := runJobOf(t, dir); err == nil || !strings.Contains(err.Error(), "another process is writing it") {
		t.Errorf("a second writer: %v", err)
	}
	f.Abort()
	if _, err := runJobOf(t, dir); err != nil {
		t.Errorf("after the first: %v", err)
	}
	content(t, path, "new")
}

func runJobOf(t *testing.T, dir string) (string, error) {
	t.Helper()
	out, err := runJob(dir, "file", "0")
	if err != nil {
		err = errors.New(string(out))
	}
	return string(out), err
}

func TestUmask(t *testing.T) {
	dir := t.TempDir()
	for umask, want := range map[int]fs.FileMode{0o077: 0o600, 0o022: 0o644, 0o002: 0o664} {
		if !setUmask(t, umask) {
			t.Skip("this system has no umask")
		}
		file, folder := filepath.Join(dir, fmt.Sprint("f", umask)), filepath.Join(dir, fmt.Sprint("d", umask))
		if err := Write(file, func(io.Writer) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if err := WriteDir(folder, isSetPart, func(string) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != want {
			t.Errorf("umask %03o: a file of mode %v, %v", umask, info.Mode(), err)
		}
		if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o777&^fs.FileMode(umask) {
			t.Errorf("umask %03o: a directory of mode %v, %v", umask, info.Mode(), err)
		}
	}
}

func TestDanglingLinkIsRefused(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Skip(err)
	}
	_, err := Create(link)
	_, errDir := CreateDir(link, isSetPart)
	for _, err := range []error{err, errDir} {
		if err == nil || !strings.Contains(err.Error(), "nowhere, which does not exist") {
			t.Errorf("%v", err)
		}
	}
	onlyFiles(t, dir, "link")
}

func TestDirKeepsOthers(t *testing.T) {
	dir := t.TempDir()
	set := filepath.Join(dir, "set")
	if err := os.MkdirAll(filepath.Join(set, "folder", "deep"), 0o750); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "z", "README.md", "folder/deep/file"} {
		put(t, filepath.Join(set, name), "old", 0o640)
	}
	if err := os.Symlink("README.md", filepath.Join(set, "link")); err != nil && runtime.GOOS != "windows" {
		t.Fatal(err)
	}
	if err := os.Chmod(set, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := writeSet(dir); err != nil {
		t.Fatal(err)
	}
	if got := state(t, set, "a", "b", "c"); got != "new" {
		t.Errorf("the parts are %s", got)
	}
	if got := state(t, set, "README.md", "folder/deep/file", "link"); got != "old" && runtime.GOOS != "windows" {
		t.Errorf("the others are %s", got)
	}
	if _, err := os.Stat(filepath.Join(set, "z")); err == nil {
		t.Error("a part of the old set is still there")
	}
	if info, err := os.Stat(set); err != nil || info.Mode().Perm() != 0o711 && runtime.GOOS != "windows" {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	onlyFiles(t, dir, "set")
}

func TestDirThatAppearsMeanwhile(t *testing.T) {
	dir := t.TempDir()
	d, err := CreateDir(filepath.Join(dir, "set"), isSetPart)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Abort()
	if err := os.Mkdir(filepath.Join(dir, "set"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(); err == nil || !strings.Contains(err.Error(), "by another program in the meantime") {
		t.Errorf("%v", err)
	}
	onlyFiles(t, dir, "set")
}

// TestAbortAll runs in a process of its own, because it is for the end of one.
func TestAbortAll(t *testing.T) {
	if dir := os.Getenv("ATOMICFILE_TEST_ABORT"); dir != "" {
		f, err := Create(filepath.Join(dir, "file"))
		d, errDir := CreateDir(filepath.Join(dir, "set"), isSetPart)
		if err != nil || errDir != nil {
			t.Fatal(err, errDir)
		}
		AbortAll()
		onlyFiles(t, dir)
		_, err = Create(filepath.Join(dir, "later"))
		for _, err := range []error{err, f.Commit(), d.Commit()} {
			if err == nil {
				t.Error("something was written after the end")
			}
		}
		onlyFiles(t, dir)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestAbortAll$")
	cmd.Env = append(os.Environ(), "ATOMICFILE_TEST_ABORT="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestScratch(t *testing.T) {
	dir := t.TempDir()
	f, err := Scratch(dir, "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("abc"), 4); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	path, remove, err := ScratchDir(dir, "y")
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(path, "file"), "x", 0o600)
	remove()
	onlyFiles(t, dir)
}

// TestCheck keeps names from files when what was read has changed.
func TestCheck(t *testing.T) {
	changed := errors.New("changed")
	Check = func() error { return changed }
	defer func() { Check = func() error { return nil } }()
	for name, job := range jobs {
		dir := t.TempDir()
		before := exchange
		if err := job(dir); !errors.Is(err, changed) {
			t.Errorf("%s: %v", name, err)
		}
		exchange = before
		onlyFiles(t, dir)
	}
}
