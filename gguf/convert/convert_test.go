package convert

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf/quantize"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/safetensors"
)

// TestQuantized wants a conversion to a quantized type to write the bytes that a conversion, and a quantization of what
// it wrote, do.
func TestQuantized(t *testing.T) {
	dirs := map[string]string{"small": newDir().write(t)}
	for _, name := range []string{"Tiny-Llama-3.2-0.26M-Instruct", "Qwen3.5-0.3M-A0.1M", "gpt-oss-tiny"} {
		if path := filepath.Join(testdata.SharedDir(), "convert", name); exists(path) {
			dirs[name] = path
		}
	}
	for name, dir := range dirs {
		for _, typ := range []string{"Q4_0", "Q4_K_M", "Q6_K"} {
			t.Run(name+"/"+typ, func(t *testing.T) {
				ft, err := quantize.ParseFileType(typ)
				if err != nil {
					t.Fatal(err)
				}
				plan, err := quantize.NewPlan(opened(t, convertTo(t, dir, options("auto"))),
					quantize.Options{Type: ft, AllowRequantize: true})
				if err != nil {
					t.Fatal(err)
				}
				want := filepath.Join(t.TempDir(), "want.gguf")
				if err := plan.Write(t.Context(), want, nil); err != nil {
					t.Fatal(err)
				}
				opt := options(typ)
				opt.Quantize.AllowRequantize = true
				sameFiles(t, convertTo(t, dir, opt), want)
			})
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func sameFiles(t *testing.T, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(x, y) {
		t.Errorf("%s and %s differ, %d and %d bytes", a, b, len(x), len(y))
	}
}

// TestShards wants the same tensors of a model whatever files hold it.
func TestShards(t *testing.T) {
	d := newDir()
	one := convertTo(t, d.write(t), options("f32"))
	d.shards = 3
	f, g := opened(t, one), opened(t, convertTo(t, d.write(t), options("f32")))
	for _, tensor := range f.Tensors {
		other := g.Tensor(tensor.Name)
		if other == nil || !bytes.Equal(other.Bytes(), tensor.Bytes()) {
			t.Errorf("tensor %q differs", tensor.Name)
		}
	}
}

// TestSplit wants the files of a split model to hold the tensors of one that is not.
func TestSplit(t *testing.T) {
	dir := newDir().write(t)
	whole := opened(t, convertTo(t, dir, options("f32")))
	opt := options("f32")
	opt.SplitBytes = 100_000
	out := convertTo(t, dir, opt)
	parts, err := filepath.Glob(strings.TrimSuffix(out, ".gguf") + "-*.gguf")
	if err != nil || len(parts) < 3 {
		t.Fatalf("%d files, expected at least 3: %v", len(parts), err)
	}
	joined := opened(t, parts[0])
	if len(joined.Tensors) != len(whole.Tensors) {
		t.Fatalf("%d tensors, expected %d", len(joined.Tensors), len(whole.Tensors))
	}
	for i, tensor := range whole.Tensors {
		if other := joined.Tensors[i]; other.Name != tensor.Name || !bytes.Equal(other.Bytes(), tensor.Bytes()) {
			t.Errorf("tensor %q differs from %q", other.Name, tensor.Name)
		}
	}
}

// TestFloat8 wants weights in 8-bit floats to be multiplied by their factors, one for each block, row or tensor.
func TestFloat8(t *testing.T) {
	const name, rows, cols = "model.layers.0.mlp.up_proj.weight", 96, 64
	r := rand.New(rand.NewPCG(3, 4))
	codes := make([]byte, rows*cols)
	for i := range codes {
		codes[i] = byte(r.IntN(126)) | byte(r.IntN(2))<<7
	}
	values, err := (parsed(t, safetensors.Item{Name: "x", DType: safetensors.F8E4M3, Shape: []int64{rows * cols},
		Data: codes})).Float32s()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, end    string
		shape        []int64
		quantization map[string]any
		at           func(row, col int) int
	}{
		{"blocks", "_scale_inv", []int64{3, 2},
			map[string]any{"quant_method": "fp8", "weight_block_size": []int{40, 48}},
			func(row, col int) int { return row/40*2 + col/48 }},
		{"rows", "_scale", []int64{rows, 1},
			map[string]any{"quant_method": "compressed-tensors", "format": "float-quantized"},
			func(row, _ int) int { return row }},
		{"one", "_scale", []int64{1}, map[string]any{"quant_method": "fp8"}, func(int, int) int { return 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := int64(1)
			for _, s := range c.shape {
				n *= s
			}
			factors, data := make([]float32, n), []byte(nil)
			for i := range factors {
				factors[i] = float32(r.Float64() + 0.5)
				data = binary.LittleEndian.AppendUint32(data, math.Float32bits(factors[i]))
			}
			d := newDir()
			d.config["quantization_config"] = c.quantization
			d.tensors[name] = safetensors.Item{Name: name, DType: safetensors.F8E4M3, Shape: []int64{rows, cols}, Data: codes}
			d.tensors[name+c.end] = safetensors.Item{Name: name + c.end, DType: safetensors.F32, Shape: c.shape, Data: data}
			have, err := opened(t, convertTo(t, d.write(t), options("f32"))).Tensor("blk.0.ffn_up.weight").Float32s()
			if err != nil {
				t.Fatal(err)
			}
			for i, x := range have {
				if want := values[i] * factors[c.at(i/cols, i%cols)]; x != want {
					t.Fatalf("value %d is %g, expected %g", i, x, want)
				}
			}
		})
	}
}

// parsed is a tensor as a file gives it.
func parsed(t *testing.T, item safetensors.Item) *safetensors.Tensor {
	t.Helper()
	var file bytes.Buffer
	if err := safetensors.Write(&file, nil, []safetensors.Item{item}); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Parse(file.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return f.Tensor(item.Name)
}

// TestRefuses gives directories that cannot be converted, and wants an error that says why and no file.
func TestRefuses(t *testing.T) {
	const up = "model.layers.0.mlp.up_proj.weight"
	for _, c := range []struct {
		name string
		edit func(d *smallDir)
		opt  func(o *Options)
		want string
	}{
		{name: "unknown model_type", edit: func(d *smallDir) { d.config["model_type"] = "mystery" },
			want: `config.json: model_type "mystery" is not supported, expected bloom`},
		{name: "missing tensor", edit: func(d *smallDir) { delete(d.tensors, up) },
			want: `tensor "` + up + `" is missing`},
		{name: "unknown tensor", edit: func(d *smallDir) {
			item := d.tensors[up]
			item.Name = "model.layers.0.mlp.other.weight"
			d.tensors[item.Name] = item
		}, want: `tensor "model.layers.0.mlp.other.weight" has no place in a GGUF file of architecture "llama"`},
		{name: "layer beyond the last", edit: func(d *smallDir) {
			item := d.tensors[up]
			item.Name = "model.layers.7.mlp.up_proj.weight"
			d.tensors[item.Name] = item
		}, want: `tensor "model.layers.7.mlp.up_proj.weight" has no place`},
		{name: "NaN", edit: func(d *smallDir) { copy(d.tensors[up].Data[2*65:], []byte{0xc0, 0x7f}) },
			want: `tensor "blk.0.ffn_up.weight": the weight in row 1, column 1 is not a finite number`},
		{name: "too large for F16", edit: func(d *smallDir) { copy(d.tensors[up].Data[2*65:], []byte{0x80, 0x4a}) },
			opt: func(o *Options) { o.Type = "f16" }, want: `tensor "blk.0.ffn_up.weight": `},
		{name: "factors of 8-bit floats", edit: func(d *smallDir) {
			item := d.tensors[up]
			item.DType, item.Data = safetensors.F8E4M3, item.Data[:len(item.Data)/2]
			d.tensors[up] = item
			d.config["quantization_config"] = map[string]any{"quant_method": "fp8"}
		}, want: `tensor "` + up + `" is F8_E4M3, and its factors, "` + up + `_scale_inv", are missing`},
		{name: "other quantization", edit: func(d *smallDir) {
			d.config["quantization_config"] = map[string]any{"quant_method": "awq"}
		}, want: `quantization_config: weights of quant_method "awq"`},
		{name: "no tokenizer", edit: func(d *smallDir) { delete(d.files, "tokenizer.json") }, want: "tokenizer"},
		{name: "unknown pre-tokenizer", opt: func(o *Options) { o.PreTokenizer = "mystery" }, want: `"mystery"`},
		{name: "unrecognised pre-tokenizer", opt: func(o *Options) { o.PreTokenizer = "" }, want: "--pre-tokenizer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, opt := newDir(), options("bf16")
			if c.edit != nil {
				c.edit(d)
			}
			if c.opt != nil {
				c.opt(&opt)
			}
			err := refused(t, d.write(t), opt)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, expected %q", err, c.want)
			}
		})
	}
}

// refused converts what cannot be converted, gives the error, and wants nothing to be left.
func refused(t *testing.T, dir string, opt Options) error {
	t.Helper()
	place := t.TempDir()
	p, err := NewPlan(dir, opt)
	if err == nil {
		err = p.Write(t.Context(), filepath.Join(place, "out.gguf"), nil)
		p.Close()
	}
	if left, _ := os.ReadDir(place); len(left) > 0 {
		t.Errorf("%s is left", left[0].Name())
	}
	return err
}

// TestRefusesFiles breaks the files of a directory.
func TestRefusesFiles(t *testing.T) {
	index := "model.safetensors.index.json"
	for _, c := range []struct {
		name  string
		spoil func(dir string) error
		want  string
	}{
		{"missing shard", func(dir string) error { return os.Remove(filepath.Join(dir, "model-00002-of-00002.safetensors")) },
			"model-00002-of-00002.safetensors"},
		{"wrong index", func(dir string) error {
			return replace(filepath.Join(dir, index), `"lm_head.weight"`, `"lm_tail.weight"`)
		}, `tensor "lm_tail.weight" is not in`},
		{"twice", func(dir string) error {
			a := filepath.Join(dir, "model-00001-of-00002.safetensors")
			b := filepath.Join(dir, "model-00002-of-00002.safetensors")
			data, err := os.ReadFile(a)
			if err == nil {
				err = os.WriteFile(b, data, 0o644)
			}
			return errors.Join(err, os.WriteFile(filepath.Join(dir, index), []byte(`{"weight_map":{"x":"`+filepath.Base(a)+
				`","y":"`+filepath.Base(b)+`"}}`), 0o644))
		}, "is in model-00001-of-00002.safetensors and in model-00002-of-00002.safetensors"},
		{"cut", func(dir string) error {
			return os.Truncate(filepath.Join(dir, "model-00001-of-00002.safetensors"), 1000)
		}, "model-00001-of-00002.safetensors"},
		{"no config", func(dir string) error { return os.Remove(filepath.Join(dir, "config.json")) }, "config.json"},
		{"config is no JSON", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "config.json"), []byte("{"), 0o644)
		}, "config.json: unexpected end of JSON input"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDir()
			d.shards = 2
			dir := d.write(t)
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			err := refused(t, dir, options("bf16"))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, expected %q", err, c.want)
			}
		})
	}
	if err := refused(t, filepath.Join(t.TempDir(), "nowhere"), options("f32")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, expected that it does not exist", err)
	}
}

// replace replaces a text in a file.
func replace(path, old, new string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Contains(data, []byte(old)) {
		return fmt.Errorf("%s: no %s", path, old)
	}
	return os.WriteFile(path, bytes.Replace(data, []byte(old), []byte(new), 1), 0o644)
}

// TestKeepsExisting wants a file that is there to be unchanged by a conversion that fails.
func TestKeepsExisting(t *testing.T) {
	d := newDir()
	copy(d.tensors["model.norm.weight"].Data, []byte{0xc0, 0x7f})
	out := filepath.Join(t.TempDir(), "out.gguf")
	if err := os.WriteFile(out, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := NewPlan(d.write(t), options("f32"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Write(t.Context(), out, nil); err == nil {
		t.Error("a NaN was converted")
	}
	if data, err := os.ReadFile(out); err != nil || string(data) != "old" {
		t.Errorf("the file is %q, %v", data, err)
	}
}
