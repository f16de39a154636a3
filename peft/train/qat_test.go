package train

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/pefttest/merging"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/eval"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/quant"
)

// qatTypes are block types of every kind, with the channels that they have.
var qatTypes = []struct {
	typ      gguf.Type
	channels string
}{
	{gguf.Q4_0, "scale"}, {gguf.Q4_0, "row"}, {gguf.Q4_0, "code"}, {gguf.Q4_0, "scale+code"},
	{gguf.Q4_1, "offset+scale"}, {gguf.Q5_0, "scale+row"}, {gguf.Q5_1, "offset"},
	{gguf.Q8_0, "scale"}, {gguf.Q8_0, "code"}, {gguf.Q2_K, "scale+offset"}, {gguf.Q3_K, "scale"},
	{gguf.Q3_K, "code"}, {gguf.Q4_K, "scale"}, {gguf.Q4_K, "offset"}, {gguf.Q4_K, "code"},
	{gguf.Q5_K, "scale+offset+row"}, {gguf.Q6_K, "scale"}, {gguf.Q6_K, "code"},
	{gguf.IQ4_NL, "scale"}, {gguf.IQ4_NL, "code"}, {gguf.IQ4_XS, "scale"}, {gguf.IQ4_XS, "code"},
	{gguf.IQ3_S, "scale"}, {gguf.IQ3_XXS, "row"}, {gguf.IQ2_S, "scale"}, {gguf.TQ2_0, "code"},
	{gguf.IQ3_XXS, "code"}, {gguf.IQ2_XS, "scale+code"}, {gguf.IQ1_M, "code"},
	{gguf.TQ1_0, "scale"}, {gguf.MXFP4, "code"}, {gguf.NVFP4, "code"}, {gguf.F16, "scale"},
	{gguf.BF16, "code"}, {gguf.F32, "scale+offset+row+code"},
}

// newQATAdapter makes an adapter, stochastically rounded where it changes codes.
func newQATAdapter(t *testing.T, b *attach.Base, channels string) *attach.Adapter {
	t.Helper()
	a, err := methods.NewQAT(b, method.QAT{Channels: channels, Rank: 4, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestQATDecay: ChannelAuto has a weight decay where nothing else is asked for, and a higher rate.
func TestQATDecay(t *testing.T) {
	retained := &Retention{Data: pefttest.Data(pefttest.TinyData(7, 5))}
	for name, c := range map[string]struct {
		typ      gguf.Type
		channels string
		opt      Options
		want     float64
	}{
		"codes": {gguf.Q4_0, "auto", Options{LR: 0.01}, 4}, "points": {gguf.IQ3_S, "auto", Options{LR: 0.01}, 4},
		"high rate": {gguf.Q4_0, "auto", Options{LR: 0.1}, 0.5}, "by name": {gguf.Q4_0, "scale+code", Options{}, 0},
		"none": {gguf.Q4_0, "auto", Options{WeightDecay: -1}, 0}, "given": {gguf.Q4_0, "auto", Options{WeightDecay: 2}, 2},
		"retained": {gguf.Q4_0, "auto", Options{Retain: retained}, 0},
	} {
		b := pefttest.OpenBase(t, pefttest.BlocksIn(c.typ).WriteGGUF(t))
		a := newQATAdapter(t, b, c.channels)
		c.opt.Steps, c.opt.BatchTokens = 1, 80
		if _, err := trainAdapter(t.Context(), b, a, pefttest.TinyData(24, 1), nil, plain(c.opt)); err != nil {
			t.Fatal(err)
		}
		if got := a.Origin.Training.WeightDecay; got != c.want {
			t.Errorf("%s: weight decay %v, expected %v", name, got, c.want)
		}
		times := 1.0
		if c.channels == "auto" {
			times = 2
		}
		if got, want := a.SuggestLR(b), attach.TimesSuggested(b, times); got != want {
			t.Errorf("%s: a rate of %v is suggested, expected %v", name, got, want)
		}
	}
}

// TestQATMergesWhatItTrained: for every type the merged file has the types and the size of the base and, byte for byte,
// the tensors that the last forward pass multiplied with; its loss is that of the training run.
func TestQATMergesWhatItTrained(t *testing.T) {
	for i, c := range qatTypes {
		if testing.Short() && i%4 != 0 {
			continue
		}
		t.Run(c.typ.String()+" "+c.channels, func(t *testing.T) {
			b := pefttest.OpenBase(t, pefttest.BlocksIn(c.typ).WriteGGUF(t))
			a := newQATAdapter(t, b, c.channels)
			heldOut := pefttest.TinyData(6, 2)
			r, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), heldOut,
				plain(Options{Steps: 3, LR: 0.01, BatchTokens: 80}))
			if err != nil {
				t.Fatal(err)
			}
			out, report := merging.Into(t, b, merge.Options{}, attach.Scaled{Adapter: a, Scale: 1})
			if !report.BitExact || report.KeptShare == nil || *report.KeptShare != 1 {
				t.Errorf("the merge reports %+v", report)
			}
			m := pefttest.OpenBase(t, out)
			checkRequantized(t, b, m, a)
			loss, err := eval.Loss(context.Background(), pefttest.Base(m), nil, pefttest.Data(heldOut), 0)
			if err != nil || loss.Loss != *r.EvalLoss {
				t.Errorf("the merged file has loss %v, %v, training ended with %v", loss, err, *r.EvalLoss)
			}
			if *r.EvalLoss == *r.BaseLoss {
				t.Error("training has changed nothing")
			}
			v, err := merge.Verify(context.Background(), pefttest.Base(b),
				pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), out, nil)
			if err != nil || !v.Matches || len(v.Tensors) != 7 || v.MergedLoss != v.AdapterLoss || v.MergedLoss == v.BaseLoss {
				t.Errorf("verified: %+v, %v", v, err)
			}
		})
	}
}

