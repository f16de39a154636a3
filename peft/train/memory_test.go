package train

import (
	"math"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/pefttest"
)

func TestKeepsActivations(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	for _, c := range []struct {
		mode   string
		tokens int
		want   bool
	}{
		{RecomputeAlways, 1, false}, {RecomputeNever, math.MaxInt32, true}, {RecomputeAuto, 1, true}, {"", 1, true},
		{RecomputeAuto, math.MaxInt32, false},
	} {
		got, err := keepsActivations(b, c.mode, c.tokens)
		if err != nil || got != c.want {
			t.Errorf("%q with %d tokens gives %v, %v; want %v", c.mode, c.tokens, got, err, c.want)
		}
	}
	if _, err := keepsActivations(b, "sometimes", 1); err == nil || !strings.Contains(err.Error(), `"sometimes"`) {
		t.Errorf("an unknown mode gives %v", err)
	}
}

func TestKibibytes(t *testing.T) {
	text := []byte("MemTotal:       24683648 kB\nMemFree:         123 kB\nMemAvailable:   22000000 kB\n")
	if n, ok := kibibytes(text, "MemAvailable:"); !ok || n != 22000000 {
		t.Errorf("found %d, %v", n, ok)
	}
	if _, ok := kibibytes(text[:20], "MemAvailable:"); ok {
		t.Error("found what is not there")
	}
	if n, _ := availableMemory(); n <= 0 {
		t.Error("no memory is available")
	}
}
