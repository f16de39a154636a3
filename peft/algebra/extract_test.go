package algebra

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/pefttest/merging"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/eval"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/safetensors"
)

func extracted(t *testing.T, base, tuned *attach.Base, opt ExtractOptions) (*attach.Adapter, *ExtractReport) {
	t.Helper()
	a, report, err := extract(context.Background(), base, tuned, opt)
	if err != nil {
		t.Fatal(err)
	}
	return a, report
}

// checkSameChange compares the changes of two adapters, module by module, relative to their size.
func checkSameChange(t *testing.T, got, want *attach.Adapter, tolerance float64) {
	t.Helper()
	a, errA := lowRanks(got)
	b, errB := lowRanks(want)
	if errA != nil || errB != nil || len(a) != len(b) {
		t.Fatalf("%d and %d modules, %v, %v", len(a), len(b), errA, errB)
	}
	for i := range a {
		x, y := a[i].Dense(), b[i].Dense()
		miss, all := 0.0, 0.0
		for j := range y {
			d := float64(x[j]) - float64(y[j])
			miss, all = miss+d*d, all+float64(y[j])*float64(y[j])
		}
		if e := math.Sqrt(miss / all); !(e < tolerance) || a[i].Module != b[i].Module {
			t.Errorf("%s: the change is off by %v", a[i].Module, e)
		}
	}
}

// What is merged comes out again, from any mixture of formats, rows of q and k in order.
func TestExtract(t *testing.T) {
	bases := []*attach.Base{pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t)),
		pefttest.OpenBase(t, pefttest.Tiny.WriteHF(t, gguf.F32, 2))}
	lora := pefttest.Trained(t, bases[0], method.LoRA{Rank: 3, Alpha: 6, Seed: 1})
	lora.Origin.BaseSHA256 = ""
	var tuned []*attach.Base
	for _, b := range bases {
		path, _ := merging.Into(t, b, merge.Options{}, attach.Scaled{Adapter: lora, Scale: 1})
		tuned = append(tuned, pefttest.OpenBase(t, path))
	}
	for i, b := range bases {
		for j, m := range tuned {
			got, report := extracted(t, b, m, ExtractOptions{Rank: 3})
			checkSameChange(t, got, lora, 1e-4)
			if len(report.Modules) != 14 || len(report.Left) != 0 || report.Error > 1e-4 || report.Rank != 3 {
				t.Errorf("%d from %d: %+v", j, i, report)
			}
			if err := attach.CheckBase(got, b); err != nil || got.Config.Alpha != 3 || len(got.Config.RankPattern) != 0 {
				t.Errorf("config %+v, base %v", got.Config, err)
			}
			set := pefttest.TinyData(6, 3)
			want, errA := eval.Loss(context.Background(), pefttest.Base(m), nil, pefttest.Data(set), 0)
			with, errB := eval.Loss(context.Background(), pefttest.Base(b),
				pefttest.Scaled([]attach.Scaled{{Adapter: got, Scale: 1}}), pefttest.Data(set), 0)
			if errA != nil || errB != nil || math.Abs(want.Loss-with.Loss) > 1e-4 {
				t.Errorf("loss of the tuned model %v, of base and adapter %v, %v, %v", want, with, errA, errB)
			}
		}
	}
}

// Over quantized blocks, where the search is by random projection.
func TestExtractQuantized(t *testing.T) {
	base := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	lora := pefttest.Trained(t, base, method.LoRA{Rank: 4, Targets: []string{"q_proj", "down_proj"}, Seed: 1})
	path, _ := merging.Into(t, base, merge.Options{Type: "F32"}, attach.Scaled{Adapter: lora, Scale: 1})
	tuned := pefttest.OpenBase(t, path)
	got, report := extracted(t, base, tuned,
		ExtractOptions{Rank: 4, Targets: []string{"q_proj", "down_proj"}, Layers: "0-1"})
	checkSameChange(t, got, lora, 1e-3)
	if len(report.Modules) != 4 || report.Energy < 0.999999 {
		t.Errorf("report %+v", report)
	}
	half, report := extracted(t, base, tuned, ExtractOptions{Rank: 2, Targets: []string{"q_proj", "down_proj"}})
	small, cut := resized(t, lora, ResizeOptions{Rank: 2})
	checkSameChange(t, half, small, 0.02)
	if math.Abs(report.Energy-cut.Energy) > 1e-4 || math.Abs(report.Error-cut.Error) > 1e-3 {
		t.Errorf("energy %v and error %v, of the adapter itself %v and %v", report.Energy, report.Error, cut.Energy,
			cut.Error)
	}
	auto, report := extracted(t, base, tuned, ExtractOptions{Energy: 0.8, Rank: 3})
	for _, m := range report.Modules {
		switch {
		case m.Change == 0 && (m.Rank != 0 || m.Energy != 1):
			t.Errorf("no difference: %+v", m)
		case m.Change > 0 && (m.Energy < 0.8 && m.Rank < 3 || auto.Config.RankOf(m.Module) != m.Rank):
			t.Errorf("%+v, rank in the configuration %d", m, auto.Config.RankOf(m.Module))
		}
	}
}

