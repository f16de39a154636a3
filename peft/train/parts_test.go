package train

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/pefttest/merging"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/method"
)

// partTargets are choices of linear maps: all, and some of those that share a tensor.
var partTargets = map[string][]string{
	"all": {"all-linear"}, "some": {"self_attn.k_proj", "qkv_proj", "experts.1.w1", "experts.2.w3", "experts.3.w2"},
}

// chosenTargets are those of partTargets that a base has.
func chosenTargets(b *attach.Base, targets []string) (there []string) {
	for _, target := range targets {
		if _, err := attach.SelectTargets(b, []string{target}, nil); err == nil {
			there = append(there, target)
		}
	}
	return there
}

// TestPartsMerge trains a LoRA over bases whose tensors hold rows of several linear maps and merges it: the merged
// model computes what base and adapter do, as exactly as the type holds it, and rows that no adapter changes keep their
// bytes.
func TestPartsMerge(t *testing.T) {
	for typ, most := range map[gguf.Type]float64{gguf.F32: 1e-5, gguf.Q8_0: 0.04, gguf.Q4_K: 0.5} {
		for _, m := range archtest.Parts(typ) {
			for which, targets := range partTargets {
				t.Run(strings.Join([]string{m.Name, typ.String(), which}, " "), func(t *testing.T) {
					b := pefttest.OpenModel(t, &m)
					a, err := methods.NewLoRA(b, method.LoRA{Rank: 4, Seed: 3, Targets: chosenTargets(b, targets)})
					if err != nil {
						t.Fatal(err)
					}
					if _, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), nil,
						plain(Options{Steps: 3, LR: 0.02, BatchTokens: 80})); err != nil {
						t.Fatal(err)
					}
					out, report := merging.Into(t, b, merge.Options{}, attach.Scaled{Adapter: a, Scale: 1})
					merged := pefttest.OpenBase(t, out)
					checkSameLogits(t, b, merged, a, most)
					checkUntouched(t, b, merged, a)
					if report.Recovery < 0.9 || report.Recovery > 1.1 {
						t.Errorf("the recovery is %v", report.Recovery)
					}
				})
			}
		}
	}
}

// checkSameLogits compares the logits of a merged model with those of its base and adapter.
func checkSameLogits(t *testing.T, b, merged *attach.Base, a *attach.Adapter, most float64) {
	t.Helper()
	seq := pefttest.Packed(pefttest.TinyData(6, 2))
	base := pefttest.AllLogits(b, model.NoHooks{}, seq)
	want := pefttest.AllLogits(b, pefttest.BindOne(t, a, b), seq)
	if changed := pefttest.Relative(base, want); changed < 1e-3 {
		t.Fatalf("training has changed logits by %.2g", changed)
	}
	if miss := pefttest.Relative(pefttest.AllLogits(merged, model.NoHooks{}, seq), want); miss > most {
		t.Errorf("merged the logits differ by %.2g", miss)
	}
}

// checkUntouched compares the bytes of all linear maps that an adapter leaves alone, and wants others to differ.
func checkUntouched(t *testing.T, b, merged *attach.Base, a *attach.Adapter) {
	t.Helper()
	bound, err := a.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	changes, now := bound.Changes(), merged.Model.Matrices()
	for i, l := range b.Model.Matrices() {
		_, changed := changes[l]
		if now[i].Place() != l.Place() || now[i].W.Type != l.W.Type {
			t.Fatalf("%s became %s, %v", l.Place(), now[i].Place(), now[i].W.Type)
		}
		if same := bytes.Equal(now[i].W.Data, l.W.Data); same == changed {
			t.Errorf("%s: same bytes is %v", l.Place(), same)
		}
	}
}

// TestPartsOfQAT trains quantization-aware over such bases: the merged file has, bit for bit, what was trained with.
func TestPartsOfQAT(t *testing.T) {
	kinds := map[string]func(b *attach.Base, targets []string) (*attach.Adapter, error){
		"qat": func(b *attach.Base, targets []string) (*attach.Adapter, error) {
			return methods.NewQAT(b, method.QAT{Rank: 4, Seed: 3, Targets: targets})
		},
		"lora": func(b *attach.Base, targets []string) (*attach.Adapter, error) {
			a, err := methods.NewLoRA(b, method.LoRA{Rank: 4, Seed: 3, Targets: targets})
			if err == nil {
				err = a.TrainQuantized(b, method.Quantized{Seed: 3})
			}
			return a, err
		},
	}
	for _, typ := range []gguf.Type{gguf.F32, gguf.Q8_0, gguf.Q4_K} {
		for _, m := range archtest.Parts(typ) {
			for kind, make := range kinds {
				for which, targets := range partTargets {
					t.Run(strings.Join([]string{m.Name, typ.String(), kind, which}, " "), func(t *testing.T) {
						b := pefttest.OpenModel(t, &m)
						a, err := make(b, chosenTargets(b, targets))
						if err != nil {
							t.Fatal(err)
						}
						checkTrainedParts(t, b, a)
					})
				}
			}
		}
	}
}

// checkTrainedParts trains an adapter, merges it and verifies what is merged.
func checkTrainedParts(t *testing.T, b *attach.Base, a *attach.Adapter) {
	t.Helper()
	if _, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), nil,
		plain(Options{Steps: 3, LR: 0.01, BatchTokens: 80})); err != nil {
		t.Fatal(err)
	}
	out, report := merging.Into(t, b, merge.Options{}, attach.Scaled{Adapter: a, Scale: 1})
	if !report.BitExact {
		t.Errorf("the merge reports %+v", report)
	}
	merged := pefttest.OpenBase(t, out)
	checkRequantized(t, b, merged, a)
	bound, err := a.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	v, err := merge.Verify(context.Background(), pefttest.Base(b),
		pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), out, nil)
	if err != nil || !v.Matches || len(v.Tensors) != len(bound.Changes()) || v.MergedLoss != v.AdapterLoss ||
		v.MergedLoss == v.BaseLoss {
		t.Errorf("verified: %+v, %v", v, err)
	}
}

// TestVerifyNamesRows: of a merged file of which a byte of one expert is another, the rows of this expert alone are not
// what was trained with.
func TestVerifyNamesRows(t *testing.T) {
	m := archtest.Parts(gguf.Q8_0)[2]
	b := pefttest.OpenModel(t, &m)
	a := newQATAdapter(t, b, "scale")
	if _, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), nil,
		plain(Options{Steps: 2, LR: 0.01, BatchTokens: 80})); err != nil {
		t.Fatal(err)
	}
	out, _ := merging.Into(t, b, merge.Options{}, attach.Scaled{Adapter: a, Scale: 1})
	l := b.Model.Layers[1].Experts(arch.ExpertUp)[2]
	data := pefttest.FileBytes(t, out)
	at := bytes.Index(data, pefttest.OpenBase(t, out).Model.Layers[1].Experts(arch.ExpertUp)[2].W.Data)
	data[at+5]++
	if err := os.WriteFile(out, data, 0o644); err != nil {
		t.Fatal(err)
	}
	v, err := merge.Verify(context.Background(), pefttest.Base(b),
		pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), out, nil)
	if err != nil || v.Matches {
		t.Fatalf("verified: %+v, %v", v, err)
	}
	for _, tensor := range v.Tensors {
		if (tensor.SHA256 != tensor.Trained) != (tensor.Name == l.Place()) {
			t.Errorf("%s has the hash %s, trained %s", tensor.Name, tensor.SHA256, tensor.Trained)
		}
	}
}
