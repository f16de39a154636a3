package train

import (
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
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

// partModels are those of archtest.Parts, or of those in larger blocks two.
func partModels(typ gguf.Type) []archtest.Model {
	all := archtest.Parts(typ)
	if typ.BlockLen() > 32 {
		return []archtest.Model{all[4], all[5]}
	}
	return all
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
	for typ, most := range map[gguf.Type]float64{gguf.F32: 1e-6, gguf.Q8_0: 0.01, gguf.Q4_K: 0.12} {
		for _, m := range partModels(typ) {
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
					if typ == gguf.F32 {
						checkSameLogits(t, b, merged, a)
					}
					checkWeights(t, b, merged, a, most)
					if report.Recovery < 0.9 || report.Recovery > 1.1 {
						t.Errorf("the recovery is %v", report.Recovery)
					}
				})
			}
		}
	}
}

// TestParameters trains a LoRA on parameters that have the weights of all experts: an interrupted and resumed run gives
// the same bytes, and merged the model computes what base and adapter do.
func TestParameters(t *testing.T) {
	for _, name := range []string{"gemma4-experts", "qwen35moe", "gpt-oss"} {
		b := archBase(t, name)
		fresh := func(b *attach.Base) (*attach.Adapter, error) {
			return methods.NewLoRA(b, method.LoRA{
				Rank: 4, Seed: 3, Targets: []string{"experts.gate_up_proj", "experts.down_proj"},
			})
		}
		a, err := fresh(b)
		if err != nil {
			t.Fatal(err)
		}
		opt := trainOptions(filepath.Join(t.TempDir(), "out.safetensors"))
		if _, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), pefttest.TinyData(6, 2),
			plain(opt)); err != nil {
			t.Fatal(err)
		}
		file := pefttest.FileBytes(t, opt.Out)
		again := trainOptions(filepath.Join(t.TempDir(), "out.safetensors"))
		if !bytes.Equal(resumed(t, b, fresh, again, pefttest.TinyData(6, 2)), file) {
			t.Errorf("%s: an interrupted and resumed run gives other bytes", name)
		}
		if a, err = attach.Load(opt.Out); err != nil {
			t.Fatal(err)
		}
		out, _ := merging.Into(t, b, merge.Options{}, attach.Scaled{Adapter: a, Scale: 1})
		merged := pefttest.OpenBase(t, out)
		checkSameLogits(t, b, merged, a)
		checkWeights(t, b, merged, a, 1e-6)
	}
}

// checkSameLogits compares the logits of a merged model with those of its base and adapter.
func checkSameLogits(t *testing.T, b, merged *attach.Base, a *attach.Adapter) {
	t.Helper()
	seq := pefttest.Packed(pefttest.TinyData(6, 2))
	base := pefttest.AllLogits(b, model.NoHooks{}, seq)
	want := pefttest.AllLogits(b, pefttest.BindOne(t, a, b), seq)
	if changed := pefttest.Relative(base, want); changed < 1e-3 {
		t.Fatalf("training has changed logits by %.2g", changed)
	}
	if miss := pefttest.Relative(pefttest.AllLogits(merged, model.NoHooks{}, seq), want); miss > 1e-5 {
		t.Errorf("merged the logits differ by %.2g", miss)
	}
}

// checkWeights compares the bytes of all linear maps that an adapter leaves alone, and the weights of others with the
// base's and their change: they may be off by a share of their norm.
func checkWeights(t *testing.T, b, merged *attach.Base, a *attach.Adapter, most float64) {
	t.Helper()
	bound, err := a.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	changes, now := bound.Changes(), merged.Model.Matrices()
	for i, l := range b.Model.Matrices() {
		c, changed := changes[l]
		if now[i].Place() != l.Place() || now[i].W.Type != l.W.Type {
			t.Fatalf("%s became %s, %v", l.Place(), now[i].Place(), now[i].W.Type)
		}
		if same := bytes.Equal(now[i].W.Data, l.W.Data); same == changed {
			t.Errorf("%s: same bytes is %v", l.Place(), same)
		}
		want := model.Dequantized(&l.W)
		if changed {
			c.AddRows(want, 0, l.W.Rows)
		}
		if miss := pefttest.Relative(model.Dequantized(&now[i].W), want); miss > most {
			t.Errorf("%s: merged the weights are off by %.2g", l.Place(), miss)
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
		for _, m := range partModels(typ) {
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

// TestPartsOfQATFromMaster does so with codes that are rounded from the original weights, in a file of fused tensors
// and in a directory with one tensor for each linear map.
func TestPartsOfQATFromMaster(t *testing.T) {
	floats, blocks := archtest.Parts(gguf.F32)[5], archtest.Parts(gguf.Q4_0)[5]
	original := pefttest.OpenModel(t, &floats)
	var hashes []map[string]string
	for _, master := range []string{original.Path, pefttest.WriteHFOf(t, original, "mixtral", nil)} {
		b := pefttest.OpenModel(t, &blocks)
		if err := b.OpenMaster(master); err != nil {
			t.Fatal(err)
		}
		a, err := methods.NewQAT(b, method.QAT{Rank: 4, Seed: 3, Channels: method.ChannelCode, Master: true})
		if err != nil {
			t.Fatal(err)
		}
		checkTrainedParts(t, b, a)
		hashes = append(hashes, a.Origin.Training.BlockHashes)
	}
	if !maps.Equal(hashes[0], hashes[1]) {
		t.Error("the original weights are others in other files")
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

// TestRaisedNormGradients: norms that are stored as what is added to 1 have the gradients of their weights.
func TestRaisedNormGradients(t *testing.T) {
	b := archBase(t, "gemma2")
	a, err := methods.NewLNTuning(b, method.LNTuning{})
	if err != nil {
		t.Fatal(err)
	}
	pefttest.Stir(a, 5)
	bound, err := a.Attach(b, 1, true)
	if err != nil {
		t.Fatal(err)
	}
	tape, packed := autograd.NewTape(), pefttest.Packed(pefttest.TinyData(4, 8))
	loss := func(record bool) float64 {
		tape.Record(record)
		tape.Reset(0)
		sum, n := b.Model.Loss(tape, packed, bound, 1/float32(packed.TargetCount()))
		if record {
			tape.Backward()
		}
		return sum / float64(n)
	}
	loss(true)
	checkDirections(t, a, bound, func() float64 { return loss(false) })
}
