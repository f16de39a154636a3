package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peftconv/peftconv/internal/demo"
)

// disturbance is something that happens to a running job.
type disturbance struct {
	name   string
	weight int // how often it is chosen
	run    func(l *lab, t *testing.T, j *job)
}

var disturbances = []disturbance{
	{"kill", 10, killed}, {"interrupt", 3, interrupted}, {"stop and continue", 1, stopped}, {"two at once", 3, twice},
	{"a limit of file sizes", 2, limited}, {"a full disk", 2, full}, {"a file system that is read-only", 1, readOnly},
	{"a base that becomes shorter", 3, shortened}, {"reads that fail", 3, unreadable},
	{"a base that is edited", 2, edited},
}

// TestChaos disturbs jobs at random until its time is over.
func TestChaos(t *testing.T) {
	length, seed := 5*time.Second, uint64(time.Now().UnixNano())
	if s, err := strconv.Atoi(os.Getenv("PEFTCONV_CHAOS")); err == nil {
		length = time.Duration(s) * time.Second
	} else if testing.Short() {
		t.Skip("takes some time")
	} else { // running all jobs undisturbed would take most of it
		jobs = slices.DeleteFunc(jobs, func(j *job) bool { return !j.always })
	}
	if s, err := strconv.ParseUint(os.Getenv("PEFTCONV_CHAOS_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("PEFTCONV_CHAOS_SEED=%d", seed)
	l := newLab(t, seed)
	l.measure(t)
	var choose []disturbance
	for _, d := range disturbances {
		choose = append(choose, slices.Repeat([]disturbance{d}, d.weight)...)
	}
	counts := map[string]int{}
	for end := time.Now().Add(length); time.Now().Before(end) && !t.Failed(); {
		d, j := choose[l.r.IntN(len(choose))], jobs[l.r.IntN(len(jobs))]
		d.run(l, t, j)
		counts[d.name]++
	}
	for _, d := range disturbances {
		t.Logf("%5d × %s", counts[d.name], d.name)
	}
}

// moment is a random time within a job's run.
func (l *lab) moment(j *job) time.Duration {
	return time.Duration(l.r.Float64() * 1.1 * float64(j.took))
}

// old is whether a run finds the result of another, at random.
func (l *lab) old() bool { return l.r.IntN(2) == 0 }

func (j *job) wordsOver(old bool) string {
	if old {
		return j.words + j.force()
	}
	return j.words
}

func killed(l *lab, t *testing.T, j *job) {
	old := l.old()
	dir := l.begin(t, j, old, false)
	defer os.RemoveAll(dir)
	after := l.moment(j)
	how := fmt.Sprintf("killed after %v", after)
	l.run(t, j.wordsOver(old), dir, func(cmd *exec.Cmd) {
		time.Sleep(after)
		cmd.Process.Kill()
	})
	if j.first != "" { // settles a change of several names that was interrupted; it may find nothing
		l.run(t, "verify --quick OUT/"+j.first, dir, nil)
	}
	if j.inPlace {
		l.goOn(t, j, dir, how)
		return
	}
	got := hashes(t, filepath.Join(dir, "out"))
	for name := range got {
		if strings.Contains(name, ".peftconv-tmp") {
			delete(got, name)
		}
	}
	l.settledAs(t, j, got, how, old)
	l.goOn(t, j, dir, how)
}

func interrupted(l *lab, t *testing.T, j *job) {
	old := l.old()
	dir := l.begin(t, j, old, false)
	defer os.RemoveAll(dir)
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	after, signal, again := l.moment(j), signals[l.r.IntN(2)], l.r.IntN(3) == 0
	how := fmt.Sprintf("%v after %v, again %v", signal, after, again)
	var sent time.Time
	r := l.run(t, j.wordsOver(old), dir, func(cmd *exec.Cmd) {
		time.Sleep(max(after, 100*time.Millisecond)) // the program has begun to listen
		cmd.Process.Signal(signal)
		if sent = time.Now(); again {
			time.Sleep(50 * time.Millisecond)
			cmd.Process.Signal(signal)
		}
	})
	if r.status != 130 && r.status != 0 && r.status != -1 {
		t.Errorf("%s, %s: status %d\n%s", j.name, how, r.status, r.errs)
	}
	// A second is promised; other processes may take the processors for a while.
	if d := time.Since(sent); d > 10*time.Second {
		t.Errorf("%s, %s: ended %v after the signal", j.name, how, d)
	}
	if r.status == 130 {
		clean(t, j, filepath.Join(dir, "out"), how)
		l.settled(t, j, dir, how, old)
	}
	l.goOn(t, j, dir, how)
}

func stopped(l *lab, t *testing.T, j *job) {
	dir := l.begin(t, j, false, false)
	defer os.RemoveAll(dir)
	after := l.moment(j)
	r := l.run(t, j.words, dir, func(cmd *exec.Cmd) {
		time.Sleep(after)
		cmd.Process.Signal(syscall.SIGSTOP)
		time.Sleep(200 * time.Millisecond)
		cmd.Process.Signal(syscall.SIGCONT)
	})
	if d := differ(hashes(t, filepath.Join(dir, "out")), j.after, ""); r.status != 0 || d != "" {
		t.Errorf("%s, stopped after %v: status %d, %s\n%s", j.name, after, r.status, d, r.errs)
	}
}

// twice runs a job twice at once. Each succeeds or is refused; what is there then is whole.
func twice(l *lab, t *testing.T, j *job) {
	old := l.old()
	dir := l.begin(t, j, old, false)
	defer os.RemoveAll(dir)
	var group sync.WaitGroup
	var ended [2]result
	pause := time.Duration(l.r.Float64() * float64(j.took))
	for i := range ended {
		group.Go(func() {
			time.Sleep(time.Duration(i) * pause)
			ended[i] = l.run(t, j.words+j.force(), dir, nil)
		})
	}
	group.Wait()
	how := fmt.Sprintf("two of it %v apart", pause)
	if ended[0].status != 0 && ended[1].status != 0 {
		t.Errorf("%s, %s: both failed\n%s\n%s", j.name, how, ended[0].errs, ended[1].errs)
	}
	if d := differ(hashes(t, filepath.Join(dir, "out")), j.after, ""); d != "" {
		t.Errorf("%s, %s: %s", j.name, how, d)
	}
}

// limited lets no file become larger than a random size.
func limited(l *lab, t *testing.T, j *job) {
	old := l.old()
	dir := l.begin(t, j, old, false)
	defer os.RemoveAll(dir)
	most := uint64(l.r.IntN(4 << 20))
	how := fmt.Sprintf("files of at most %d bytes", most)
	r := l.run(t, j.wordsOver(old), dir, func(cmd *exec.Cmd) {
		unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: most, Max: most}, nil)
	})
	l.refused(t, j, r, dir, how, old)
}

