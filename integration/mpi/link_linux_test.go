package mpi

import (
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// link are two network namespaces, as two hosts, and the wire between them: frames that one side's interface sends are
// received by the other's after a delay, at a rate, and but for a share that is lost.
type link struct {
	agent string // takes the place of ssh
	names [2]string
	lost  atomic.Bool // everything is
}

// wire says how frames travel.
type wire struct {
	delay time.Duration
	loss  float64
	rate  float64 // bits a second; 0: no limit
}

// links counts the links of this process, for names.
var links atomic.Int64

// newLink makes two hosts until the test ends. It skips where that is not possible.
func newLink(t *testing.T, w wire) *link {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	for _, name := range []string{"ip", "unshare"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(err)
		}
	}
	l := &link{}
	var sides [2]*os.File
	for i := range sides {
		l.names[i] = fmt.Sprintf("peftconv-%d-%d", os.Getpid(), links.Add(1))
		name := l.names[i]
		if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
			t.Skipf("ip netns add: %v: %s", err, out)
		}
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
		tap, err := tapIn(name)
		if err != nil {
			t.Skipf("a network interface: %v", err)
		}
		sides[i] = tap
		// Open MPI's launcher and daemons notice a cut wire by TCP alone.
		sysctl := exec.Command("ip", "netns", "exec", name, "sh", "-c", "echo 5 >/proc/sys/net/ipv4/tcp_retries2")
		if out, err := sysctl.CombinedOutput(); err != nil {
			t.Fatalf("net.ipv4.tcp_retries2: %v: %s", err, out)
		}
		for _, args := range []string{"link set lo up", "addr add " + address(i) + "/24 dev tap0", "link set tap0 up"} {
			c := exec.Command("ip", append([]string{"-n", name}, strings.Fields(args)...)...)
			if out, err := c.CombinedOutput(); err != nil {
				t.Fatalf("ip %s: %v: %s", args, err, out)
			}
		}
	}
	for i := range sides {
		go l.carry(sides[i], sides[1-i], w, int64(i))
	}
	t.Cleanup(func() {
		for _, f := range sides {
			f.Close()
		}
	})
	l.agent = filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(l.agent, []byte(`#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
case $1 in
`+address(0)+`) name=`+l.names[0]+` ;;
*) name=`+l.names[1]+` ;;
esac
shift
exec ip netns exec $name unshare -u sh -c "hostname $name; $*"
`), 0o777); err != nil {
		t.Fatal(err)
	}
	return l
}

// address is that of a host.
func address(i int) string { return fmt.Sprintf("10.91.0.%d", i+1) }

// tapIn makes a network interface in a namespace, whose frames the file gives and takes.
func tapIn(name string) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		f, err := func() (*os.File, error) {
			ns, err := unix.Open(filepath.Join("/run/netns", name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return nil, err
			}
			defer unix.Close(ns)
			if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
				return nil, err
			}
			fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			if err != nil {
				return nil, err
			}
			req, err := unix.NewIfreq("tap0")
			if err != nil {
				return nil, err
			}
			req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
			if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
				unix.Close(fd)
				return nil, err
			}
			return os.NewFile(uintptr(fd), name), nil
		}()
		made <- result{f, err}
	}()
	r := <-made
	return r.f, r.err
}

// mostQueued is how long a frame may wait for those before it; later ones are lost, as in a router.
const mostQueued = 40 * time.Millisecond

// carry moves frames from one side to the other until a file is closed.
func (l *link) carry(from, to *os.File, w wire, seed int64) {
	type frame struct {
		data []byte
		at   time.Time
	}
	frames := make(chan frame, 1<<14)
	defer close(frames)
	go func() {
		for f := range frames {
			time.Sleep(time.Until(f.at))
			_, _ = to.Write(f.data)
		}
	}()
	r := rand.New(rand.NewSource(seed))
	free := time.Now() // when the wire is
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		now := time.Now()
		if l.lost.Load() || r.Float64() < w.loss || free.Sub(now) > mostQueued {
			continue
		}
		if free.Before(now) {
			free = now
		}
		if w.rate > 0 {
			free = free.Add(time.Duration(float64(8*n) / w.rate * 1e9))
		}
		select {
		case frames <- frame{append([]byte(nil), buffer[:n]...), free.Add(w.delay)}:
		default:
		}
	}
}

// ranks is the command line of n ranks on each of the two hosts, and what its environment needs.
func (l *link) ranks(lib *library, n int, args ...string) (command, env []string) {
	hosts := fmt.Sprintf("%s:%d,%s:%d", address(0), n, address(1), n)
	var words []string
	switch lib.name {
	case "Open MPI":
		words = []string{"mpirun.openmpi", "--allow-run-as-root", "--bind-to", "none", "--mca", "plm_rsh_agent", l.agent,
			"--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", "tap0", "--mca", "oob_tcp_if_include", "tap0", "-host",
			hosts, "-x", "PEFTCONV_HEARTBEAT", "-x", "XDG_CACHE_HOME"}
	default:
		words = []string{"mpiexec.hydra", "-launcher", "ssh", "-launcher-exec", l.agent, "-iface", "tap0", "-hosts", hosts,
			"-localhost", address(0)}
		env = []string{"UCX_TLS=tcp,self", "UCX_NET_DEVICES=tap0"}
	}
	words = append(append(words, "-n", fmt.Sprint(2*n), lib.program), args...)
	for i, word := range words {
		words[i] = "'" + word + "'"
	}
	return []string{"ip", "netns", "exec", l.names[0], "unshare", "-u", "sh", "-c",
		"hostname " + l.names[0] + "; exec " + strings.Join(words, " ")}, env
}
