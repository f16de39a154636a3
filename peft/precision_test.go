package peft_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/quantize"
	"github.com/peftconv/peftconv/internal/demo"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/peft/train"
)

// precisionBases are trained models, so that their losses are meaningful.
func precisionBases(t *testing.T) map[string]string {
	built := filepath.Join(t.TempDir(), "base.gguf")
	if err := os.WriteFile(built, demo.BaseGGUF(), 0o600); err != nil {
		t.Fatal(err)
	}
	paths := map[string]string{"built-in": built}
	if testing.Short() {
		return paths
	}
	t.Run("stories", func(t *testing.T) { paths["stories"] = testdata.Shared(t, "models/stories260K.gguf") })
	return paths
}

// lossCurve trains a LoRA on text and gives the loss of every step.
func lossCurve(t *testing.T, path, precision string) []float64 {
	t.Helper()
	b, err := peft.OpenBase(path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	a, err := peft.New(b, method.LoRA{Rank: 8})
	if err != nil {
		t.Fatal(err)
	}
	return curveOf(t, b, a, precision)
}

// curveOf trains an adapter on text and gives the loss of every step.
func curveOf(t *testing.T, b *peft.Base, a *peft.Adapter, precision string) []float64 {
	t.Helper()
	text := filepath.Join(t.TempDir(), "text.txt")
	if err := os.WriteFile(text, demo.OwlTextTrain()[:12000], 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := peft.LoadData(text, b, peft.DataOptions{SeqLen: 128})
	if err != nil {
		t.Fatal(err)
	}
	var losses []float64
	_, err = train.Run(context.Background(), b, a, set, nil, train.Options{
		Steps: 40, BatchTokens: 512, LR: 0.001, Precision: precision, Clip: 1,
		Observer: train.OnStep(func(p train.Progress) { losses = append(losses, p.Loss) }),
	})
	if err != nil {
		t.Fatal(err)
	}
	return losses
}

// smooth is the mean of each eight neighbouring losses.
func smooth(losses []float64) []float64 {
	const width = 8
	var curve []float64
	for i := width; i <= len(losses); i++ {
		sum := 0.0
		for _, loss := range losses[i-width : i] {
			sum += loss
		}
		curve = append(curve, sum/width)
	}
	return curve
}

// TestPrecisionFollows wants the curve of the losses with products in fewer bits within 1 % of that in float32, while
// the losses fall.
func TestPrecisionFollows(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a quarter of a minute")
	}
	for name, path := range precisionBases(t) {
		curves := map[string][]float64{}
		for _, precision := range precisions {
			curves[precision] = smooth(lossCurve(t, path, precision))
		}
		compareCurves(t, name, curves)
	}
}

var precisions = []string{train.PrecisionF32, train.PrecisionBF16, train.PrecisionInt8}

// compareCurves wants the losses of all precisions within 1 % of those in float32, which fall.
func compareCurves(t *testing.T, name string, curves map[string][]float64) {
	t.Helper()
	exact := curves[train.PrecisionF32]
	if last := exact[len(exact)-1]; last > 0.9*exact[0] {
		t.Errorf("%s: the loss fell from %g to %g only", name, exact[0], last)
	}
	for _, precision := range precisions[1:] {
		worst := 0.0
		for i, loss := range curves[precision] {
			worst = max(worst, math.Abs(loss/exact[i]-1))
		}
		t.Logf("%s in %s: at most %.3f %% from float32", name, precision, 100*worst)
		if !(worst < 0.01) {
			t.Errorf("%s in %s: losses stray by %.2f %% from those in float32", name, precision, 100*worst)
		}
	}
}

func TestParsePrecision(t *testing.T) {
	for _, name := range precisions {
		if p, err := train.ParsePrecision(name); err != nil || p.String() != name {
			t.Errorf("%q is %v, %v", name, p, err)
		}
	}
	if p, err := train.ParsePrecision(train.PrecisionAuto); err != nil || p.String() == train.PrecisionInt8 {
		t.Errorf("auto is %v, %v", p, err)
	}
	if _, err := train.ParsePrecision("fp8"); err == nil || !strings.Contains(err.Error(), `"fp8"`) {
		t.Errorf("an unknown precision gives %v", err)
	}
}

// quantizedDemo is the built-in model with its linear maps in a type.
func quantizedDemo(t *testing.T, typ string) string {
	t.Helper()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "base.gguf"), filepath.Join(dir, typ+".gguf")
	if err := os.WriteFile(from, demo.BaseGGUF(), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	kind, err := quantize.ParseFileType(typ)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := quantize.NewPlan(f, quantize.Options{Type: kind, Pure: true, AllowRequantize: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Write(t.Context(), to, nil); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestPrecisionQuantized: with products in fewer bits too, quantization-aware training follows that in float32, and
// merging writes what was trained.
func TestPrecisionQuantized(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	adapters := map[string]func(b *peft.Base) (*peft.Adapter, error){
		"scales and codes": func(b *peft.Base) (*peft.Adapter, error) { return peft.New(b, method.QAT{}) },
		"DoRA": func(b *peft.Base) (*peft.Adapter, error) {
			a, err := peft.New(b, method.LoRA{DoRA: true})
			if err == nil {
				err = a.TrainQuantized(b, method.Quantized{})
			}
			return a, err
		},
	}
	b, err := peft.OpenBase(quantizedDemo(t, "Q4_K_S"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for name, fresh := range adapters {
		curves := map[string][]float64{}
		for _, precision := range precisions {
			a, err := fresh(b)
			if err != nil {
				t.Fatal(err)
			}
			curves[precision] = smooth(curveOf(t, b, a, precision))
			out := filepath.Join(t.TempDir(), "merged.gguf")
			report, err := merge.Run(t.Context(), b, []peft.Scaled{{Adapter: a, Scale: 1}}, out, merge.Options{})
			if err != nil {
				t.Fatal(err)
			}
			v, err := merge.Verify(t.Context(), b, []peft.Scaled{{Adapter: a, Scale: 1}}, out, nil)
			if err != nil || !report.BitExact || !v.Matches || len(v.Tensors) != 35 {
				t.Errorf("%s in %s: merged %+v, %v", name, precision, v, err)
			}
		}
		compareCurves(t, name, curves)
	}
}
