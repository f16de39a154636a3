package mpi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/demo"
)

// Where the programs and the input are: plain has no MPI.
var dir, plain string

// library is an MPI library: the program that is built with it, and its launcher.
type library struct {
	name, tags, program string
	launch              []string // before the number of ranks
}

var libraries = []*library{
	{name: "Open MPI", tags: "mpi", launch: []string{"mpirun.openmpi", "--allow-run-as-root", "--oversubscribe", "-n"}},
	{name: "MPICH", tags: "mpi,mpich", launch: []string{"mpiexec.hydra", "-n"}},
}

func TestMain(m *testing.M) {
	if os.Getenv("PEFTCONV_MPI") == "" {
		os.Exit(m.Run()) // every test skips
	}
	var err error
	if dir, err = os.MkdirTemp("", "peftconv-mpi-"); err == nil {
		err = prepare()
	}
	status := 1
	if err == nil {
		status = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, err)
	}
	os.RemoveAll(dir)
	os.Exit(status)
}

// prepare builds the programs and writes the input.
func prepare() error {
	plain = filepath.Join(dir, "peftconv")
	if err := build(plain, "0", ""); err != nil {
		return err
	}
	for _, l := range libraries {
		l.program = filepath.Join(dir, "peftconv-"+strings.ReplaceAll(l.tags, ",", "-"))
		if err := build(l.program, "1", l.tags); err != nil {
			return err
		}
	}
	for name, t := range map[string]gguf.Type{"base.gguf": gguf.Q4_K, "other.gguf": gguf.Q8_0} {
		base, err := demo.BaseAs(t)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), base, 0o666); err != nil {
			return err
		}
	}
	text := demo.OwlTextTrain()
	for name, data := range map[string][]byte{"train.txt": text[:60000], "other.txt": text[1000:61000],
		"valid.txt": demo.OwlTextEval()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
			return err
		}
	}
	return nil
}

func build(out, cgo, tags string) error {
	c := exec.Command("go", "build", "-tags", tags, "-o", out, "../../cmd/peftconv")
	c.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if text, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build with tags %q: %w\n%s", tags, err, text)
	}
	return nil
}

func needs(t *testing.T) {
	t.Helper()
	if dir == "" {
		t.Skip("PEFTCONV_MPI is not set")
	}
}

// ranks is the command line of some ranks.
func (l *library) ranks(n int, args ...string) []string {
	return slices.Concat(l.launch, []string{fmt.Sprint(n), l.program}, args)
}

// run runs a command in a folder and gives what it prints, and its status. It fails where that takes minutes.
func run(t *testing.T, folder string, env []string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Dir = folder
	c.Env = append(append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(dir, "cache")), env...)
	c.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); c.ProcessState == nil {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%q did not end:\n%s", args, out.String())
	}
	return out.String(), c.ProcessState.ExitCode()
}

// arguments are those of a training run.
func arguments(more ...string) []string {
	return append([]string{"train", "--base", filepath.Join(dir, "base.gguf"), "--data", filepath.Join(dir, "train.txt"),
		"--eval-data", filepath.Join(dir, "valid.txt"), "--seq-len", "96", "--batch-tokens", "200", "--steps",
		"5", "--accumulate", "5", "--threads", "1", "--no-report", "--quiet", "--out", "out.safetensors"}, more...)
}

// hashes are the SHA-256 of what a run wrote: adapter and checkpoints as they are, and the log without times, memory
// and what names the machine and the command.
func hashes(t *testing.T, folder string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range []string{"out.safetensors", "out.checkpoint-000002.safetensors",
		"out.checkpoint-000004.safetensors", "out.log.jsonl"} {
		data, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(name) == ".jsonl" {
			data = timeless(t, data)
		}
		all[name] = fmt.Sprintf("%x", sha256.Sum256(data))
	}
	return all
}

// timeless is a log without what differs from one run to the next.
func timeless(t *testing.T, log []byte) []byte {
	t.Helper()
	var out []byte
	for line := range bytes.Lines(log) {
		var event map[string]any
		if err := json.Unmarshal(line, &event); err != nil {
			t.Fatal(err)
		}
		forget(event)
		text, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		out = append(append(out, text...), '\n')
	}
	return out
}

// forget removes what differs from one run to the next.
func forget(event map[string]any) {
	for _, key := range []string{"time", "seconds", "memory", "machine", "command", "tokens_per_second", "parts",
		"peak_rss_bytes"} {
		delete(event, key)
	}
	for _, value := range event {
		if inner, ok := value.(map[string]any); ok {
			forget(inner)
		}
	}
}

