package peft_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/demo"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/peft"
)

// precisionBases are models that have learned something, so that their losses mean something.
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
	text := filepath.Join(t.TempDir(), "text.txt")
	if err := os.WriteFile(text, demo.OwlTextTrain()[:12000], 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := peft.LoadData(text, b, peft.DataOptions{SeqLen: 128})
	if err != nil {
		t.Fatal(err)
	}
	a, err := peft.NewLoRA(b, peft.LoRAOptions{Rank: 8})
	if err != nil {
		t.Fatal(err)
	}
	var losses []float64
	_, err = peft.Train(context.Background(), b, a, set, nil, peft.TrainOptions{
		Steps: 40, BatchTokens: 512, LR: 0.001, Precision: precision, Clip: 1, Progress: func(p peft.Progress) { losses = append(losses, p.Loss) },
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

// TestPrecisionFollows wants the curve of the losses with products in fewer bits within 1 % of that in float32, while the
// losses fall.
func TestPrecisionFollows(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a quarter of a minute")
	}
	for name, path := range precisionBases(t) {
		exact := smooth(lossCurve(t, path, peft.PrecisionF32))
		if last := exact[len(exact)-1]; last > 0.9*exact[0] {
			t.Errorf("%s: the loss fell from %g to %g only", name, exact[0], last)
		}
		for _, precision := range []string{peft.PrecisionBF16, peft.PrecisionInt8} {
			worst := 0.0
			for i, loss := range smooth(lossCurve(t, path, precision)) {
				worst = max(worst, math.Abs(loss/exact[i]-1))
			}
			t.Logf("%s in %s: at most %.3f %% from float32", name, precision, 100*worst)
			if !(worst < 0.01) {
				t.Errorf("%s in %s: losses stray by %.2f %% from those in float32", name, precision, 100*worst)
			}
		}
	}
}

func TestParsePrecision(t *testing.T) {
	for _, name := range []string{peft.PrecisionF32, peft.PrecisionBF16, peft.PrecisionInt8} {
		if p, err := peft.ParsePrecision(name); err != nil || p.String() != name {
			t.Errorf("%q is %v, %v", name, p, err)
		}
	}
	if p, err := peft.ParsePrecision(peft.PrecisionAuto); err != nil || p.String() == peft.PrecisionInt8 {
		t.Errorf("auto is %v, %v", p, err)
	}
	if _, err := peft.ParsePrecision("fp8"); err == nil || !strings.Contains(err.Error(), `"fp8"`) {
		t.Errorf("an unknown precision gives %v", err)
	}
}
