package kernels

import (
	"os"
	"slices"
	"testing"
)

// eachTier runs f on every tier that this processor has. PEFTCONV_TEST_TIER names one that it must have.
func eachTier(t *testing.T, f func(t *testing.T)) {
	was := current
	t.Cleanup(func() { current = was })
	for tr := range bestTier() + 1 {
		if tierExists(tr) {
			current = tr
			t.Run(tr.String(), f)
		}
	}
}

func TestRequiredTier(t *testing.T) {
	if want := os.Getenv("PEFTCONV_TEST_TIER"); want != "" && bestTier().String() != want {
		t.Fatalf("the best tier here is %s, PEFTCONV_TEST_TIER demands %s", bestTier(), want)
	}
}

func TestChooseTier(t *testing.T) {
	for _, c := range []struct {
		best tier
		name string
		want tier
	}{
		{tierAVX512, "", tierAVX512},
		{tierAVX512, "generic", tierGeneric},
		{tierAVX512, "no such tier", tierAVX512},
		{tierAVX512, "avx512", tierAVX512},
		{tierAMX, "amx", tierAMX},
		{tierAVX512, "amx", tierAVX512},
		{tierGeneric, "avx512", tierGeneric},
		{tierGeneric, "generic", tierGeneric},
	} {
		if got := chooseTier(c.best, c.name); got != c.want {
			t.Errorf("chooseTier(%v, %q) = %v, want %v", c.best, c.name, got, c.want)
		}
	}
}

func TestTier(t *testing.T) {
	if Tier() != current.String() {
		t.Errorf("Tier() = %q, want %q", Tier(), current.String())
	}
}

// TestFeatures: what is missing is of the tier above the best one that the processor has.
func TestFeatures(t *testing.T) {
	has, better, lacks := Features()
	if (better == "") != (len(lacks) == 0) {
		t.Errorf("for tier %q the processor lacks %q", better, lacks)
	}
	for _, f := range features {
		if f.has != slices.Contains(has, f.name) || f.has && slices.Contains(lacks, f.name) {
			t.Errorf("%s: there is %v, has %q, lacks %q", f.name, f.has, has, lacks)
		}
		if f.tier.String() == better && f.tier <= processorTier() {
			t.Errorf("%s is better than %s", better, processorTier())
		}
	}
}
