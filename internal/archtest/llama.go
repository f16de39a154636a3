package archtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/quant"
)

// Llama is a driver of an unmodified llama.cpp.
type Llama struct{ path string }

// FindLlama is the driver that PEFTCONV_LLAMA_CLIENT names. Without one the test is skipped.
func FindLlama(t testing.TB) Llama {
	t.Helper()
	path := os.Getenv("PEFTCONV_LLAMA_CLIENT")
	if path == "" {
		t.Skip("PEFTCONV_LLAMA_CLIENT does not name a driver of llama.cpp")
	}
	return Llama{path}
}

// Run has the driver run a command over tokens with a cache of float32, and gives what it prints.
func (l Llama) Run(t testing.TB, command, model string, ids []int32, more ...string) []byte {
	t.Helper()
	list := strings.Trim(strings.ReplaceAll(fmt.Sprint(ids), " ", ","), "[]")
	args := append([]string{command, model, "--ids", list, "--kv-f32", "-t", "1"}, more...)
	log, err := exec.Command(l.path, args...).CombinedOutput()
	if err != nil {
		lines := strings.Split(string(log), "\n")
		t.Fatalf("llama.cpp: %v\n%s", err, strings.Join(lines[max(0, len(lines)-12):], "\n"))
	}
	return log
}

// Logits are those of all tokens.
func (l Llama) Logits(t testing.TB, model string, ids []int32, more ...string) []float32 {
	t.Helper()
	out := filepath.Join(t.TempDir(), "logits.f32")
	l.Run(t, "logits", model, ids, append(more, "--out", out)...)
	return Floats(t, out)
}

// Floats are those of a file that has nothing else.
func Floats(t testing.TB, path string) []float32 {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	x := make([]float32, len(data)/4)
	quant.Dequantize(gguf.F32, x, data)
	return x
}

// Limit is how far a model's logits may be from llama.cpp's, as a share of the largest.
func (l Llama) Limit(s *arch.Spec) float64 {
	if s.Activation == arch.GELU { // which llama.cpp reads from a table of half precision
		return 1e-3
	}
	return 1e-4
}

// IDs are n tokens for a comparison.
func IDs(n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32((i*i*7 + i*3 + 5) % 61)
	}
	return ids
}
