package kernels

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAssemblyIsGenerated tests and runs the generator in _asm and compares what it writes with the files here.
func TestAssemblyIsGenerated(t *testing.T) {
	if testing.Short() {
		t.Skip("the assembly is not generated again in short tests")
	}
	if out, err := goCommand("list", "-deps", "-test", ".").CombinedOutput(); err != nil {
		t.Skipf("the generator's modules cannot be had: %v\n%s", err, out)
	}
	if out, err := goCommand("test", ".").CombinedOutput(); err != nil {
		t.Errorf("go test in _asm: %v\n%s", err, out)
	}
	dir := t.TempDir()
	if out, err := goCommand("run", ".", dir).CombinedOutput(); err != nil {
		t.Fatalf("go run . in _asm: %v\n%s", err, out)
	}
	want := assemblyFiles(t, dir)
	got := assemblyFiles(t, ".")
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is not written by the generator", name)
		}
	}
	for name, text := range want {
		if !bytes.Equal(got[name], text) {
			t.Errorf("%s is not what the generator writes: run go generate in kernels", name)
		}
	}
}

// goCommand is the go command in the generator's directory, for this machine and without this module's flags.
func goCommand(args ...string) *exec.Cmd {
	c := exec.Command("go", args...)
	c.Dir = "_asm"
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "GOARCH=") && !strings.HasPrefix(v, "GOOS=") {
			c.Env = append(c.Env, v)
		}
	}
	return c
}

func assemblyFiles(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.s"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(name)] = text
	}
	return files
}
