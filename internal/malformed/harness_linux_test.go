package malformed_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/peftconv/peftconv/internal/malformed"
)

// program is the command, built for the tests.
type program struct {
	exe, dir string
	env      []string
	part     bool // of the verbs a few meet each file

	peaks  map[string]int64 // memory of verbs on good files
	files  atomic.Int64
	runs   atomic.Int64
	failed atomic.Int64
}

// build makes the program from the source.
func build(t *testing.T) *program {
	t.Helper()
	dir := t.TempDir()
	p := &program{exe: filepath.Join(dir, "peftconv"), dir: dir, peaks: map[string]int64{}}
	if out, err := exec.Command("go", "build", "-o", p.exe, "../../cmd/peftconv").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	p.env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(dir, "cache"), "HOME="+dir)
	return p
}

// verb is a command over a file that may be wrong.
type verb struct {
	name  string // in messages
	args  []string
	loads bool // it takes what verify takes, and no other
	usage bool // wrong usage is an answer too
}

// Limits of a run.
const (
	mostTime  = 60 * time.Second
	moreBytes = 150 << 20 // memory beyond that of a good file, beside four times the size of the file
)

// result is how a run ended.
type result struct {
	status int
	output string // both streams
	peak   int64
	took   time.Duration
}

// run executes the program.
func (p *program) run(args ...string) result {
	ctx, cancel := context.WithTimeout(context.Background(), mostTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.exe, args...)
	cmd.Dir, cmd.Env = p.dir, p.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	cmd.Run()
	r := result{status: cmd.ProcessState.ExitCode(), output: out.String(), took: time.Since(start)}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.peak = usage.Maxrss << 10
	}
	p.runs.Add(1)
	return r
}

// must runs the program over good files.
func (p *program) must(t *testing.T, args ...string) {
	t.Helper()
	if r := p.run(args...); r.status != 0 {
		t.Fatalf("%v: exit status %d: %s", args, r.status, r.output)
	}
}

// crashes are texts that a program prints whose bug a file has found.
var crashes = []string{"panic:", "goroutine ", "fatal error", "SIGSEGV", "runtime error", "PEFTCONV_DEBUG",
	"index out of range"}

// judge says what is wrong with the way in which a run ended, "" where nothing is. size is that of the file, base
// what the verb takes of memory with a good file.
func judge(v *verb, r *result, out string, size, base int64) string {
	switch {
	case r.took >= mostTime:
		return "does not end"
	case r.status != 0 && r.status != 1 && !(r.status == 2 && v.usage):
		return fmt.Sprintf("exit status %d", r.status)
	case r.peak > base+4*size+moreBytes:
		return fmt.Sprintf("%d MiB of memory for a file of %d bytes, %d MiB for a good one", r.peak>>20, size,
			base>>20)
	case r.status != 0 && r.output == "":
		return "fails without a word"
	}
	for _, text := range crashes {
		if strings.Contains(r.output, text) {
			return "crashes"
		}
	}
	entries, err := os.ReadDir(out)
	if err != nil {
		return err.Error()
	}
	for _, e := range entries {
		if r.status != 0 || strings.HasPrefix(e.Name(), ".") || strings.Contains(e.Name(), ".tmp") {
			return "leaves " + e.Name()
		}
	}
	return ""
}

// kind is files of one kind, and what is done with them.
type kind struct {
	name     string
	good     string // the good file or directory
	part     string // the file of the directory that is wrong; "" for a file
	variants iter.Seq[malformed.Variant]
	verbs    func(path, out string) []verb
	accepts  func(output string) bool // a failure that says nothing against the file; nil: none does
}

