package model_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
)

// TestLogits holds the logits of every architecture against those of an unmodified llama.cpp, whose driver
// PEFTCONV_LLAMA_CLIENT names.
func TestLogits(t *testing.T) {
	client := os.Getenv("PEFTCONV_LLAMA_CLIENT")
	if client == "" {
		t.Skip("PEFTCONV_LLAMA_CLIENT does not name a driver of llama.cpp")
	}
	for _, m := range archtest.All() {
		t.Run(m.Name, func(t *testing.T) {
			dir := t.TempDir()
			if keep := os.Getenv("PEFTCONV_KEEP"); keep != "" {
				dir = keep
			}
			path, out := filepath.Join(dir, m.Name+".gguf"), filepath.Join(dir, m.Name+".f32")
			m.Write(t, path)
			ids := make([]int32, 40)
			text := ""
			for i := range ids {
				ids[i] = int32((i*i*7 + i*3 + 5) % 61)
				text += fmt.Sprintf(",%d", ids[i])
			}
			log, err := exec.Command(client, "logits", path, "--ids", text[1:], "--out", out, "--kv-f32", "-t",
				"1").CombinedOutput()
			if err != nil {
				lines := strings.Split(string(log), "\n")
				t.Fatalf("llama.cpp: %v\n%s", err, strings.Join(lines[max(0, len(lines)-12):], "\n"))
			}
			want := floats(t, out)
			f, err := gguf.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			b, err := model.FromGGUF(f)
			if err != nil {
				t.Fatal(err)
			}
			got := logits(b, ids)
			limit := 1e-4
			if b.Spec.Activation == arch.GELU { // which llama.cpp reads from a table of half precision
				limit = 1e-3
			}
			compare(t, "in one batch", got, want, limit)
			session := b.NewSession(len(ids))
			var one []float32
			for i := 0; i < len(ids); {
				n := 1
				if i == 3 {
					n = 9
				}
				x, err := session.Append(ids[i:i+n], model.NoHooks{})
				if err != nil {
					t.Fatal(err)
				}
				i += n
				if len(one) < (i-n)*len(x) { // positions whose logits were not asked for
				}
				one = append(one, want[(i-n)*len(x):(i-1)*len(x)]...)
				one = append(one, x...)
			}
			compare(t, "token by token", one, want, limit)
		})
	}
}

func floats(t *testing.T, path string) []float32 {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	x := make([]float32, len(data)/4)
	for i := range x {
		x[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return x
}

// logits are those of all tokens of one sequence.
func logits(m *model.Model, ids []int32) []float32 {
	tape := autograd.NewTape()
	tape.Record(false)
	b := &batch.Batch{IDs: ids, Bounds: []int32{0, int32(len(ids))}}
	rows := make([]int, len(ids))
	for i := range ids {
		b.Pos = append(b.Pos, int32(i))
		rows[i] = i
	}
	return m.Logits(tape, b, model.NoHooks{}, rows).Data
}

func compare(t *testing.T, what string, got, want []float32, limit float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d logits, llama.cpp has %d", what, len(got), len(want))
	}
	worst, largest := 0.0, 0.0
	for i, w := range want {
		worst = max(worst, math.Abs(float64(got[i]-w)))
		largest = max(largest, math.Abs(float64(w)))
	}
	t.Logf("%s: %.2g of %.3g", what, worst/largest, largest)
	if !(worst <= limit*largest) {
		t.Errorf("%s: logits differ by %g of the largest, %g", what, worst/largest, largest)
	}
}
