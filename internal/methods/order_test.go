package methods_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/modeltest"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/safetensors"
)

// The sizes of the models here: 2 key heads of the order of a delta net, which 6 value heads of 8 rows share.
const (
	orderWidth, orderHeads, orderDim = 32, 4, 8
	orderKeys, orderValues           = 2, 6
	orderFFN                         = orderValues * orderDim
	orderVocab                       = 40
)

// Three architectures that compute the same: "in-order" has all weights as Hugging Face files have them; "tiled" has
// the inner width of the feed-forward network in the order of TileHeads; "split" has queries, keys and values in one
// matrix, which stand head by head in Hugging Face files.
func init() {
	spec := func(f *arch.Fields) arch.Spec {
		s := arch.Spec{Layers: 2, Width: orderWidth, Vocab: orderVocab, Context: 64, NormEps: 1e-5, Tied: true}
		s.Layer = arch.Layer{
			FFN: orderFFN, QueryHeads: orderHeads, KeyHeads: orderHeads, HeadDim: orderDim,
			Rope:  arch.Rope{Dim: orderDim, Base: 5000, Scale: 1, Neox: true},
			Delta: arch.Delta{KeyHeads: orderKeys, ValueHeads: orderValues},
		}
		return s
	}
	tensors := func(fused bool, qkv, rows, cols arch.Transform) (all []arch.Tensor) {
		layer := func(role arch.Role, name string, by arch.Transform, shape ...arch.Dim) {
			all = append(all, arch.Tensor{Role: role, GGUF: "blk.%d." + name + ".weight",
				HF: "model.layers.%d." + name + ".weight", Shape: shape, Transform: by, Bias: role.Kind() == arch.Linear})
		}
		all = []arch.Tensor{
			{Role: arch.TokenEmbedding, GGUF: "token_embd.weight", HF: "model.embed_tokens.weight",
				Shape: []arch.Dim{arch.DimVocab, arch.DimWidth}},
			{Role: arch.OutputNorm, GGUF: "output_norm.weight", HF: "model.norm.weight", Shape: []arch.Dim{arch.DimWidth}},
		}
		layer(arch.AttentionNorm, "norm1", nil, arch.DimWidth)
		if fused {
			layer(arch.QKV, "qkv_proj", qkv, arch.DimQKV, arch.DimWidth)
		} else {
			layer(arch.Query, "q_proj", nil, arch.DimQuery, arch.DimWidth)
			layer(arch.Key, "k_proj", nil, arch.DimKey, arch.DimWidth)
			layer(arch.Value, "v_proj", nil, arch.DimValue, arch.DimWidth)
		}
		layer(arch.AttentionOutput, "o_proj", nil, arch.DimWidth, arch.DimAttended)
		layer(arch.FFNNorm, "norm2", nil, arch.DimWidth)
		layer(arch.Gate, "gate_proj", rows, arch.DimFFN, arch.DimWidth)
		layer(arch.Up, "up_proj", rows, arch.DimFFN, arch.DimWidth)
		layer(arch.Down, "down_proj", cols, arch.DimWidth, arch.DimFFN)
		return all
	}
	register := func(name string, tensors []arch.Tensor) {
		arch.Register(&arch.Arch{Name: name, HF: []arch.HFModel{{Type: name, Class: name}}, Spec: spec, Tensors: tensors,
			AddsBiases: true})
	}
	register("in-order", tensors(false, nil, nil, nil))
	register("tiled", tensors(false, nil, arch.TileHeads{Each: arch.DimHead},
		arch.TileHeads{Each: arch.DimHead, Columns: true}))
	register("split", tensors(true, arch.SplitHeads{}, nil, nil))
}

