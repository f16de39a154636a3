package tohf

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/atomicfile"
)

// TestMain converts the file that the environment names, in the place of the tests, where it names one.
func TestMain(m *testing.M) {
	if file := os.Getenv("TOHF_TEST_FILE"); file != "" {
		os.Exit(convertAlone(file, os.Getenv("TOHF_TEST_OUT"), os.Getenv("TOHF_TEST_FULL") != ""))
	}
	os.Exit(m.Run())
}

// convertAlone converts a file. With full, files cannot become large, as on a disk without space; otherwise it stops in
// its middle and waits to be killed.
func convertAlone(file, out string, full bool) int {
	f, err := gguf.Open(file)
	if err != nil {
		fmt.Println(err)
		return 2
	}
	progress := func(done, all int64) {
		if !full && done > all/2 {
			fmt.Println("in the middle")
			select {}
		}
	}
	if full {
		signal.Ignore(unix.SIGXFSZ)
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 50_000, Max: 50_000}); err != nil {
			fmt.Println(err)
			return 2
		}
	}
	if _, err := Write(context.Background(), f, out, Options{}, progress); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// alone is this program as convertAlone.
func alone(t *testing.T, out, full string) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0])
	file := small(t, "mixtral", nil).Path
	c.Env = append(os.Environ(), "TOHF_TEST_FILE="+file, "TOHF_TEST_OUT="+out, "TOHF_TEST_FULL="+full)
	return c
}

// TestKilled leaves no directory of the name where the program is killed in the middle.
func TestKilled(t *testing.T) {
	parent := t.TempDir()
	c := alone(t, filepath.Join(parent, "out"), "")
	pipe, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(pipe).ReadString('\n')
	if err != nil || line != "in the middle\n" {
		t.Errorf("%q: %v", line, err)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	for _, name := range left(t, parent) {
		if !strings.HasPrefix(name, ".out.") || !strings.Contains(name, ".peftconv-tmp") {
			t.Errorf("%s is left", name)
		}
	}
	if err := atomicfile.Settle(parent); err != nil || len(left(t, parent)) > 0 {
		t.Errorf("%v; %q are left for ever", err, left(t, parent))
	}
}

// TestFull leaves nothing where the disk has no more space.
func TestFull(t *testing.T) {
	parent := t.TempDir()
	text, err := alone(t, filepath.Join(parent, "out"), "full").CombinedOutput()
	if err == nil || !strings.Contains(string(text), "model.safetensors") || len(left(t, parent)) > 0 {
		t.Errorf("%v, %s; %q are left", err, text, left(t, parent))
	}
}