// checkRequantized compares every linear map of the merged model with the bound adapter's.
func checkRequantized(t *testing.T, b, merged *attach.Base, a *attach.Adapter) {
	t.Helper()
	bound, err := a.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	maps := merged.Model.Linears()
	for i, l := range b.Model.Linears() {
		want, got := bound.Weights(l, &l.W), maps[i].W
		if got.Type != l.W.Type || !bytes.Equal(got.Data, want.Data) {
			t.Errorf("%s: the merged tensor is not the one that was trained with", l.Tensor)
		}
	}
}

// TestQATStartsAsTheBase: an untrained adapter is the base, to the byte.
func TestQATStartsAsTheBase(t *testing.T) {
	for _, c := range qatTypes {
		b := pefttest.OpenBase(t, pefttest.BlocksIn(c.typ).WriteGGUF(t))
		checkRequantized(t, b, b, newQATAdapter(t, b, c.channels))
	}
}

// TestQATIsTheSameEverywhere: an adapter requantizes to the same bytes on every tier and with any number of threads.
func TestQATIsTheSameEverywhere(t *testing.T) {
	defer kernels.SetThreads(0)
	defer kernels.UseTier(kernels.Tier())
	for i, c := range qatTypes {
		if testing.Short() && i%4 != 0 {
			continue
		}
		b := pefttest.OpenBase(t, pefttest.BlocksIn(c.typ).WriteGGUF(t))
		a := newQATAdapter(t, b, c.channels)
		pefttest.Stir(a, 5)
		checkSameEverywhere(t, fmt.Sprint(c.typ, " ", c.channels), b, a)
	}
}

// checkSameEverywhere wants an adapter to requantize to the same bytes on every tier, each with another number of
// threads.
func checkSameEverywhere(t *testing.T, what string, b *attach.Base, a *attach.Adapter) {
	t.Helper()
	var first map[string]string
	for i, tier := range kernels.Tiers() {
		kernels.UseTier(tier)
		kernels.SetThreads(i + 1)
		bound, err := a.Bind(b)
		if err != nil {
			t.Fatal(err)
		}
		hashes := bound.BlockHashes()
		if first == nil {
			first = hashes
		}
		for name, sum := range hashes {
			if sum != first[name] {
				t.Errorf("%s: %s differs on %s", what, name, tier)
			}
		}
	}
}

// TestQATRuns: over quantized blocks too the same bytes come out with other threads, recomputed layers and after an
// interruption.
func TestQATRuns(t *testing.T) {
	defer kernels.SetThreads(0)
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	checkRuns(t, "scale+offset+code", b, func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewQAT(b, method.QAT{Channels: "scale+offset+code", Rank: 2})
	})
}

