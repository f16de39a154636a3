package chaos

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peftconv/peftconv/internal/demo"
)

// lab is the program and the files that jobs read.
type lab struct {
	exe string
	dir string
	r   *rand.Rand
}

// job is a command that writes something. In its words BASE is the model, a file of its own, LAB the folder of the
// files that all jobs read, and OUT the folder that it writes to.
type job struct {
	name  string
	words string
	// other are the words of a run that leaves another result under the same names: what was there before.
	other string
	// checkpoint is the file in OUT from which a run goes on that was disturbed; without it the run begins anew.
	checkpoint string
	// always says that the job is in every test run.
	always bool
	// inPlace says that the job changes a file of OUT, which is a copy of the model.
	inPlace bool
	// keeps are the names in OUT that a disturbed run may leave beside its result: checkpoints.
	keeps string
	// first is a name of a set that verify takes; "" for what it does not know.
	first string

	took   time.Duration // undisturbed
	before map[string]string
	after  map[string]string
}

const train = "train --base BASE --data LAB/train.txt --out OUT/a.safetensors -n 8 --save-every 2 --batch-tokens 64 " +
	"--seq-len 64 --rank 2 "

const trainCheckpoint = "a.checkpoint.safetensors"

var jobs = []*job{
	{name: "train", always: true, words: train + "--seed 1", other: train + "--seed 2", checkpoint: trainCheckpoint,
		keeps: `^a\.checkpoint`, first: "a.safetensors"},
	{name: "train qat", words: train + "--seed 1 --qat code", other: train + "--seed 2 --qat code",
		checkpoint: trainCheckpoint, keeps: `^a\.checkpoint`, first: "a.safetensors"},
	{name: "merge", always: true, words: "merge --base BASE --lora LAB/a.safetensors --out OUT/m.gguf",
		other: "merge --base BASE --lora LAB/a.safetensors:0.5 --out OUT/m.gguf", first: "m.gguf"},
	{name: "quantize", words: "quantize BASE OUT/q.gguf Q4_0 --allow-requantize",
		other: "quantize BASE OUT/q.gguf Q5_0 --allow-requantize", first: "q.gguf"},
	{name: "quantize shards", words: "quantize LAB/s-00001-of-00003.gguf OUT/q.gguf Q4_0 --allow-requantize --keep-split",
		other: "quantize LAB/s-00001-of-00003.gguf OUT/q.gguf Q5_0 --allow-requantize --keep-split",
		first: "q-00001-of-00003.gguf"},
	{name: "split", always: true, words: "split BASE OUT/s --max-tensors 20",
		other: "split LAB/q4.gguf OUT/s --max-tensors 20", first: "s-00001-of-00003.gguf"},
	{name: "join", words: "join LAB/s-00001-of-00003.gguf OUT/j.gguf", other: "join LAB/t-00001-of-00003.gguf OUT/j.gguf",
		first: "j.gguf"},
	{name: "convert", words: "convert LAB/hf --out OUT/c.gguf", other: "convert LAB/hf --out OUT/c.gguf --type Q8_0",
		first: "c.gguf"},
	{name: "convert back", words: "convert BASE --to hf --out OUT/hf",
		other: "convert LAB/q4.gguf --to hf --out OUT/hf --dtype f16", first: "hf"},
	{name: "export peft", always: true, words: "export --base BASE --lora LAB/a.safetensors --to peft --out OUT/p",
		other: "export --base BASE --lora LAB/b.safetensors --to peft --out OUT/p", first: "p"},
	{name: "export gguf", words: "export --base BASE --lora LAB/a.safetensors --to gguf --out OUT/l.gguf",
		other: "export --base BASE --lora LAB/b.safetensors --to gguf --out OUT/l.gguf", first: "l.gguf"},
	{name: "combine", words: "combine LAB/a.safetensors LAB/b.safetensors --out OUT/ab.safetensors",
		other: "combine LAB/a.safetensors LAB/b.safetensors:0.5 --out OUT/ab.safetensors", first: "ab.safetensors"},
	{name: "resize", words: "resize LAB/a.safetensors OUT/r.safetensors --rank 1",
		other: "resize LAB/b.safetensors OUT/r.safetensors --rank 1", first: "r.safetensors"},
	{name: "extract", words: "extract --base BASE --tuned LAB/q4.gguf --rank 2 --layers 0 --out OUT/e.safetensors",
		other: "extract --base BASE --tuned LAB/q4.gguf --rank 1 --layers 0 --out OUT/e.safetensors", first: "e.safetensors"},
	{name: "imatrix", words: "imatrix --base BASE --data LAB/train.txt --chunks 2 --out OUT/i.gguf",
		other: "imatrix --base BASE --data LAB/train.txt --chunks 1 --out OUT/i.gguf"},
	{name: "edit", always: true, words: "edit OUT/base.gguf --set general.name=one",
		other: "edit OUT/base.gguf --set general.name=two", inPlace: true, first: "base.gguf"},
	{name: "edit longer", words: "edit OUT/base.gguf --set general.description=" + strings.Repeat("long", 2000),
		other: "edit OUT/base.gguf --set general.name=two", inPlace: true, first: "base.gguf"},
	{name: "eval", words: "eval --base BASE --data LAB/train.txt"},
	{name: "generate", words: "generate --base BASE --prompt Once -n 12"},
}

