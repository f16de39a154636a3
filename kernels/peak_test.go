package kernels

import (
	"math"
	"testing"
)

func TestPeak(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, p := range []Precision{F32, BF16, Int8} {
			if peak := Peak(p); peak < 0.01 || math.IsInf(peak, 0) {
				t.Errorf("the peak in %v is %v GFLOP/s", p, peak)
			}
		}
	})
}

func TestBandwidth(t *testing.T) {
	if testing.Short() {
		t.Skip("memory is not measured in short tests")
	}
	if rate := Bandwidth(); rate < 0.01 || math.IsInf(rate, 0) {
		t.Errorf("memory is read at %v GB/s", rate)
	}
}

// BenchmarkPeak prints what the machine can do.
func BenchmarkPeak(b *testing.B) {
	benchmarkTiersAndThreads(b, func(b *testing.B, threads int) {
		setThreads(b, threads)
		for b.Loop() {
			b.ReportMetric(Peak(F32), "f32-GFLOP/s")
			b.ReportMetric(Peak(BF16), "bf16-GFLOP/s")
			b.ReportMetric(Peak(Int8), "int8-GOP/s")
		}
		b.ReportMetric(Bandwidth(), "GB/s")
	})
}
