package export

import (
	"errors"
	"math"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/virtual"
	"github.com/peftconv/peftconv/peft/method"
)

// TestLlamaState has an unmodified llama.cpp go on from the state of a prefix over every architecture that has one. The
// driver reads the last token of a state again, which has no cell yet, as token 0.
func TestLlamaState(t *testing.T) {
	llama := archtest.FindLlama(t)
	meanLoss := regexp.MustCompile(`mean_nll ([0-9.]+)`)
	for _, m := range archtest.All() {
		t.Run(m.Name, func(t *testing.T) {
			b := pefttest.OpenModel(t, &m)
			prefix, err := newPrefix(b, 6)
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "state")
			_, err = State(pefttest.Base(b), pefttest.Scaled([]attach.Scaled{{Adapter: prefix, Scale: 1}}), path,
				StateOptions{F32: true, Attention: "plain", First: b.Tokenizer.Piece(placeholder(b))})
			if err != nil {
				t.Fatal(err)
			}
			read := archtest.IDs(20)
			log := llama.Run(t, "ppl", b.Path, read, "--load-state", path, "-c", "64")
			found := meanLoss.FindSubmatch(log)
			if found == nil {
				t.Fatalf("llama.cpp: %s", log[max(0, len(log)-800):])
			}
			ids := append([]int32{0}, read...)
			want, _ := strconv.ParseFloat(string(found[1]), 64)
			bound, err := prefix.Bind(b)
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
			if math.Abs(got-want) > llama.Limit(&b.Model.Spec)/10*want {
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