// place writes a variant and gives its path.
func (k *kind) place(t *testing.T, dir string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, filepath.Base(k.good))
	file := path
	if k.part != "" {
		file = filepath.Join(path, k.part)
		copyDir(t, k.good, path)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// baseline runs all verbs over the good file, which they must take.
func (k *kind) baseline(t *testing.T, p *program) map[string]int64 {
	t.Helper()
	peaks := map[string]int64{}
	dir := t.TempDir()
	path := filepath.Join(dir, filepath.Base(k.good))
	if k.part != "" {
		copyDir(t, k.good, path)
	} else if data, err := os.ReadFile(k.good); err != nil || os.WriteFile(path, data, 0o644) != nil {
		t.Fatal(err)
	}
	for i, v := range k.verbs(path, "OUT") {
		out := filepath.Join(dir, fmt.Sprint("out", i))
		if err := os.Mkdir(out, 0o755); err != nil {
			t.Fatal(err)
		}
		v.args = withOut(v.args, out)
		r := p.run(v.args...)
		if r.status != 0 {
			t.Fatalf("%s of a good file: %v: exit status %d: %s", v.name, v.args, r.status, r.output)
		}
		if fault := judge(&v, &r, out, 0, r.peak); fault != "" {
			t.Fatalf("%s of a good file %s: %s", v.name, fault, r.output)
		}
		peaks[v.name] = r.peak
	}
	return peaks
}

// withOut has a folder in the place of OUT.
func withOut(args []string, out string) []string {
	list := make([]string, len(args))
	for i, a := range args {
		list[i] = strings.ReplaceAll(a, "OUT", out)
	}
	return list
}

// campaign runs all verbs over all variants of a kind, or over at most n of them.
func (p *program) campaign(t *testing.T, k *kind, n int) {
	peaks := map[string]int64{}
	if !p.part {
		peaks = k.baseline(t, p)
	}
	variants := k.variants
	if n > 1 {
		variants = malformed.Sample(variants, n)
	}
	type job struct {
		number int
		v      malformed.Variant
	}
	jobs := make(chan job)
	var workers sync.WaitGroup
	for range min(runtime.NumCPU(), 4) {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for j := range jobs {
				p.one(t, k, j.number, &j.v, peaks)
			}
		}()
	}
	number := 0
	for v := range variants {
		jobs <- job{number, v}
		number++
	}
	close(jobs)
	workers.Wait()
	p.files.Add(int64(number))
	t.Logf("%s: %d files", k.name, number)
}

// one runs all verbs over a variant and compares what they say of it with what verify says.
func (p *program) one(t *testing.T, k *kind, number int, v *malformed.Variant, peaks map[string]int64) {
	dir, err := os.MkdirTemp(p.dir, fmt.Sprint("v", number, "-*"))
	if err != nil {
		t.Error(err)
		return
	}
	defer os.RemoveAll(dir)
	path := k.place(t, dir, v.Data)
	verdict, verified, loaded, loads := "", true, true, 0
	for i, verb := range p.chosen(k.verbs(path, "OUT"), number) {
		out := filepath.Join(dir, fmt.Sprint("out", i))
		if err := os.Mkdir(out, 0o755); err != nil {
			t.Error(err)
			return
		}
		r := p.run(withOut(verb.args, out)...)
		if fault := judge(&verb, &r, out, int64(len(v.Data)), cmp.Or(peaks[verb.name], usual)); fault != "" {
			p.fail(t, "%s: %s: %s %s: %.600s", k.name, v.Lie, verb.name, fault, r.output)
		}
		switch {
		case strings.HasPrefix(verb.name, "verify"):
			verdict, verified = verdict+r.output, verified && r.status == 0
		case verb.loads:
			loads++
			excused := strings.Contains(verdict, "only the format was checked") || k.accepts != nil &&
				k.accepts(r.output) || strings.Contains(r.output, "not supported") ||
				strings.Contains(r.output, "values overflowed")
			if r.status != 0 {
				loaded = false
			}
			if r.status != 0 && verified && !excused {
				p.fail(t, "%s: %s: verify takes what %s refuses: %.600s", k.name, v.Lie, verb.name, r.output)
			}
		}
	}
	if loads > 0 && loaded && !verified && !p.part {
		p.fail(t, "%s: %s: verify refuses what loads: %.600s", k.name, v.Lie, verdict)
	}
}

// chosen are the verbs that a file meets: all, or the first, which verifies, and another two by its number.
func (p *program) chosen(list []verb, number int) []verb {
	if !p.part || len(list) <= 3 {
		return list
	}
	rest := list[1:]
	return []verb{list[0], rest[number%len(rest)], rest[(number+2)%len(rest)]}
}

// usual is the memory of a verb with a small file, where it was not measured.
const usual = 100 << 20

// mostFailures is how many failures are shown.
const mostFailures = 400

func (p *program) fail(t *testing.T, format string, args ...any) {
	if n := p.failed.Add(1); n <= mostFailures {
		t.Errorf(format, args...)
	}
}