// refused checks a run that fails or, where the disturbance did not matter, is done.
func (l *lab) refused(t *testing.T, j *job, r result, dir, how string, old bool) {
	t.Helper()
	if r.status != 0 && r.status != 1 {
		t.Errorf("%s, %s: status %d\n%s", j.name, how, r.status, r.errs)
	}
	if r.status == 1 && !strings.Contains(r.errs, "peftconv ") {
		t.Errorf("%s, %s: no message\n%s", j.name, how, r.errs)
	}
	clean(t, j, filepath.Join(dir, "out"), how)
	l.settled(t, j, dir, how, old)
	l.goOn(t, j, dir, how)
}

// mounted makes a small file system of a run's output directory; the function it returns takes it away. nil where that
// is not possible.
func (l *lab) mounted(t *testing.T, dir string, bytes int64) func() {
	t.Helper()
	out := filepath.Join(dir, "out")
	if err := unix.Mount("tmpfs", out, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Logf("no file system can be mounted: %v", err)
		return nil
	}
	return func() {
		if err := unix.Unmount(out, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}
}

func full(l *lab, t *testing.T, j *job) {
	dir := l.begin(t, j, false, false)
	defer os.RemoveAll(dir)
	size := int64(l.r.IntN(8 << 20))
	if j.inPlace {
		size = int64(len(demo.BaseGGUF())) + 64<<10 + int64(l.r.IntN(1<<20))
	}
	size += 4096
	unmount := l.mounted(t, dir, size)
	if unmount == nil {
		return
	}
	defer unmount()
	out := filepath.Join(dir, "out")
	l.fill(t, j, dir, false)
	how := fmt.Sprintf("a disk of %d bytes", size)
	r := l.run(t, j.words, dir, nil)
	if r.status != 0 && r.status != 1 {
		t.Errorf("%s, %s: status %d\n%s", j.name, how, r.status, r.errs)
	}
	clean(t, j, out, how)
	l.settled(t, j, dir, how, false)
	if err := unix.Mount("tmpfs", out, "tmpfs", unix.MS_REMOUNT, "size=64M"); err != nil {
		t.Error(err)
	}
	l.goOn(t, j, dir, how)
}

func readOnly(l *lab, t *testing.T, j *job) {
	dir := l.begin(t, j, false, false)
	defer os.RemoveAll(dir)
	unmount := l.mounted(t, dir, 64<<20)
	if unmount == nil {
		return
	}
	defer unmount()
	out := filepath.Join(dir, "out")
	l.fill(t, j, dir, false)
	if err := unix.Mount("tmpfs", out, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Error(err)
	}
	r := l.run(t, j.words, dir, nil)
	if j.other != "" && r.status != 1 {
		t.Errorf("%s, read-only: status %d\n%s", j.name, r.status, r.errs)
	}
	if err := unix.Mount("tmpfs", out, "tmpfs", unix.MS_REMOUNT, ""); err != nil {
		t.Error(err)
	}
	l.settled(t, j, dir, "read-only", false)
	l.goOn(t, j, dir, "read-only")
}

// shortened cuts the base at a random place while it is read.
func shortened(l *lab, t *testing.T, j *job) {
	old := l.old()
	dir := l.begin(t, j, old, true)
	defer os.RemoveAll(dir)
	base := filepath.Join(dir, "base.gguf")
	after, size := l.moment(j), l.r.Int64N(int64(len(demo.BaseGGUF())))
	how := fmt.Sprintf("a base of %d bytes after %v", size, after)
	r := l.run(t, j.wordsOver(old), dir, func(*exec.Cmd) {
		time.Sleep(after)
		os.Truncate(base, size)
	})
	put(t, base, demo.BaseGGUF())
	l.refused(t, j, r, dir, how, old)
	if r.status == 1 && strings.Contains(j.words, "BASE") && !strings.Contains(r.errs, "base.gguf") {
		t.Errorf("%s, %s: the file is not named\n%s", j.name, how, r.errs)
	}
}

// unreadable has the reads of the base fail from a byte on, from a moment on.
func unreadable(l *lab, t *testing.T, j *job) {
	old := l.old()
	dir := l.begin(t, j, old, false)
	defer os.RemoveAll(dir)
	failing, err := mountFailing(dir, demo.BaseGGUF())
	if err != nil {
		t.Logf("no reads that fail: %v", err)
		return
	}
	defer failing.unmount()
	after, from := l.moment(j)/2, l.r.Int64N(int64(len(demo.BaseGGUF())))
	how := fmt.Sprintf("reads that fail from byte %d on, after %v", from, after)
	base := filepath.Join(dir, "base.gguf") // by the same name, which is in results
	if err := errors.Join(os.Remove(base), os.Symlink(failing.path, base)); err != nil {
		t.Fatal(err)
	}
	r := l.run(t, j.wordsOver(old), dir, func(*exec.Cmd) {
		time.Sleep(after)
		failing.from.Store(from)
	})
	if err := errors.Join(os.Remove(base), os.Link(filepath.Join(l.dir, "lab", "base.gguf"), base)); err != nil {
		t.Fatal(err)
	}
	l.refused(t, j, r, dir, how, old)
}

// edited has another process edit the base while it is read: that is noticed, or makes no difference.
func edited(l *lab, t *testing.T, j *job) {
	old := l.old()
	dir := l.begin(t, j, old, true)
	defer os.RemoveAll(dir)
	after := l.moment(j)
	how := fmt.Sprintf("a base that is edited after %v", after)
	r := l.run(t, j.wordsOver(old), dir, func(*exec.Cmd) {
		time.Sleep(after)
		l.run(t, "edit BASE --set general.name=x", dir, nil)
	})
	// A new name is in the result of those that begin after the edit; it changes nothing that is compared else.
	if r.status == 0 {
		return
	}
	if strings.Contains(r.errs, "was changed by another program") || strings.Contains(r.errs, "SHA-256") {
		put(t, filepath.Join(dir, "base.gguf"), demo.BaseGGUF())
		l.refused(t, j, r, dir, how, old)
		return
	}
	t.Errorf("%s, %s: status %d\n%s", j.name, how, r.status, r.errs)
}