// Norms, embeddings, head and weights that are no target are named, and saved on demand.
func TestExtractNamesWhatIsLeft(t *testing.T) {
	base := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	other := pefttest.Tiny
	other.Edit = func(name string, values []float32) {
		switch name {
		case "blk.0.attn_norm.weight", "token_embd.weight", "output.weight", "blk.1.attn_q.weight", "blk.0.ffn_up.weight":
			for i := range values {
				values[i] += 0.01 * float32(i%7)
			}
		}
	}
	tuned := pefttest.OpenBase(t, other.WriteGGUF(t))
	_, report := extracted(t, base, tuned, ExtractOptions{Rank: 1, Targets: []string{"up_proj"}})
	var names []string
	for _, l := range report.Left {
		names = append(names, l.Name+" "+l.Reason)
		if !(l.Change > 0 && l.Change < 1) {
			t.Errorf("%+v", l)
		}
	}
	want := []string{
		"model.layers.1.self_attn.q_proj.weight not a target", "model.layers.0.input_layernorm.weight norm",
		"model.embed_tokens.weight embedding", "lm_head.weight output head",
	}
	if !slices.Equal(names, want) {
		t.Errorf("left %q, want %q", names, want)
	}
	path := filepath.Join(t.TempDir(), "left.safetensors")
	if err := report.SaveLeft(path); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, m := range other.Matrices() {
		tensor := f.Tensor(m.HF)
		if tensor == nil {
			continue
		}
		x, err := tensor.Float32s()
		if err != nil || !slices.Equal(x, m.Values) {
			t.Errorf("%s is saved with other values, %v", m.HF, err)
		}
		if m.Rows == 1 && len(tensor.Shape) != 1 {
			t.Errorf("%s has shape %v", m.HF, tensor.Shape)
		}
	}
	if len(f.Tensors) != 4 {
		t.Errorf("%d tensors", len(f.Tensors))
	}
}

func TestExtractRefuses(t *testing.T) {
	base := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	wide, deep, odd := pefttest.Tiny, pefttest.Tiny, pefttest.Tiny
	wide.Ffn, deep.Layers = 64, 3
	odd.Edit = func(name string, values []float32) {
		if name == "blk.1.ffn_down.weight" {
			values[3] = float32(math.NaN())
		}
	}
	for _, c := range []struct {
		tuned pefttest.TinyModel
		opt   ExtractOptions
		want  string
	}{
		{wide, ExtractOptions{}, "model.layers.0.mlp.gate_proj is 48×32"},
		{deep, ExtractOptions{}, "has 2 layers"},
		{pefttest.Tiny, ExtractOptions{}, "no chosen weight differs"},
		{odd, ExtractOptions{}, "model.layers.1.mlp.down_proj has a weight that is not finite"},
		{pefttest.Tiny, ExtractOptions{Targets: []string{"nothing"}}, `target "nothing" matches no linear map`},
		{pefttest.Tiny, ExtractOptions{Energy: 2}, "energy 2"},
	} {
		_, _, err := extract(context.Background(), base, pefttest.OpenBase(t, c.tuned.WriteGGUF(t)), c.opt)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := extract(ctx, base, base, ExtractOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v after cancelling", err)
	}
}

// The same bytes on any number of threads.
func TestExtractThreads(t *testing.T) {
	defer kernels.SetThreads(0)
	base := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	lora := pefttest.Trained(t, base, method.LoRA{Rank: 30, Seed: 1})
	path, _ := merging.Into(t, base, merge.Options{Type: "F16"}, attach.Scaled{Adapter: lora, Scale: 1})
	tuned := pefttest.OpenBase(t, path)
	var first []float32
	for _, threads := range []int{1, 3} {
		kernels.SetThreads(threads)
		a, _ := extracted(t, base, tuned, ExtractOptions{Rank: 5, Layers: "1"})
		if first == nil {
			first = a.Flat
		}
		if !slices.Equal(a.Flat, first) {
			t.Errorf("other values on %d threads", threads)
		}
	}
}
