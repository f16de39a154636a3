package export

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/pefttest/merging"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/peft/train"
)

// TestAddTokens: a grown vocabulary reads its new tokens as such, computes the old ones as before, starts the new ones
// from what their texts were before, and can be trained and merged.
func TestAddTokens(t *testing.T) {
	for name, m := range map[string]pefttest.TinyModel{"untied": pefttest.Tiny,
		"tied": {Width: 32, Heads: 4, KeyHeads: 2, Ffn: 48, Layers: 2, Tied: true}} {
		t.Run(name, func(t *testing.T) {
			b := pefttest.OpenBase(t, m.WriteGGUF(t))
			path := filepath.Join(t.TempDir(), "grown.gguf")
			if err := AddTokens(pefttest.Base(b), []string{"<|tool|>", "<|end|>"}, path); err != nil {
				t.Fatal(err)
			}
			grown := pefttest.OpenBase(t, path)
			vocab := int32(b.Model.Spec.Vocab)
			ids := grown.Tokenizer.Encode("the<|end|>cat<|tool|>", true)
			if !slices.Contains(ids, vocab) || !slices.Contains(ids, vocab+1) || int32(grown.Model.Spec.Vocab) != vocab+2 {
				t.Fatalf("the text is read as %v of %d tokens", ids, grown.Model.Spec.Vocab)
			}
			checkOldLogits(t, b, grown)
			var want, got [32]float32
			pieces := b.Tokenizer.Encode("<|tool|>", true)
			for _, id := range pieces {
				b.Model.Embed.Row(got[:], int(id))
				for i, v := range got {
					want[i] += v / float32(len(pieces))
				}
			}
			grown.Model.Embed.Row(got[:], int(vocab))
			if err := pefttest.Relative(got[:], want[:]); err > 1e-6 {
				t.Errorf("the new row is %.2g off the mean of its pieces", err)
			}
			trainNewTokens(t, grown, []int32{vocab, vocab + 1})
		})
	}
}

// checkOldLogits compares the logits of old tokens for a text of old tokens.
func checkOldLogits(t *testing.T, b, grown *attach.Base) {
	t.Helper()
	seq := pefttest.Packed(pefttest.TinyData(2, 8))
	old, now := pefttest.AllLogits(b, model.NoHooks{}, seq), pefttest.AllLogits(grown, model.NoHooks{}, seq)
	n, wide := b.Model.Spec.Vocab, grown.Model.Spec.Vocab
	for i := range seq.Tokens() {
		if err := pefttest.Relative(now[i*wide:i*wide+n], old[i*n:(i+1)*n]); err > 1e-6 {
			t.Fatalf("logits of token %d differ by %.2g", i, err)
		}
	}
}

// trainNewTokens trains the rows of tokens over data that has them, and compares the merge with the adapter.
func trainNewTokens(t *testing.T, b *attach.Base, ids []int32) {
	t.Helper()
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 2, Targets: []string{"q_proj"}, TokenIDs: ids, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	set := pefttest.TinyData(12, 3)
	for i := range set.Examples {
		set.Examples[i].IDs[1], set.Examples[i].IDs[4] = ids[i%2], ids[0]
	}
	before := slices.Clone(a.Flat)
	if _, err := train.Run(context.Background(), pefttest.Base(b), pefttest.Adapter(a), pefttest.Data(set), nil,
		train.Options{Steps: 8, LR: 0.02, BatchTokens: 60}); err != nil {
		t.Fatal(err)
	}
	for i, p := range a.Tensors {
		if strings.HasSuffix(p.Name, methods.TokensPart) &&
			pefttest.Relative(p.Data, attach.Views(a.Tensors, before)[i].Data) < 1e-3 {
			t.Error("the rows of the tokens did not move")
		}
	}
	out, _ := merging.Into(t, b, merge.Options{}, attach.Scaled{Adapter: a, Scale: 1})
	seq := &batch.Batch{}
	seq.Append(set.Examples[0].IDs, nil)
	if err := pefttest.Relative(pefttest.AllLogits(pefttest.OpenBase(t, out), model.NoHooks{}, seq),
		pefttest.AllLogits(b, pefttest.BindOne(t, a, b), seq)); err > 2e-5 {
		t.Errorf("merged the logits differ by %.2g", err)
	}
}

func TestAddTokensRefused(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	dir := t.TempDir()
	for want, tokens := range map[string][]string{
		"none is given": nil, `"th" is a token`: {"<x>", "th"}, `"<x>" is given twice`: {"<x>", "<x>"}, `"" is no text`: {""},
	} {
		if err := AddTokens(pefttest.Base(b), tokens, filepath.Join(dir, "x.gguf")); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, expected %q", tokens, err, want)
		}
	}
	pefttest.CheckEmpty(t, dir)
	if err := AddTokens(pefttest.Base(b), []string{"<x>"}, b.Path); err == nil ||
		!strings.Contains(err.Error(), "replace its base") {
		t.Errorf("over the base: %v", err)
	}
}
