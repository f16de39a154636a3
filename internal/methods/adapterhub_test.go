package methods_test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// TestAdapterHub writes and reads AdapterHub's layout.
func TestAdapterHub(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	for _, opt := range []method.Bottleneck{
		{Placement: method.SerialHoulsby, Bottleneck: 5, Activation: "gelu"},
		{Placement: method.SerialPfeiffer, Bottleneck: 7, Input: method.InputStream, Layers: "1"},
		{Placement: method.Parallel, Bottleneck: 32, Input: method.InputStream, Scale: 4,
			Parts: []string{"attention"}, Activation: "relu"},
	} {
		t.Run(opt.Placement, func(t *testing.T) {
			a, err := methods.NewBottleneck(b, opt)
			if err != nil {
				t.Fatal(err)
			}
			pefttest.Stir(a, 1)
			dir := filepath.Join(t.TempDir(), "hub")
			if err := methods.SaveAdapterHub(a, dir, b); err != nil {
				t.Fatal(err)
			}
			again, err := attach.Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(again.Flat, a.Flat) {
				t.Error("the values differ")
			}
			seq := pefttest.Packed(pefttest.TinyData(2, 8))
			first, second := pefttest.BindOne(t, a, b), pefttest.BindOne(t, again, b)
			if !slices.Equal(pefttest.AllLogits(b, first, seq), pefttest.AllLogits(b, second, seq)) {
				t.Error("read again it computes something else")
			}
		})
	}
}

// TestAdapterHubRefused: what AdapterHub cannot compute is not written, what we cannot compute is not read.
func TestAdapterHubRefused(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	for want, opt := range map[string]method.Bottleneck{
		"reads the stream as it is there": {},
		"no gated bottleneck":             {Activation: "swiglu", Input: method.InputStream},
	} {
		a, err := methods.NewBottleneck(b, opt)
		if err != nil {
			t.Fatal(err)
		}
		if err := methods.SaveAdapterHub(a, filepath.Join(t.TempDir(), "hub"), b); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected %q", err, want)
		}
	}
	a, err := methods.NewBottleneck(b, method.Bottleneck{Placement: method.SerialHoulsby})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "hub")
	if err := methods.SaveAdapterHub(a, dir, b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, attach.ConfigFile)
	config := string(pefttest.FileBytes(t, path))
	for _, c := range [][3]string{
		{`"ln_before": false`, `"ln_before": true`, "ln_before is not supported"},
		{`"architecture": null`, `"architecture": "prefix_tuning"`, `architecture "prefix_tuning"`},
		{`"non_linearity": "swish"`, `"non_linearity": "leakyrelu"`, `non_linearity "leakyrelu"`},
		{`"reduction_factor": 1`, `"reduction_factor": {"1": 16}`, `"config.reduction_factor" is a object`},
		{`"inv_adapter": null`, `"inv_adapter": "nice"`, "inv_adapter"},
		{`"reduction_factor": 1`, `"reduction_factor": 2`, "has shape"},
	} {
		if !strings.Contains(config, c[0]) {
			t.Fatalf("%s is not in %s", c[0], config)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(config, c[0], c[1], 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := attach.Load(dir); err == nil || !strings.Contains(err.Error(), c[2]) {
			t.Errorf("%s: error %v, expected %q", c[1], err, c[2])
		}
	}
}

func TestReductionFactor(t *testing.T) {
	for width := 1; width < 300; width++ {
		for bottleneck := 1; bottleneck <= width; bottleneck++ {
			if got := math.Floor(float64(width) / methods.ReductionFactor(width, bottleneck)); got != float64(bottleneck) {
				t.Fatalf("width %d, bottleneck %d gives %v", width, bottleneck, got)
			}
		}
	}
}
