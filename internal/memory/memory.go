// Package memory says how much memory the process can still take: the least that is left of the machine, of the control
// groups that it is in, of its own limits (ulimit) and of GOMEMLIMIT.
package memory

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
)

// Unknown is what is taken to be available where the system does not say.
const Unknown = 2 << 30

// Available is what the process can still take, in bytes; where nothing is known it is a guess. mapped are the bytes of
// mapped files that the caller will compare with it although they are mapped already.
func Available(mapped int64) (bytes int64, known bool) {
	return thisSystem().available(mapped)
}

// thisSystem is what is known here.
func thisSystem() *system {
	goUsed := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(goUsed)
	return &system{
		root: os.DirFS("/"), addresses: addressLimit(), data: dataLimit(), goLimit: debug.SetMemoryLimit(-1),
		goUsed: int64(goUsed[0].Value.Uint64() - goUsed[1].Value.Uint64()),
	}
}

// Status is a size in /proc/self/status, such as VmHWM, in bytes.
func Status(key string) (int64, bool) { return lineOf(os.DirFS("/"), "proc/self/status", key+":") }

// unlimited is a limit that is none, or larger than any machine.
const unlimited = math.MaxInt64

// system is what is known of the machine and of the limits of the process.
type system struct {
	root            fs.FS // the files of Linux
	addresses, data int64 // limits of the address space and of private memory
	goLimit, goUsed int64 // GOMEMLIMIT, and what counts towards it
}

// available is the least that any limit leaves.
func (s *system) available(mapped int64) (least int64, known bool) {
	left := s.left(mapped)
	if len(left) == 0 {
		return Unknown, false
	}
	return slices.MinFunc(left, func(a, b Left) int { return cmp.Compare(a.Bytes, b.Bytes) }).Bytes, true
}

// Left is what one limit leaves of the memory that the process can take.
type Left struct {
	By    string `json:"by"`          // the machine, a control group, ulimit -v, ulimit -d or GOMEMLIMIT
	Limit int64  `json:"limit_bytes"` // of the machine all of its memory
	Bytes int64  `json:"left_bytes"`
}

// What Left.By calls the machine itself, and a control group.
const (
	Machine      = "the machine"
	controlGroup = "a control group"
)

// Limits are what each limit that is known leaves, control groups from the process's own up to the root.
func Limits() []Left { return thisSystem().left(0) }

// left is what each limit leaves.
func (s *system) left(mapped int64) (all []Left) {
	leaves := func(by string, limit, left int64) { all = append(all, Left{by, limit, max(left, 0)}) }
	if free, ok := lineOf(s.root, "proc/meminfo", "MemAvailable:"); ok {
		total, _ := lineOf(s.root, "proc/meminfo", "MemTotal:")
		leaves(Machine, total, free)
	}
	s.groups(leaves)
	// Of these limits a mapped file takes its part when it is mapped, or never.
	if used, ok := lineOf(s.root, "proc/self/status", "VmSize:"); ok && s.addresses < unlimited {
		leaves("ulimit -v", s.addresses, s.addresses-used+mapped)
	}
	if used, ok := lineOf(s.root, "proc/self/status", "VmData:"); ok && s.data < unlimited {
		leaves("ulimit -d", s.data, s.data-used+mapped)
	}
	if s.goLimit < unlimited {
		leaves("GOMEMLIMIT", s.goLimit, s.goLimit-s.goUsed+mapped)
	}
	return all
}

// groups calls leaves for each control group that the process is in, from its own up to the root.
func (s *system) groups(leaves func(by string, limit, left int64)) {
	mounts := s.mounts()
	for _, line := range lines(s.root, "proc/self/cgroup") {
		parts := strings.SplitN(line, ":", 3) // number:controllers:path
		if len(parts) < 3 {
			continue
		}
		v2 := parts[0] == "0" && parts[1] == ""
		for _, m := range mounts {
			if v2 && m.kind == "cgroup2" || !v2 && m.kind == "cgroup" && has(parts[1], "memory") && has(m.options, "memory") {
				s.walk(m, parts[2], v2, leaves)
			}
		}
	}
}