// orderedModel are the tensors of "in-order" or, with the rows of one map head by head, of "split", as Hugging Face
// files have them.
func orderedModel(fused bool) (names []string, shapes map[string][]int, values map[string][]float32) {
	shapes, values = map[string][]int{}, map[string][]float32{}
	add := func(name string, x []float32, shape ...int) {
		names = append(names, name)
		shapes[name], values[name] = shape, x
	}
	random := func(name string, shape ...int) {
		x := make([]float32, shape[0]*append(shape, 1)[1])
		prng.NewRandom(7, name).Normal(x, 1.5/math.Sqrt(float64(shape[len(shape)-1])))
		if strings.Contains(name, "norm") {
			for i := range x {
				x[i]++
			}
		}
		add(name, x, shape...)
	}
	random("model.embed_tokens.weight", orderVocab, orderWidth)
	random("model.norm.weight", orderWidth)
	for i := range 2 {
		in := fmt.Sprintf("model.layers.%d.", i)
		random(in+"norm1.weight", orderWidth)
		for _, name := range []string{"q_proj", "k_proj", "v_proj"} {
			random(in+name+".weight", orderHeads*orderDim, orderWidth)
			random(in+name+".bias", orderHeads*orderDim)
		}
		if fused {
			for _, part := range []struct {
				name string
				cols int
			}{{".weight", orderWidth}, {".bias", 1}} {
				n := orderDim * part.cols
				var rows []float32
				for h := range orderHeads {
					for _, name := range []string{"q_proj", "k_proj", "v_proj"} {
						rows = append(rows, values[in+name+part.name][h*n:(h+1)*n]...)
					}
				}
				shape := []int{3 * orderHeads * orderDim, part.cols}
				if part.cols == 1 {
					shape = shape[:1]
				}
				add(in+"qkv_proj"+part.name, rows, shape...)
			}
			names = slices.DeleteFunc(names, func(name string) bool {
				return strings.Contains(name, "q_proj") || strings.Contains(name, "k_proj") ||
					strings.Contains(name, ".v_proj")
			})
		}
		random(in+"o_proj.weight", orderWidth, orderHeads*orderDim)
		random(in+"norm2.weight", orderWidth)
		random(in+"gate_proj.weight", orderFFN, orderWidth)
		random(in+"up_proj.weight", orderFFN, orderWidth)
		random(in+"up_proj.bias", orderFFN)
		random(in+"down_proj.weight", orderWidth, orderFFN)
	}
	return names, shapes, values
}

// tiled is n groups of values of each size, one for each value head, in the order of a GGUF file: value head j·2+k of
// the file is the one that reads key head k as its j-th.
func tiled(x []float32, each int) []float32 {
	var out []float32
	for at := 0; at < len(x); at += orderValues * each {
		for j := range orderValues / orderKeys {
			for k := range orderKeys {
				head := k*(orderValues/orderKeys) + j
				out = append(out, x[at+head*each:][:each]...)
			}
		}
	}
	return out
}

// inFile are values of a tensor as a GGUF file of the architecture has them.
func inFile(name, of string, x []float32, cols int) []float32 {
	switch {
	case name == "split" && strings.Contains(of, "qkv_proj"): // from head by head to queries, keys, values
		n := orderDim * cols
		var out []float32
		for kind := range 3 {
			for h := range orderHeads {
				out = append(out, x[(3*h+kind)*n:][:n]...)
			}
		}
		return out
	case name == "tiled" && (strings.Contains(of, "gate_proj") || strings.Contains(of, "up_proj")):
		return tiled(x, orderDim*cols)
	case name == "tiled" && strings.Contains(of, "down_proj"):
		return tiled(x, orderDim)
	}
	return x
}

// openOrdered writes a model of an architecture and opens it, as a GGUF file or as a Hugging Face directory.
func openOrdered(t *testing.T, name string, inHF bool) *attach.Base {
	t.Helper()
	names, shapes, values := orderedModel(name == "split")
	dir := t.TempDir()
	if inHF {
		var items []safetensors.Item
		for _, tensor := range names {
			var shape []int64
			for _, d := range shapes[tensor] {
				shape = append(shape, int64(d))
			}
			items = append(items, safetensors.Item{Name: tensor, DType: safetensors.F32, Shape: shape,
				Data: floats.LittleEndian(values[tensor])})
		}
		f, err := os.Create(filepath.Join(dir, "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		config, _ := json.Marshal(map[string]any{"model_type": name, "vocab_size": orderVocab})
		err = safetensors.Write(f, map[string]string{"format": "pt"}, items)
		if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644); err != nil {
			t.Fatal(err)
		}
		if err != nil || f.Close() != nil {
			t.Fatal(err)
		}
		return pefttest.OpenBase(t, dir)
	}
	rename := strings.NewReplacer("model.embed_tokens", "token_embd", "model.norm", "output_norm", "model.layers", "blk")
	var table []gguf.Tensor
	data := map[string][]byte{}
	for _, tensor := range names {
		g := gguf.Tensor{Name: rename.Replace(tensor)}
		for _, d := range shapes[tensor] {
			g.Shape = append([]int64{int64(d)}, g.Shape...)
		}
		table = append(table, g)
		data[g.Name] = floats.LittleEndian(inFile(name, tensor, values[tensor], append(shapes[tensor], 1)[1]))
	}
	meta := &gguf.Metadata{}
	if err := meta.Set("general.architecture", name); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name+".gguf")
	modeltest.WriteGGUF(t, path, gguf.Format{}, meta, table, func(name string, dst []byte) { copy(dst, data[name]) })
	return pefttest.OpenBase(t, path)
}

