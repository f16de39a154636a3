package recurrent

import (
	"fmt"
	"testing"
	"time"
)

// bench reports the best of all runs: on a shared machine the mean says more about the neighbours.
func bench(b *testing.B, what string, rows int, flops float64, f func()) {
	b.Run(fmt.Sprintf("%s/T=%d", what, rows), func(b *testing.B) {
		f()
		best := time.Hour
		for b.Loop() {
			start := time.Now()
			f()
			best = min(best, time.Since(start))
		}
		b.ReportMetric(flops/best.Seconds()/1e9, "GFLOP/s")
		b.ReportMetric(float64(best.Microseconds())/1e3, "ms")
	})
}