// TestQATRowsOfTwoLayouts: over the same weights in both layouts, of which one permutes rows, training makes the same
// adapter.
func TestQATRowsOfTwoLayouts(t *testing.T) {
	var adapters []*attach.Adapter
	for _, path := range []string{pefttest.Tiny.WriteGGUF(t), pefttest.Tiny.WriteHF(t, gguf.F32, 1)} {
		b := pefttest.OpenBase(t, path)
		a, err := methods.NewQAT(b, method.QAT{Channels: "scale+row", Rank: 2, Seed: 3})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), nil,
			plain(Options{Steps: 4, LR: 1e-3})); err != nil {
			t.Fatal(err)
		}
		adapters = append(adapters, a)
	}
	for i, p := range adapters[0].Tensors {
		if e := pefttest.Relative(p.Data, adapters[1].Tensors[i].Data); e > 1e-3 {
			t.Errorf("%s differs by %.2g", p.Name, e)
		}
	}
}

// TestQATGradientIsThatOfTheWeights compares the gradients of factors with sums over the dense gradient of a weight.
func TestQATGradientIsThatOfTheWeights(t *testing.T) {
	const rows, rank = 5, 2
	r := prng.NewRandom(1, "weights")
	x := make([]float32, rows*512)
	r.Normal(x, 1)
	w := quant.Matrix{Type: gguf.Q4_1, Rows: rows, Cols: 512, Data: make([]byte, rows*512/32*20)}
	quant.Quantize(w.Type, w.Data, x, w.Cols, nil)
	dw := make([]float32, rows*512)
	r.Normal(dw, 1)
	g := &methods.GroupGradient{Site: &methods.QATSite{
		Blocks: requant.Blocks{Requantizer: requant.Requantizer{Base: &w}},
		Offset: methods.QATPair{A: attach.Leaf([]attach.Param{{Shape: []int{rank, 16}, Data: make([]float32, rank*16)}}, nil,
			0)},
	}}
	g.AddRows(autograd.NewTape(), 0, rows, append([]float32(nil), dw...))
	row := make([]float32, 512)
	for i := range rows {
		w.Row(row, i)
		for j := range 16 {
			var factor, offset float64
			for k := 32 * j; k < 32*(j+1); k++ {
				factor += float64(dw[i*512+k]) * float64(row[k])
				offset += float64(dw[i*512+k])
			}
			if math.Abs(float64(g.Factor[i*16+j])-factor) > 1e-4 || math.Abs(float64(g.Offset[i*16+j])-offset) > 1e-4 {
				t.Fatalf("row %d group %d: %v and %v, want %v and %v", i, j, g.Factor[i*16+j], g.Offset[i*16+j], factor, offset)
			}
		}
	}
}

// TestQATMemory: the planned memory includes the requantized blocks.
func TestQATMemory(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	plan := func(a *attach.Adapter) int64 {
		m, err := planMemory(b, a, pefttest.TinyData(24, 1), plain(Options{}))
		if err != nil {
			t.Fatal(err)
		}
		return m.Adapter - 5*4*int64(a.Parameters())
	}
	var blocks int64
	for _, l := range b.Model.Linears() {
		blocks += int64(len(l.W.Data))
	}
	if got := plan(newQATAdapter(t, b, "scale")); got < blocks || got > blocks*3/2 {
		t.Errorf("beside its tensors the adapter is said to take %d bytes, the blocks are %d", got, blocks)
	}
	if got := plan(pefttest.Trained(t, b, method.LoRA{})); got != 0 {
		t.Errorf("a LoRA is said to take %d bytes more", got)
	}
}

// TestFused compares with the exact sum, rounded once.
func TestFused(t *testing.T) {
	r := prng.NewRandom(2, "fused")
	x := make([]float32, 3)
	for range 100000 {
		r.Normal(x, 1)
		x[2] *= float32(math.Ldexp(1, int(r.Next()%60)-30))
		exact := new(big.Float).SetPrec(300).Mul(big.NewFloat(float64(x[0])), big.NewFloat(float64(x[1])))
		want, _ := exact.Add(exact, big.NewFloat(float64(x[2]))).Float32()
		if got := lowrank.Fused(x[0], x[1], x[2]); got != want {
			t.Fatalf("%v·%v + %v is %v, want %v", x[0], x[1], x[2], got, want)
		}
	}
	if got := lowrank.Fused(float32(math.Inf(1)), 1, 1); !math.IsInf(float64(got), 1) {
		t.Errorf("infinity becomes %v", got)
	}
}