// orderData are token ids within the vocabulary.
func orderData() *attach.Data {
	set := pefttest.TinyData(4, 6)
	for _, e := range set.Examples {
		for i := range e.IDs {
			e.IDs[i] %= orderVocab
		}
	}
	return set
}

// over is what an adapter does over a base: the logits, and the gradients of its tensors, in its own order.
func over(t *testing.T, b *attach.Base, a *attach.Adapter) (logits, grads []float32) {
	t.Helper()
	moved := *a
	moved.Origin.Architecture = ""
	bound, err := moved.Attach(b, 1, true)
	if err != nil {
		t.Fatal(err)
	}
	batch := pefttest.Packed(orderData())
	bound.Train(false)
	logits = slices.Clone(pefttest.AllLogits(b, bound, batch))
	tape := autograd.NewTape()
	tape.Record(true)
	b.Model.Loss(tape, batch, bound, 1)
	tape.Backward()
	grads = make([]float32, len(bound.Grads))
	attach.ToHF(attach.Views(a.Tensors, grads), attach.Views(a.Tensors, bound.Grads), bound.Perms)
	return logits, grads
}

// merged are the weights with an adapter's changes, in the order of Hugging Face files.
func merged(t *testing.T, b *attach.Base, a *attach.Adapter) map[string][]float32 {
	t.Helper()
	moved := *a
	moved.Origin.Architecture = ""
	bound, err := moved.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]float32{}
	for l, c := range bound.Changes() {
		w := model.Dequantized(&l.W)
		if c.Multiply != nil {
			c.Multiply(w, 0, l.W.Rows)
		} else {
			c.AddRows(w, 0, l.W.Rows)
		}
		all[l.Module] = model.InHFCols(model.InHFRows(w, l), l)
	}
	return all
}

// TestOtherOrder: over a base that has rows and columns in another order, an adapter of every method is made, computes,
// learns and merges as over one that has them in place.
func TestOtherOrder(t *testing.T) {
	plain := openOrdered(t, "in-order", false)
	batch := pefttest.Packed(orderData())
	for _, inHF := range []bool{false, true} {
		b := openOrdered(t, "tiled", inHF)
		down := b.Model.Layers[0].Linear(arch.Down)
		if down.Cols == nil || down.Rows != nil || b.Model.Layers[0].Linear(arch.Up).Rows == nil {
			t.Fatalf("the down-projection is %+v", down)
		}
		want, got := pefttest.AllLogits(plain, model.NoHooks{}, batch), pefttest.AllLogits(b, model.NoHooks{}, batch)
		if far := pefttest.Relative(got, want); far > 1e-5 {
			t.Fatalf("without an adapter the logits are %.2g apart", far)
		}
		for _, c := range append(slices.Clone(pefttest.MethodCases), pefttest.QuantizedCases[2:5]...) {
			if strings.Contains(c.Name, "qat") || strings.Contains(c.Name, "ends") || strings.Contains(c.Name, "prompt") ||
				strings.Contains(c.Name, "p-tuning") || strings.Contains(c.Name, "prefix") {
				continue // of quantized bases, of an output head, of no weights
			}
			ref, err := c.New(plain)
			if err != nil {
				t.Logf("%s: %v", c.Name, err) // of a part that the model has not
				continue
			}
			a, err := c.New(b)
			if err != nil {
				t.Fatalf("%s: %v", c.Name, err)
			}
			if far := pefttest.Relative(a.Flat, ref.Flat); far > 1e-4 && !strings.Contains(c.Name, "pissa") {
				t.Errorf("%s: the start is %.2g apart", c.Name, far)
			}
			pefttest.Stir(ref, 5)
			wantLogits, wantGrads := over(t, plain, ref)
			gotLogits, gotGrads := over(t, b, ref)
			if far := pefttest.Relative(gotLogits, wantLogits); far > 1e-5 {
				t.Errorf("%s: the logits are %.2g apart", c.Name, far)
			}
			if far := pefttest.Relative(gotGrads, wantGrads); far > 1e-4 {
				t.Errorf("%s: the gradients are %.2g apart", c.Name, far)
			}
			wantWeights, gotWeights := merged(t, plain, ref), merged(t, b, ref)
			for module, w := range wantWeights {
				if far := pefttest.Relative(gotWeights[module], w); far > 1e-5 {
					t.Errorf("%s: the weight of %s is %.2g apart", c.Name, module, far)
				}
			}
		}
	}
}

