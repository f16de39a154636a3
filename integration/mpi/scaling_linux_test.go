package mpi

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peftconv/peftconv/internal/bench"
)

// TestScaling measures shared steps of two hosts over a slow wire, and compares them with the model of scaling. It says
// what it finds: times are those of a machine that does something else, too.
func TestScaling(t *testing.T) {
	needs(t)
	for _, rate := range []float64{20e6, 100e6} {
		l := newLink(t, wire{delay: time.Millisecond, rate: rate})
		for _, lib := range libraries {
			command, env := l.ranks(lib, 1, "bench", "--scaling", "--model", filepath.Join(dir, "base.gguf"), "--tokens", "256",
				"--parts", "3", "--steps", "6", "--precision", "f32", "--threads", "1", "--json", "--quiet")
			out, status := run(t, t.TempDir(), env, command...)
			from, to := strings.Index(out, "{"), strings.LastIndex(out, "}")
			if status != 0 || from < 0 || to < from || strings.Contains(out, "MPI_Finalize") {
				t.Fatalf("%s: status %d\n%s", lib.name, status, out)
			}
			var r bench.Report
			if err := json.Unmarshal([]byte(out[from:to+1]), &r); err != nil || len(r.Scaling) != 1 {
				t.Fatalf("%s: %v\n%s", lib.name, err, out)
			}
			s := r.Scaling[0]
			t.Logf("%s, %.0f Mbit/s: %.1f Mbit/s and %.1f ms measured; a step %.3f s: computing %.3f, waiting %.3f, "+
				"moving %.3f; by the model %.3f", lib.name, rate/1e6, s.Bandwidth*8/1e6, 1000*s.Latency, s.Seconds,
				s.Computing, s.Waiting, s.Moving, s.Expected)
			if s.Ranks != 2 || s.Steps != 6 || s.Bandwidth <= 0 || s.Bandwidth > 1.2*rate/8 || s.Latency < 1e-3 ||
				s.Seconds < s.Computing || s.Expected <= 0 || len(s.Predictions) != 12 {
				t.Errorf("%s: %+v", lib.name, s)
			}
		}
	}
}