// TestQATVerifyFindsADifference changes one byte of a merged file.
func TestQATVerifyFindsADifference(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	a := newQATAdapter(t, b, "scale")
	if _, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), nil,
		plain(Options{Steps: 2, LR: 0.01})); err != nil {
		t.Fatal(err)
	}
	out, _ := merging.Into(t, b, merge.Options{}, attach.Scaled{Adapter: a, Scale: 1})
	f, err := os.OpenFile(out, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	m := pefttest.OpenBase(t, out)
	tensor := m.GGUF.Tensor(m.Model.Layers[1].Linear(arch.Up).Tensor)
	at := bytes.Index(pefttest.FileBytes(t, out), tensor.Bytes()[:64])
	if _, err := f.WriteAt([]byte{tensor.Bytes()[20] ^ 1}, int64(at+20)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	v, err := merge.Verify(context.Background(), pefttest.Base(b),
		pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), out, pefttest.Data(pefttest.TinyData(3, 4)))
	if err != nil || v.Matches {
		t.Fatalf("verified: %+v, %v", v, err)
	}
	for _, tensor := range v.Tensors {
		if (tensor.SHA256 != tensor.Trained) != (tensor.Name == m.Model.Layers[1].Linear(arch.Up).Tensor) {
			t.Errorf("%+v", tensor)
		}
	}
}

func TestQATRefused(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.BlocksIn(gguf.Q4_0).WriteGGUF(t))
	for _, c := range []struct {
		opt  method.QAT
		want string
	}{
		{method.QAT{Channels: "offset"},
			"Q4_0, which has nothing that the channel offset changes: choose another channel (scale, row, code)"},
		{method.QAT{Channels: "scales"}, `channel "scales" is not known`},
		{method.QAT{Channels: "scale+scale"}, "named twice"},
		{method.QAT{Rank: -1}, "rank -1"},
		{method.QAT{Dither: "some"}, `qat_dither "some"`},
		{method.QAT{Targets: []string{"none"}}, "matches no linear map"},
	} {
		if _, err := methods.NewQAT(b, c.opt); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, expected %q", c.opt, err, c.want)
		}
	}
	a := newQATAdapter(t, b, "scale")
	if _, err := attach.BindAll(b, []attach.Scaled{{Adapter: a, Scale: 1}, {Adapter: a, Scale: 1}}); err == nil ||
		!strings.Contains(err.Error(), "two quantization-aware adapters") {
		t.Errorf("two at once: %v", err)
	}
	other := pefttest.OpenBase(t, pefttest.BlocksIn(gguf.Q6_K).WriteGGUF(t))
	if _, err := a.Bind(other); err == nil || !strings.Contains(err.Error(), "expected 16 (Q6_K, 256 columns)") {
		t.Errorf("over another type: %v", err)
	}
	wide := pefttest.OpenBase(t, pefttest.BlocksIn(gguf.Q8_0).WriteGGUF(t))
	if _, err := merge.Run(context.Background(), pefttest.Base(wide),
		pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}),
		filepath.Join(t.TempDir(), "out.gguf"), merge.Options{}); err == nil {
		t.Error("an adapter is merged into another base")
	}
}

// TestQATLoadRefused reads files with errors.
func TestQATLoadRefused(t *testing.T) {
	settings := &methods.QATSettings{Rank: 2, Alpha: 4, Channels: "scale", Dither: method.DitherUniform}
	const module = "model.layers.0.mlp.up_proj"
	for name, c := range map[string]struct {
		tensors map[string][]int
		want    string
	}{
		"nothing":    {nil, "no tensor"},
		"foreign":    {map[string][]int{"x": {1, 1}}, `tensor "x" is not one`},
		"no channel": {map[string][]int{methods.QATName(module, "auto", "A"): {1, 1}}, "is not one"},
		"only A":     {map[string][]int{methods.QATName(module, "scale", "A"): {2, 8}}, "no qat_scale_B"},
		"only B":     {map[string][]int{methods.QATName(module, "scale", "B"): {8, 2}}, "no qat_scale_A"},
		"other ranks": {map[string][]int{methods.QATName(module, "scale", "A"): {2, 8},
			methods.QATName(module, "scale", "B"): {8, 3}}, "different ranks"},
		"other rows": {map[string][]int{methods.QATName(module, "scale", "A"): {2, 8},
			methods.QATName(module, "scale", "B"): {8, 2}, methods.QATName(module, "row", ""): {9, 1}},
			"others of the module have"},
		"a vector": {map[string][]int{methods.QATName(module, "row", ""): {9}}, "expected a matrix"},
	} {
		a := &attach.Adapter{}
		a.Allocate(c.tensors)
		_, err := attach.NewMethod(&attach.Config{Method: methods.MethodQAT, Settings: settings}, a.Tensors)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, expected %q", name, err, c.want)
		}
	}
}

