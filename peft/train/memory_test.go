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
