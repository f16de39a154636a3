//go:build !purego

package kernels

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestTilesUnderSignals multiplies on many goroutines while signals arrive: of the profiler, of preemption, and of
// another process. What a signal interrupts must go on with the tile registers as they were.
func TestTilesUnderSignals(t *testing.T) {
	onTiles(t, func(t *testing.T) {
		const n, panels, workers = 64, 12, 16
		step := tileSide*n + factorRoom
		a, b := integerWords(panels*step, 1), integerWords(tileSide*n, 2)
		scaleA, scaleB := randoms(panels*step, 3), randoms(tileSide, 4)
		want, wantPairs := make([]float32, panels*tileSide*tileSide), make([]float32, panels*tileSide*tileSide)
		tilesOfBytesGeneric(panels, n, a, step, b, want, tileSide, false, scaleA, scaleB)
		pairsA, pairsB := words(panels*step, 5), words(tileSide*n, 6)
		tilesOfPairs(panels, n, pairsA, step, pairsB, wantPairs, tileSide, false)

		if err := pprof.StartCPUProfile(io.Discard); err != nil {
			t.Logf("another profile runs: %v", err)
		}
		defer pprof.StopCPUProfile()
		arrived := make(chan os.Signal, 1)
		signal.Notify(arrived, syscall.SIGUSR1)
		var stop atomic.Bool
		var signals, products atomic.Int64
		var wg sync.WaitGroup
		wg.Go(func() {
			for !stop.Load() {
				for range 50 {
					_ = syscall.Kill(syscall.Getpid(), syscall.SIGUSR1)
				}
				runtime.GC() // stops the world, which interrupts each thread
			}
		})
		counted := make(chan struct{})
		go func() {
			defer close(counted)
			for range arrived {
				signals.Add(1)
			}
		}()
		for range workers {
			wg.Go(func() {
				c, sums := make([]float32, len(want)), make([]float32, tileSide*tileSide)
				for !stop.Load() {
					clear(c)
					tilesOfBytes(panels, n, a, step, b, sums, c, tileSide, false, scaleA, scaleB)
					if !slices.Equal(c, want) {
						t.Error("a product of bytes is wrong under signals")
						return
					}
					tilesOfPairs(panels, n, pairsA, step, pairsB, c, tileSide, false)
					if !slices.Equal(c, wantPairs) {
						t.Error("a product of bfloat16 is wrong under signals")
						return
					}
					products.Add(2)
				}
			})
		}
		time.Sleep(time.Second)
		stop.Store(true)
		wg.Wait()
		signal.Stop(arrived)
		close(arrived)
		<-counted
		if signals.Load() == 0 || products.Load() == 0 {
			t.Errorf("%d signals arrived at %d products: nothing was tested", signals.Load(), products.Load())
		}
	})
}

// TestTilesPermission: without tiles the process does not ask for them.
func TestTilesPermission(t *testing.T) {
	if processorTier() != tierAMX {
		t.Skip("this machine has no tile registers (AMX)")
	}
	if os.Getenv("PEFTCONV_TEST_PERMISSION") != "" {
		const getPermission = 0x1022 // ARCH_GET_XCOMP_PERM
		var features uint64
		_, _, errno := unix.RawSyscall(unix.SYS_ARCH_PRCTL, getPermission, uintptr(unsafe.Pointer(&features)), 0)
		if errno != 0 {
			t.Fatal(errno)
		}
		did := map[bool]string{false: "refrains", true: "asked"}[features&(1<<18) != 0]
		_, _ = os.Stdout.WriteString(did + " " + Tier())
		return
	}
	for env, want := range map[string]string{"": "asked " + bestTier().String(), "avx512": "refrains avx512",
		"avx2": "refrains avx2"} {
		c := exec.Command(os.Args[0], "-test.run=^TestTilesPermission$")
		c.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PEFTCONV_TIER=") }),
			"PEFTCONV_TEST_PERMISSION=1", "PEFTCONV_TIER="+env)
		out, err := c.CombinedOutput()
		if err != nil || !bytes.HasPrefix(out, []byte(want)) {
			t.Errorf("with PEFTCONV_TIER=%s a process says %q (%v), expected %q", env, out, err, want)
		}
	}
}

// TestTilesRefused: where the system refuses, the tier below is used.
func TestTilesRefused(t *testing.T) {
	defer func(f func() bool) { allowTiles = f }(allowTiles)
	allowTiles = func() bool { return false }
	if got := permitted(tierAMX); got != tierAVX512 {
		t.Errorf("refused, the tier is %v, expected %v", got, tierAVX512)
	}
	if got := chooseTier(tierAMX, "avx512"); got != tierAVX512 {
		t.Errorf("PEFTCONV_TIER=avx512 chooses %v", got)
	}
	if got := permitted(tierAVX2); got != tierAVX2 {
		t.Errorf("refused, the tier avx2 becomes %v", got)
	}
}