// TestQATExactLogits: the merged file's weights as floats compute what the training's forward computed.
func TestQATExactLogits(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	a := newQATAdapter(t, b, "scale+offset")
	pefttest.Stir(a, 9)
	bound, err := a.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	ids := pefttest.TinyData(1, 3).Examples[0].IDs
	want := logitsOf(t, b.Model, bound, ids)
	out, _ := merging.Into(t, b, merge.Options{Type: "F32"}, attach.Scaled{Adapter: a, Scale: 1})
	if e := pefttest.Relative(logitsOf(t, pefttest.OpenBase(t, out).Model, model.NoHooks{}, ids), want); e > 1e-4 {
		t.Errorf("logits of the F32 copy are %.2g off", e)
	}
	out, _ = merging.Into(t, b, merge.Options{}, attach.Scaled{Adapter: a, Scale: 1})
	if e := pefttest.Relative(logitsOf(t, pefttest.OpenBase(t, out).Model, model.NoHooks{}, ids), want); e != 0 {
		t.Errorf("logits of the merged file are %.2g off", e)
	}
}

func logitsOf(t *testing.T, m *model.Model, h model.Hooks, ids []int32) []float32 {
	t.Helper()
	logits, err := m.NewSession(64).Append(ids, h)
	if err != nil {
		t.Fatal(err)
	}
	return logits
}

// TestMergeImatrix: scales are fitted to the columns that an importance matrix calls important, and types that need one
// can be written; one of another model is refused.
func TestMergeImatrix(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.BlocksIn(gguf.Q4_1).WriteGGUF(t))
	a := pefttest.Trained(t, b, method.LoRA{Rank: 2, Targets: []string{"up_proj"}})
	path := writeImatrix(t, b, 256)
	l := b.Model.Layers[0].Linear(arch.Up)
	off := func(opt merge.Options) float64 {
		out, _ := merging.Into(t, b, opt, attach.Scaled{Adapter: a, Scale: 1})
		bound, err := a.Bind(b)
		if err != nil {
			t.Fatal(err)
		}
		want, got := make([]float32, l.W.Rows*l.W.Cols), make([]float32, l.W.Rows*l.W.Cols)
		quant.Dequantize(l.W.Type, want, l.W.Data)
		bound.Changes()[l].AddRows(want, 0, l.W.Rows)
		m := pefttest.OpenBase(t, out).Model.Layers[0].Linear(arch.Up).W
		quant.Dequantize(m.Type, got, m.Data)
		var sum float64
		for i := range want {
			if i%256 < 16 { // where the matrix says that it matters
				sum += math.Pow(float64(got[i]-want[i]), 2)
			}
		}
		return sum
	}
	plain, weighed := off(merge.Options{Rounding: merge.RoundScales}),
		off(merge.Options{Rounding: merge.RoundScales, Imatrix: path})
	if !(weighed < plain) {
		t.Errorf("the important columns are %v off, without the matrix %v", weighed, plain)
	}
	if _, report := merging.Into(t, b, merge.Options{Type: "IQ2_XS", Imatrix: path},
		attach.Scaled{Adapter: a, Scale: 1}); report.Tensors[0].Type != "IQ2_XS" {
		t.Errorf("merged to %+v", report.Tensors)
	}
	out := filepath.Join(t.TempDir(), "out.gguf")
	for _, opt := range []merge.Options{{Imatrix: writeImatrix(t, b, 64)}, {Imatrix: "none"}, {Type: "IQ2_XS"}} {
		if _, err := merge.Run(context.Background(), pefttest.Base(b),
			pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), out, opt); err == nil {
			t.Errorf("%+v is taken", opt)
		}
	}
}

