package merge

import (
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// TestMergeRoundings: of a change too small for any code stochastic rounding keeps the mean, and auto takes it;
// quantizing from scratch and nearest codes keep nothing.
func TestMergeRoundings(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.BlocksIn(gguf.Q4_0).WriteGGUF(t))
	a := pefttest.Trained(t, b, method.LoRA{Rank: 2})
	recovery := map[string]float64{}
	for _, rounding := range roundings {
		opt := Options{Rounding: rounding}
		if NeedsCalibration(rounding) {
			opt.Calibration = pefttest.Data(pefttest.TinyData(10, 1))
		}
		_, report := mergeTo(t, b, opt, attach.Scaled{Adapter: a, Scale: 0.05})
		recovery[rounding] = report.Recovery
		if report.BitExact {
			t.Errorf("%s: called bit-exact", rounding)
		}
	}
	for rounding, want := range map[string][2]float64{
		RoundAuto: {0.9, 1.1}, RoundDither: {0.9, 1.1}, RoundBoth: {0.9, 1.1},
		RoundNearest: {-0.1, 0.1}, RoundRequantize: {-0.1, 0.3}, RoundScales: {-0.1, 0.3},
	} {
		if r := recovery[rounding]; r < want[0] || r > want[1] {
			t.Errorf("%s keeps %.3f, expected %v", rounding, r, want)
		}
	}
	if err := (&Options{Rounding: "up"}).Check(); err == nil {
		t.Error("a rounding of no such name is taken")
	}
}
