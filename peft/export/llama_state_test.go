package export

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/virtual"
	"github.com/peftconv/peftconv/peft/method"
)

// TestLlamaState has an unmodified llama.cpp go on from the state of a prefix over every architecture that has one. The
// driver reads the last position of a state again, as token 0.
func TestLlamaState(t *testing.T) {
	client := os.Getenv("PEFTCONV_LLAMA_CLIENT")
	if client == "" {
		t.Skip("PEFTCONV_LLAMA_CLIENT does not name a driver of llama.cpp")
	}
	meanLoss := regexp.MustCompile(`mean_nll ([0-9.]+)`)
	for _, m := range archtest.All() {
		t.Run(m.Name, func(t *testing.T) {
			b := writeArch(t, &m)
			longer, err := newPrefix(b, 6)
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			shorter, err := newPrefix(b, 5)
			if err != nil {
				t.Fatal(err)
			}
			copy(shorter.Tensors[0].Data, longer.Tensors[0].Data)
			path := filepath.Join(t.TempDir(), "state")
			_, err = State(pefttest.Base(b), pefttest.Scaled([]attach.Scaled{{Adapter: longer, Scale: 1}}), path,
				StateOptions{F32: true, Attention: "plain"})
			if err != nil {
				t.Fatal(err)
			}
			ids, text := []int32{0}, ""
			for i := range 20 {
				id := int32((i*i*7 + i*3 + 5) % 61)
				ids, text = append(ids, id), text+fmt.Sprintf(",%d", id)
			}
			log, err := exec.Command(client, "ppl", b.Path, "--ids", text[1:], "--load-state", path, "--kv-f32", "-c",
				"64", "-t", "1").CombinedOutput()
			found := meanLoss.FindSubmatch(log)
			if err != nil || found == nil {
				t.Fatalf("llama.cpp: %v\n%s", err, log[max(0, len(log)-800):])
			}
			want, _ := strconv.ParseFloat(string(found[1]), 64)
			bound, err := shorter.Bind(b)
			if err != nil {
				t.Fatal(err)
			}
			packed := &batch.Batch{}
			packed.Append(ids, nil)
			bound.Expand(packed)
			logits := pefttest.AllLogits(b, bound, packed)
			got, width := 0.0, b.Model.Spec.Vocab
			for i, id := range ids[1:] {
				sum, row := 0.0, logits[i*width:(i+1)*width]
				for _, v := range row {
					sum += math.Exp(float64(v))
				}
				got += (math.Log(sum) - float64(row[id])) / float64(len(ids)-1)
			}
			t.Logf("%.6f, llama.cpp %.6f", got, want)
			limit := 1e-5
			if b.Model.Spec.Activation == arch.GELU { // which llama.cpp reads from a table of half precision
				limit = 1e-4
			}
			if math.Abs(got-want) > limit*want {
				t.Errorf("the loss after the state is %.6f, llama.cpp's %.6f", got, want)
			}
		})
	}
}

// newPrefix is a random prefix.
func newPrefix(b *attach.Base, tokens int) (*attach.Adapter, error) {
	return virtual.NewPrefixTuning(b, method.PrefixTuning{PromptTuning: method.PromptTuning{VirtualTokens: tokens,
		Init: method.PromptInitRandom, Seed: 4}})
}