// newLab builds the program and makes the files.
func newLab(t *testing.T, seed uint64) *lab {
	t.Helper()
	l := &lab{dir: t.TempDir(), r: rand.New(rand.NewPCG(seed, 0))}
	l.exe = filepath.Join(l.dir, "peftconv")
	if out, err := exec.Command("go", "build", "-o", l.exe, "../../cmd/peftconv").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	at := filepath.Join(l.dir, "lab")
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(at, "base.gguf"), demo.BaseGGUF())
	put(t, filepath.Join(at, "train.txt"), demo.OwlTextTrain()[:6000])
	for _, words := range []string{
		strings.ReplaceAll(train, "OUT/", "LAB/") + "--seed 1",
		strings.ReplaceAll(strings.ReplaceAll(train, "OUT/a", "LAB/b"), "-n 8", "-n 2") + "--seed 2",
		"quantize BASE LAB/q4.gguf Q4_0 --allow-requantize", "split BASE LAB/s --max-tensors 20",
		"split LAB/q4.gguf LAB/t --max-tensors 20", "convert BASE --to hf --out LAB/hf",
	} {
		if r := l.run(t, words, at, nil); r.status != 0 {
			t.Fatalf("%s\n%s", words, r.errs)
		}
	}
	return l
}

func put(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// result is how a run ended.
type result struct {
	status int // −1: by a signal
	errs   string
}

// command is a run of words over the lab's base or one in dir.
func (l *lab) command(words, dir string) *exec.Cmd {
	places := strings.NewReplacer("LAB", "../lab", "OUT", "out", "BASE", "base.gguf") // the same in all folders
	args := strings.Fields(words)
	for i, w := range args {
		args[i] = places.Replace(w)
	}
	cmd := exec.Command(l.exe, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(l.dir, "cache"))
	return cmd
}

// run runs words to the end, disturbed by a function that gets the running command.
func (l *lab) run(t *testing.T, words, dir string, disturb func(cmd *exec.Cmd)) result {
	t.Helper()
	cmd := l.command(words, dir)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if disturb != nil {
		disturb(cmd)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-ended:
	case <-time.After(5 * time.Minute):
		cmd.Process.Kill()
		<-ended
		t.Errorf("%s: did not end\n%s", words, errs.String())
	}
	r := result{cmd.ProcessState.ExitCode(), errs.String()}
	l.honest(t, words, r)
	return r
}

// wrongWords are never in a message.
var wrongWords = regexp.MustCompile(`goroutine \d|panic|fatal error|SIG[A-Z]{3,}|internal error|nil pointer|bad address|` +
	`file already closed|(?m): (unexpected )?EOF$`)

// honest looks at status and messages of a run.
func (l *lab) honest(t *testing.T, words string, r result) {
	t.Helper()
	if found := wrongWords.FindString(r.errs); found != "" {
		t.Errorf("%s: %q is in the message\n%s", words, found, r.errs)
	}
	if !slices.Contains([]int{-1, 0, 1, 130}, r.status) {
		t.Errorf("%s: status %d\n%s", words, r.status, r.errs)
	}
}

// isLog matches logs and reports of training runs, which say what happened when: no two are alike.
var isLog = regexp.MustCompile(`\.log(\.old)?\.jsonl$|\.report\.html$`)

// hashes are the files of a directory with what is in them.
func hashes(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || isLog.MatchString(d.Name()) {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		found[name] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// differ says how two directories differ, "" where they do not. Names that keep matches count in neither.
func differ(got, want map[string]string, keep string) string {
	var all []string
	kept := regexp.MustCompile(keep)
	for _, m := range []map[string]string{got, want} {
		for name := range m {
			if keep == "" || !kept.MatchString(name) {
				all = append(all, name)
			}
		}
	}
	slices.Sort(all)
	for _, name := range slices.Compact(all) {
		switch {
		case got[name] == "":
			return name + " is missing"
		case want[name] == "":
			return name + " is there too"
		case got[name] != want[name]:
			return name + " is another"
		}
	}
	return ""
}

// begin makes a directory for a run: empty, or with what the job's other words leave. own gives it a base of its own.
func (l *lab) begin(t *testing.T, j *job, old, own bool) string {
	t.Helper()
	dir, err := os.MkdirTemp(l.dir, "run")
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(dir, "base.gguf")
	if own {
		put(t, base, demo.BaseGGUF())
	} else if err := os.Link(filepath.Join(l.dir, "lab", "base.gguf"), base); err != nil {
		t.Fatal(err)
	}
	l.fill(t, j, dir, old)
	return dir
}

// fill makes what is in OUT before a run. A file that is changed in place is always there.
func (l *lab) fill(t *testing.T, j *job, dir string, old bool) {
	t.Helper()
	if j.inPlace {
		put(t, filepath.Join(dir, "out", "base.gguf"), demo.BaseGGUF())
	}
	if (old || j.inPlace) && j.other != "" {
		if r := l.run(t, j.other, dir, nil); r.status != 0 {
			t.Fatalf("%s: %s\n%s", j.name, j.other, r.errs)
		}
	}
}

// measure runs each job undisturbed.
func (l *lab) measure(t *testing.T) {
	for _, j := range jobs {
		dir := l.begin(t, j, true, false)
		j.before = hashes(t, filepath.Join(dir, "out"))
		fresh := l.begin(t, j, false, false)
		start := time.Now()
		r := l.run(t, j.words, fresh, nil)
		j.took = time.Since(start)
		if r.status != 0 {
			t.Fatalf("%s: %s\n%s", j.name, j.words, r.errs)
		}
		j.after = hashes(t, filepath.Join(fresh, "out"))
		r = l.run(t, j.words+j.force(), dir, nil)
		if d := differ(hashes(t, filepath.Join(dir, "out")), j.after, ""); r.status != 0 || d != "" {
			t.Fatalf("%s: not the same bytes the second time: %s\n%s", j.name, d, r.errs)
		}
		os.RemoveAll(dir)
		os.RemoveAll(fresh)
	}
}

// force is the flag by which a job replaces what is there.
func (j *job) force() string {
	if j.inPlace || j.other == "" {
		return ""
	}
	return " --force"
}

// settled checks what a disturbed run has left: the old state or the new one.
func (l *lab) settled(t *testing.T, j *job, dir, how string, old bool) {
	t.Helper()
	l.settledAs(t, j, hashes(t, filepath.Join(dir, "out")), how, old)
}

// settledAs is settled for the files that are left.
func (l *lab) settledAs(t *testing.T, j *job, got map[string]string, how string, old bool) {
	t.Helper()
	before := map[string]string{}
	if old || j.inPlace {
		before = j.before
	}
	a, b := differ(got, before, j.keeps), differ(got, j.after, j.keeps)
	if a != "" && b != "" {
		t.Errorf("%s, %s (old %v): neither the old state (%s) nor the new one (%s)", j.name, how, old, a, b)
	}
}

// clean checks that nothing temporary is left.
func clean(t *testing.T, j *job, dir, how string) {
	t.Helper()
	for name := range hashes(t, dir) {
		if strings.Contains(name, ".peftconv-tmp") || strings.Contains(name, ".edit-journal") {
			t.Errorf("%s, %s: %s is left", j.name, how, name)
		}
	}
}

// goOn runs the job after a disturbance to its end, and checks that the result is that of an undisturbed run.
func (l *lab) goOn(t *testing.T, j *job, dir, how string) {
	t.Helper()
	words := j.words + j.force()
	if _, err := os.Stat(filepath.Join(dir, "out", j.checkpoint)); err == nil && j.checkpoint != "" {
		words += " --resume OUT/" + j.checkpoint
	}
	if r := l.run(t, words, dir, nil); r.status != 0 {
		t.Errorf("%s, after %s: status %d\n%s", j.name, how, r.status, r.errs)
		return
	}
	if d := differ(hashes(t, filepath.Join(dir, "out")), j.after, j.keeps); d != "" {
		t.Errorf("%s, after %s: %s", j.name, how, d)
	}
	clean(t, j, filepath.Join(dir, "out"), how)
	if j.first != "" {
		if r := l.run(t, "verify OUT/"+j.first, dir, nil); r.status != 0 {
			t.Errorf("%s, after %s: verify: status %d\n%s", j.name, how, r.status, r.errs)
		}
	}
}