// writeImatrix writes an importance matrix of all linear maps of a base: the first 16 columns matter a hundred times
// more.
func writeImatrix(t *testing.T, b *attach.Base, cols int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "imatrix.gguf")
	w := &gguf.Metadata{}
	if err := w.Set("general.type", "imatrix"); err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		key   string
		value any
	}{{"imatrix.datasets", []string{"none"}}, {"imatrix.chunk_count", uint32(1)}, {"imatrix.chunk_size", uint32(8)}} {
		if err := w.Set(v.key, v.value); err != nil {
			t.Fatal(err)
		}
	}
	var table []gguf.Tensor
	for _, l := range b.Model.Linears() {
		table = append(table, gguf.Tensor{Name: l.Tensor + ".in_sum2", Shape: []int64{int64(cols), 1}},
			gguf.Tensor{Name: l.Tensor + ".counts", Shape: []int64{1, 1}})
	}
	sums := make([]float32, cols)
	for i := range sums {
		sums[i] = 1
		if i < 16 {
			sums[i] = 100
		}
	}
	var out bytes.Buffer
	writer, err := gguf.NewWriter(&out, w, table)
	if err != nil {
		t.Fatal(err)
	}
	for i, tensor := range table {
		data := floats.LittleEndian(sums)
		if i%2 == 1 {
			data = floats.LittleEndian([]float32{1})
		}
		if err := writer.WriteTensor(tensor.Name, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestQATCodesOfTheWeightsGradient: beside scales, whose factors are zero, the pairs of codes have the gradients that
// they have alone, but for rounding: there these come from the gradient of the weights.
func TestQATCodesOfTheWeightsGradient(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	packed, set := randomBatch(512, 32, b.Model.Spec.Vocab)
	gradients := func(channels, precision string) map[string][]float32 {
		a, err := methods.NewQAT(b, method.QAT{Channels: channels, Rank: 2, Seed: 3})
		if err != nil {
			t.Fatal(err)
		}
		pefttest.Stir(a, 5)
		for _, p := range a.Tensors {
			if strings.HasSuffix(p.Name, "qat_scale_B.weight") {
				clear(p.Data)
			}
		}
		run, err := newTrainer(b, a, set, nil, plain(Options{Steps: 1, Precision: precision}))
		if err != nil {
			t.Fatal(err)
		}
		group := stepBatches{batches: []*batch.Batch{packed}}
		if _, _, err := run.gradient(context.Background(), group, 1e-3); err != nil {
			t.Fatal(err)
		}
		byName := map[string][]float32{}
		for _, p := range attach.Views(a.Tensors, run.bound.Grads) {
			byName[p.Name] = p.Data
		}
		return byName
	}
	for precision, most := range map[string]float64{PrecisionF32: 0.01, PrecisionInt8: 0.05} {
		alone, beside := gradients("code", precision), gradients("scale+code", precision)
		for name, want := range alone {
			if e := pefttest.Relative(beside[name], want); !(e < most) {
				t.Errorf("%s: the gradient of %s is %.2g off", precision, name, e)
			}
		}
	}
}

// TestOldQATOverPoints: the file of a version that trained only scales of lattice types with the channels auto has no
// tensors of codes, and keeps its points.
func TestOldQATOverPoints(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.BlocksIn(gguf.IQ3_S).WriteGGUF(t))
	a := newQATAdapter(t, b, "scale")
	pefttest.Stir(a, 5)
	bytesOf := func(channels string) (blocks []byte) {
		a.Config.Settings.(*methods.QATSettings).Channels = channels
		path := filepath.Join(t.TempDir(), "old.safetensors")
		if err := a.Save(path); err != nil {
			t.Fatal(err)
		}
		old, err := attach.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		bound, err := old.Attach(b, 1, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, each := range bound.Effect.Blocks {
			blocks = append(blocks, each.Requantized.Data...)
		}
		return blocks
	}
	if !bytes.Equal(bytesOf(method.ChannelAuto), bytesOf(method.ChannelScale)) {
		t.Error("the blocks are others than those of scales alone")
	}
}