// mount is where a hierarchy of control groups is mounted: the group root of it, at the folder at.
type mount struct{ root, at, kind, options string }

// mounts are those of all hierarchies.
func (s *system) mounts() (all []mount) {
	for _, line := range lines(s.root, "proc/self/mountinfo") {
		before, after, ok := strings.Cut(line, " - ")
		place, kind := strings.Fields(before), strings.Fields(after)
		if ok && len(place) >= 5 && len(kind) >= 3 && strings.HasPrefix(kind[0], "cgroup") {
			all = append(all, mount{place[3], place[4], kind[0], kind[2]})
		}
	}
	return all
}

// walk goes from a group up to the root of its mount. What is above a group whose folder cannot be seen is looked at
// all the same.
func (s *system) walk(m mount, group string, v2 bool, leaves func(by string, limit, left int64)) {
	below := strings.TrimPrefix(path.Clean("/"+group), strings.TrimSuffix(m.root, "/"))
	for at := path.Clean("/" + below); ; at = path.Dir(at) {
		s.group(strings.TrimPrefix(path.Join(m.at, at), "/"), v2, leaves)
		if at == "/" {
			return
		}
	}
}

// group is what the limits of one group leave. The pages of files that it holds do not count as used: they are given up
// before anything else.
func (s *system) group(dir string, v2 bool, leaves func(by string, limit, left int64)) {
	limits, usage, prefix := []string{"memory.limit_in_bytes"}, "memory.usage_in_bytes", "total_"
	if v2 {
		limits, usage, prefix = []string{"memory.max", "memory.high"}, "memory.current", ""
	}
	used, ok := s.number(path.Join(dir, usage))
	if !ok {
		return
	}
	for _, list := range []string{"inactive_file", "active_file"} {
		pages, _ := valueOf(s.root, path.Join(dir, "memory.stat"), prefix+list)
		used -= pages
	}
	for _, name := range limits {
		if limit, ok := s.number(path.Join(dir, name)); ok && limit < 1<<60 { // v1 has none as a very large number
			leaves(controlGroup, limit, limit-max(used, 0))
		}
	}
	if limit, ok := valueOf(s.root, path.Join(dir, "memory.stat"), "hierarchical_memory_limit"); ok && limit < 1<<60 {
		leaves(controlGroup, limit, limit-max(used, 0)) // of groups above that are not seen from here
	}
}

// number is the whole number that a file holds; "max" is none.
func (s *system) number(name string) (int64, bool) {
	text, err := fs.ReadFile(s.root, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	return n, err == nil
}

// lineOf is the size in KiB on the line of a file that begins with a key, in bytes.
func lineOf(root fs.FS, name, key string) (int64, bool) {
	kib, ok := valueOf(root, name, key)
	return kib << 10, ok && kib < 1<<53
}

// valueOf is the number that follows a key on a line of a file.
func valueOf(root fs.FS, name, key string) (int64, bool) {
	for _, line := range lines(root, name) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == key {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			return n, err == nil && n >= 0
		}
	}
	return 0, false
}

// lines are those of a file, none where there is no file.
func lines(root fs.FS, name string) (all []string) {
	f, err := root.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	for scanner := bufio.NewScanner(f); scanner.Scan(); {
		all = append(all, scanner.Text())
	}
	return all
}

// has says whether a list, separated by commas, has a word.
func has(list, word string) bool { return slices.Contains(strings.Split(list, ","), word) }

// Short is the error of work that is not begun because it needs more memory than there is.
type Short struct {
	What              string // what needs it
	Needed, Available int64  // bytes
}

// Error says how much memory is missing.
func (e *Short) Error() string {
	const mb = 1e6
	return fmt.Sprintf("%s needs about %.0f MB of memory, and %.0f MB are available", e.What, float64(e.Needed)/mb,
		float64(e.Available)/mb)
}

// Check is an error where work needs more bytes than the process can still take, pages of mapped files aside, which the
// system can give up and read again.
func Check(what string, needed int64) error {
	if available, known := Available(0); known && needed > available {
		return &Short{what, needed, available}
	}
	return nil
}
