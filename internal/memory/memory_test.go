package memory

import (
	"fmt"
	"slices"
	"testing"
	"testing/fstest"
)

const (
	gb = 1 << 30
	// mount points of version 2 alone, of version 1, and of both
	v2Mount = "30 22 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
	v1Mount = "29 22 0:26 / / rw - ext4 /dev/vda rw\n31 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" +
		"34 30 0:31 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
	hybridMount = v1Mount + "40 30 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)

// tree is a made-up system with 16 GB available; files are added to it.
func tree(mounts, groups string, files map[string]string) *system {
	root := fstest.MapFS{
		"proc/meminfo":        {Data: []byte("MemTotal: 33554432 kB\nMemFree: 1 kB\nMemAvailable:   16777216 kB\n")},
		"proc/self/status":    {Data: []byte("VmPeak:\t 9999 kB\nVmSize:\t 3145728 kB\nVmData:\t 1048576 kB\n")},
		"proc/self/mountinfo": {Data: []byte(mounts)},
		"proc/self/cgroup":    {Data: []byte(groups)},
	}
	for name, text := range files {
		root["sys/fs/cgroup/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	return &system{root: root, addresses: unlimited, data: unlimited, goLimit: unlimited}
}

func bytesOf(n float64) string { return fmt.Sprintf("%.0f\n", n*gb) }

func TestControlGroups(t *testing.T) {
	stat := func(prefix string) string {
		return fmt.Sprintf("cache 1\n%sinactive_file %d\n%sactive_file %d\n", prefix, 1*gb, prefix, gb/2)
	}
	for name, c := range map[string]struct {
		system *system
		want   float64 // GB
	}{
		"none": {tree("", "", nil), 16},
		"no limits": {tree(v2Mount, "0::/a\n", map[string]string{
			"a/memory.max": "max\n", "a/memory.current": bytesOf(1)}), 16},
		"v2": {tree(v2Mount, "0::/a\n", map[string]string{
			"a/memory.max": bytesOf(4), "a/memory.high": "max\n", "a/memory.current": bytesOf(2.5), "a/memory.stat": stat(""),
		}), 3},
		"v2, nested, the limit of the middle": {tree(v2Mount, "0::/a/b/c\n", map[string]string{
			"a/memory.max": bytesOf(9), "a/memory.current": bytesOf(1),
			"a/b/memory.max": bytesOf(3), "a/b/memory.current": bytesOf(1),
			"a/b/c/memory.max": "max\n", "a/b/c/memory.current": bytesOf(0.5),
		}), 2},
		"v2, throttled": {tree(v2Mount, "0::/\n", map[string]string{
			"memory.max": bytesOf(9), "memory.high": bytesOf(5), "memory.current": bytesOf(1)}), 4},
		"v2 in a container that sees its own group": {tree(
			"30 22 0:27 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "0::/docker/x\n",
			map[string]string{"memory.max": bytesOf(2), "memory.current": bytesOf(1)}), 1},
		"v2, outside of the name space": {tree(v2Mount, "0::/../../a\n", map[string]string{
			"memory.max": bytesOf(2), "memory.current": bytesOf(1)}), 1},
		"used up": {tree(v2Mount, "0::/a\n", map[string]string{
			"a/memory.max": bytesOf(1), "a/memory.current": bytesOf(2)}), 0},
		"v1": {tree(v1Mount, "4:memory:/a\n1:cpu:/\n0::/\n", map[string]string{
			"memory/a/memory.limit_in_bytes": bytesOf(4), "memory/a/memory.usage_in_bytes": bytesOf(2.5),
			"memory/a/memory.stat": stat("total_"),
		}), 3},
		"v1, no limit": {tree(v1Mount, "4:cpu,memory:/a\n", map[string]string{
			"memory/a/memory.limit_in_bytes": "9223372036854771712\n", "memory/a/memory.usage_in_bytes": bytesOf(2),
			"memory/a/memory.stat": "hierarchical_memory_limit 9223372036854771712\n",
		}), 16},
		"v1, a limit above the container": {tree(v1Mount, "4:memory:/\n", map[string]string{
			"memory/memory.limit_in_bytes": "9223372036854771712\n", "memory/memory.usage_in_bytes": bytesOf(2),
			"memory/memory.stat": fmt.Sprintf("hierarchical_memory_limit %d\n", 5*gb),
		}), 3},
		"hybrid": {tree(hybridMount, "4:memory:/a/b\n0::/a/b\n", map[string]string{
			"memory/a/memory.limit_in_bytes": bytesOf(6), "memory/a/memory.usage_in_bytes": bytesOf(2),
			"unified/a/b/cgroup.procs": "",
		}), 4},
	} {
		if got, known := c.system.available(0); !known || got != int64(c.want*gb) {
			t.Errorf("%s: %.2f GB available (%v), want %.2f", name, float64(got)/gb, known, c.want)
		}
	}
}

// TestLimits takes limits of the process, which holds 3 GB of addresses and 1 GB of data of its own.
func TestLimits(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*system)
		mapped int64
		want   float64
	}{
		"ulimit -v":                      {func(s *system) { s.addresses = 5 * gb }, 0, 2},
		"ulimit -v, with a mapped model": {func(s *system) { s.addresses = 5 * gb }, 2 * gb, 4},
		"ulimit -d":                      {func(s *system) { s.data = 5 * gb }, 0, 4},
		"GOMEMLIMIT":                     {func(s *system) { s.goLimit, s.goUsed = 3*gb, gb }, 0, 2},
		"both":                           {func(s *system) { s.addresses, s.data = 9*gb, 2*gb }, 0, 1},
		"more than there is":             {func(s *system) { s.addresses = 99 * gb }, 0, 16},
	} {
		s := tree("", "", nil)
		c.change(s)
		if got, known := s.available(c.mapped); !known || got != int64(c.want*gb) {
			t.Errorf("%s: %.2f GB available (%v), want %.2f", name, float64(got)/gb, known, c.want)
		}
	}
	nothing := system{root: fstest.MapFS{}, addresses: 1 * gb, data: 1 * gb, goLimit: unlimited}
	if got, known := nothing.available(0); known || got != Unknown {
		t.Errorf("where nothing is known %d bytes are available, %v", got, known)
	}
}

func TestThisMachine(t *testing.T) {
	if n, _ := Available(0); n < 0 {
		t.Errorf("%d bytes are available", n)
	}
	if n, ok := Status("VmHWM"); ok && n < 1<<20 {
		t.Errorf("VmHWM is %d", n)
	}
}

// TestLeft wants each limit with its name.
func TestLeft(t *testing.T) {
	s := tree(v2Mount, "0::/a\n", map[string]string{"a/memory.max": bytesOf(4), "a/memory.current": bytesOf(1)})
	s.goLimit, s.goUsed = 9*gb, gb
	want := []Left{{"the machine", 32 * gb, 16 * gb}, {"a control group", 4 * gb, 3 * gb}, {"GOMEMLIMIT", 9 * gb, 8 * gb}}
	if got := s.left(0); !slices.Equal(got, want) {
		t.Errorf("the limits are %v, want %v", got, want)
	}
}