// methods are what runs are made of.
var methods = map[string][]string{
	"LoRA with dropout": {"--dropout", "0.1"},
	"DoRA":              {"--dora", "--batch-tokens", "800", "--micro-batch-tokens", "200", "--accumulate", "1"},
	"prefix-tuning":     {"--method", "prefix-tuning"},
	"--qat":             {"--qat", "auto"},
	"uneven data":       {"--no-packing", "--accumulate", "7", "--eval-every", "2", "--keep-best"},
	"retained":          {"--retain", filepath.Join("..", "valid.txt"), "--accumulate", "2"}, // from a folder in dir
}

// TestSameBytes wants the plain program and one to four ranks under each library to write the same bytes.
func TestSameBytes(t *testing.T) {
	needs(t)
	for name, flags := range methods {
		t.Run(name, func(t *testing.T) {
			args := arguments(append([]string{"--save-every", "2", "--keep", "2"}, flags...)...)
			alone, err := os.MkdirTemp(dir, "run-")
			if err != nil {
				t.Fatal(err)
			}
			if out, status := run(t, alone, nil, append([]string{plain}, args...)...); status != 0 {
				t.Fatalf("status %d\n%s", status, out)
			}
			want := hashes(t, alone)
			for _, l := range libraries {
				for n := 1; n <= 4; n++ {
					folder, err := os.MkdirTemp(dir, "run-")
					if err != nil {
						t.Fatal(err)
					}
					if out, status := run(t, folder, nil, l.ranks(n, args...)...); status != 0 {
						t.Fatalf("%s, %d ranks: status %d\n%s", l.name, n, status, out)
					}
					for file, hash := range hashes(t, folder) {
						if hash != want[file] {
							t.Errorf("%s, %d ranks: %s has the SHA-256 %s, expected %s", l.name, n, file, hash, want[file])
						}
					}
				}
			}
		})
	}
}

// TestResume goes on with another number of ranks, and from ranks to the plain program and back.
func TestResume(t *testing.T) {
	needs(t)
	whole := t.TempDir()
	args := arguments("--dropout", "0.1", "--save-every", "2", "--keep", "2")
	if out, status := run(t, whole, nil, libraries[0].ranks(3, args...)...); status != 0 {
		t.Fatalf("status %d\n%s", status, out)
	}
	want := hashes(t, whole)["out.safetensors"]
	from := filepath.Join(whole, "out.checkpoint-000002.safetensors")
	for name, command := range map[string][]string{
		"plain":                {plain},
		"2 ranks of Open MPI":  libraries[0].ranks(2),
		"4 ranks of MPICH":     libraries[1].ranks(4),
		"one rank of Open MPI": libraries[0].ranks(1),
	} {
		folder := t.TempDir()
		if out, status := run(t, folder, nil, slices.Concat(command, args, []string{"--resume", from})...); status != 0 {
			t.Fatalf("%s: status %d\n%s", name, status, out)
		}
		data, err := os.ReadFile(filepath.Join(folder, "out.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(data)); got != want {
			t.Errorf("%s: SHA-256 %s, expected %s", name, got, want)
		}
	}
}

// TestAlone wants what cannot be shared to be refused, once, with what helps.
func TestAlone(t *testing.T) {
	needs(t)
	openmpi, hydra := libraries[0], libraries[1]
	for name, c := range map[string]struct {
		args   []string
		status int
		says   []string
	}{
		"the plain program": {slices.Concat(openmpi.launch, []string{"3", plain}, arguments()), 1,
			[]string{"rank 0 of 3", "this build of peftconv has no MPI", "go build -tags mpi ./cmd/peftconv"}},
		"another verb": {openmpi.ranks(3, "eval", "--base", filepath.Join(dir, "base.gguf"), "--data",
			filepath.Join(dir, "valid.txt")), 2, []string{"started it as 3 processes, but it works in one"}},
		"the launcher of another library": {slices.Concat(hydra.launch, []string{"3", openmpi.program}, arguments()), 1,
			[]string{"by its MPI library (Open MPI", "the launcher has to be of the same MPI"}},
		"a search": {openmpi.ranks(2, arguments("--method", "discrete-prompt", "--template", "{text}")...), 2, nil},
		"an error of all ranks": {openmpi.ranks(3, arguments("--targets", "nothing")...), 1,
			[]string{"nothing"}},
	} {
		out, status := run(t, t.TempDir(), nil, c.args...)
		if status != c.status {
			t.Errorf("%s: status %d, expected %d\n%s", name, status, c.status, out)
		}
		for _, text := range c.says {
			if strings.Count(out, text) != 1 {
				t.Errorf("%s: %q is there %d times, expected once\n%s", name, text, strings.Count(out, text), out)
			}
		}
	}
}