// TestMasterInOtherOrder: the rows of the weights that a base was made from, in Hugging Face's order, are found for the
// rows and columns of the base.
func TestMasterInOtherOrder(t *testing.T) {
	for _, name := range []string{"tiled", "split"} {
		b, original := openOrdered(t, name, false), openOrdered(t, name, true)
		master := &requant.MasterWeights{Path: original.Path, Model: b.Model, Store: original.Store}
		for _, l := range b.Model.Linears() {
			rows, err := master.Rows(l)
			if err != nil {
				t.Fatal(err)
			}
			got, want := make([]float32, l.W.Cols), make([]float32, l.W.Cols)
			for r := range l.W.Rows {
				rows.Row(got, r)
				l.W.Row(want, r)
				if !slices.Equal(got, want) {
					t.Fatalf("%s: row %d of %s is %v, expected %v", name, r, l.Module, got[:4], want[:4])
				}
			}
		}
	}
}

// TestSplitHeads: a LoRA and biases on a map that has queries, keys and values head by head in Hugging Face files are
// what they are on three maps.
func TestSplitHeads(t *testing.T) {
	plain := openOrdered(t, "in-order", false)
	opt := method.LoRA{Rank: 3, Targets: []string{"q_proj", "k_proj", "v_proj"}, Bias: method.BiasLoRA, Seed: 4}
	three, err := methods.NewLoRA(plain, opt)
	if err != nil {
		t.Fatal(err)
	}
	opt.Targets = []string{"qkv_proj"}
	for _, inHF := range []bool{false, true} {
		b := openOrdered(t, "split", inHF)
		one, err := methods.NewLoRA(b, opt)
		if err != nil {
			t.Fatal(err)
		}
		pefttest.Stir(one, 8)
		take := func(dst, src []attach.Param) { // the same A, the rows of each head's part of B
			for i := range dst {
				p := &dst[i]
				kind := strings.Index("qkv", p.Name[strings.Index(p.Name, "_proj")-1:][:1])
				name := strings.Replace(p.Name, "qkv"[kind:kind+1]+"_proj", "qkv_proj", 1)
				from := src[slices.IndexFunc(src, func(p attach.Param) bool { return p.Name == name })]
				if strings.Contains(p.Name, "lora_A") {
					copy(p.Data, from.Data)
					continue
				}
				n := orderDim * p.Cols()
				for h := range orderHeads {
					copy(p.Data[h*n:(h+1)*n], from.Data[(3*h+kind)*n:])
				}
			}
		}
		take(three.Tensors, one.Tensors)
		want, wantGrads := over(t, plain, three)
		got, grads := over(t, b, one)
		if far := pefttest.Relative(got, want); far > 1e-5 {
			t.Errorf("the logits are %.2g apart", far)
		}
		gotGrads := attach.Views(three.Tensors, make([]float32, len(wantGrads)))
		take(gotGrads, attach.Views(one.Tensors, grads))
		for i, p := range attach.Views(three.Tensors, wantGrads) {
			if far := pefttest.Relative(gotGrads[i].Data, p.Data); far > 1e-4 && !strings.Contains(p.Name, "lora_A") {
				t.Errorf("the gradients of %s are %.2g apart", p.Name, far)
			}
		}
	}
}
