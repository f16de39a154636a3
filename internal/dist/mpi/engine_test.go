//go:build mpi

package mpi

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/peftconv/peftconv/internal/dist"
)

// TestMain is a rank where a launcher has started the test's program.
func TestMain(m *testing.M) {
	if dist.Launched().Launcher == "" {
		os.Exit(m.Run())
	}
	w, err := dist.Join()
	if err == nil {
		err = rank(w)
	}
	if err != nil {
		fmt.Println("failed:", err)
		w.Leave(1)
		os.Exit(1)
	}
	w.Leave(0)
}

// rank does what a rank of the tests does.
func rank(w dist.World) error {
	ctx := context.Background()
	const n, count = 100003, 7
	s, err := dist.NewSum(w, [][]dist.Range{{{From: 100, To: n}}, {{From: 0, To: 100}}})
	if err != nil {
		return err
	}
	v := make([]float32, n)
	for range 3 {
		s.Begin(ctx, count)
		for i := w.Rank(); i < count; i += w.Size() {
			for j := range v {
				v[j] = 1 / float32(1+i+j)
			}
			if err := s.Ready(1, v); err != nil {
				return err
			}
			if err := s.End(v); err != nil {
				return err
			}
		}
		if err := s.Finish(v); err != nil {
			return err
		}
		for j := range v {
			var sum float32
			for i := range count {
				sum += 1 / float32(1+i+j)
			}
			if v[j] != sum {
				return fmt.Errorf("value %d is %v, expected %v", j, v[j], sum)
			}
		}
	}
	text := []byte("????")
	if w.Rank() == 0 {
		copy(text, "text")
	}
	if err := w.Broadcast(text).Wait(ctx); err != nil || string(text) != "text" {
		return fmt.Errorf("broadcast gave %q, %v", text, err)
	}
	switch name := os.Getenv("PEFTCONV_TEST"); {
	case name == "hang" && w.Rank() == 1:
		exec.Command("kill", "-STOP", fmt.Sprint(os.Getpid())).Run()
	case name == "hang":
		return w.Barrier().Wait(ctx)
	case name == "interrupt" && w.Rank() == 1:
		w.Interrupt()
		w.Leave(interrupted)
	case name == "interrupt":
		<-w.Interrupted()
		if w.Rank() == 0 {
			time.Sleep(500 * time.Millisecond) // as if it saved
			fmt.Println("saved")
		}
		w.Leave(interrupted)
	}
	fmt.Printf("rank %d of %d has %d threads\n", w.Rank(), w.Size(), w.Threads())
	return nil
}

// launch runs the test's program as several ranks. It skips where there is no launcher.
func launch(t *testing.T, n int, env ...string) (out string, status int) {
	t.Helper()
	names := []string{"mpirun.openmpi", "--allow-run-as-root", "--oversubscribe"}
	if strings.HasPrefix(Library(), "MPICH") {
		names = []string{"mpiexec.hydra"}
	}
	if _, err := exec.LookPath(names[0]); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, names[0], append(names[1:], "-n", fmt.Sprint(n), os.Args[0])...)
	c.Env = append(os.Environ(), env...)
	var text bytes.Buffer
	c.Stdout, c.Stderr = &text, &text
	err := c.Run()
	if ctx.Err() != nil {
		t.Fatalf("it did not end:\n%s", text.String())
	}
	if c.ProcessState == nil {
		t.Fatal(err)
	}
	return text.String(), c.ProcessState.ExitCode()
}

// TestRanks sums, gathers and broadcasts among one to four ranks.
func TestRanks(t *testing.T) {
	for n := 1; n <= 4; n++ {
		out, status := launch(t, n)
		if status != 0 || strings.Count(out, "threads") != n || strings.Contains(out, "failed") {
			t.Errorf("%d ranks: status %d\n%s", n, status, out)
		}
	}
}

// TestHang wants a rank that stands still to end all.
func TestHang(t *testing.T) {
	start := time.Now()
	out, status := launch(t, 3, "PEFTCONV_TEST=hang", "PEFTCONV_HEARTBEAT=3")
	if status != 1 || !strings.Contains(out, "rank 1 of 3 on ") || !strings.Contains(out, "no sign of life for") {
		t.Errorf("status %d after %v\n%s", status, time.Since(start), out)
	}
}

// TestInterrupt wants all ranks to hear of an interruption, and rank 0 to have time to save.
func TestInterrupt(t *testing.T) {
	out, status := launch(t, 3, "PEFTCONV_TEST=interrupt")
	if status != interrupted || !strings.Contains(out, "saved") {
		t.Errorf("status %d\n%s", status, out)
	}
}
