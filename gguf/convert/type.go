package convert

import (
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/quantize"
)

// outType is what types the tensors get.
type outType struct {
	gguf.Type                    // of most matrices, before they are quantized
	fileType  uint32             // the number of that
	quantized *quantize.FileType // what they are quantized to then; nil: nothing
}

// plainTypes are the types that the reference converter writes, with the number of the file type.
var plainTypes = map[string]struct {
	typ gguf.Type
	id  uint32
}{
	"f32": {gguf.F32, 0}, "f16": {gguf.F16, 1}, "q8_0": {gguf.Q8_0, 7}, "bf16": {gguf.BF16, 32},
	"tq1_0": {gguf.TQ1_0, 36}, "tq2_0": {gguf.TQ2_0, 37},
}

// Types are the types of the reference converter. Package quantize has others.
func Types() []string { return []string{"auto", "f32", "f16", "bf16", "q8_0", "tq1_0", "tq2_0"} }

// CheckType refuses the name of a type that Options cannot have.
func CheckType(name string) error {
	if name == "" || slices.Contains(Types(), strings.ToLower(name)) {
		return nil
	}
	if _, err := quantize.ParseFileType(name); err != nil {
		return fmt.Errorf("%w, and %s", err, strings.Join(Types(), ", "))
	}
	return nil
}

// packedFileType is the number of the file type of a model whose experts are MXFP4.
const packedFileType = 38

// outType finds the types. A file type that is not one of the reference converter's is made of what "auto" gives.
func (c *conversion) outType() (outType, error) {
	name := strings.ToLower(c.opt.Type)
	if plain, ok := plainTypes[name]; ok {
		return outType{Type: plain.typ, fileType: plain.id}, nil
	}
	auto := plainTypes[c.auto()]
	out := outType{Type: auto.typ, fileType: auto.id}
	if name == "" || name == "auto" {
		return out, nil
	}
	ft, err := quantize.ParseFileType(c.opt.Type)
	out.quantized = &ft
	return out, err
}

// auto is the type of the first matrix that is F16 or BF16, or else F16.
func (c *conversion) auto() string {
	for _, t := range sorted(c.store.Safetensors) {
		if name := strings.ToLower(string(t.DType)); len(t.Shape) >= 2 && (name == "f16" || name == "bf16") {
			return name
		}
	}
	return "f16"
}

// inF32 are ends of names of tensors that are F32 in every file.
var inF32 = []string{
	"_norm.weight", "ffn_gate_inp.weight", "ffn_gate_inp_shexp.weight", "position_embd.weight", "token_types.weight",
	"ssm_conv1d.weight", "ssm_conv1d_q.weight", "ssm_conv1d_k.weight", "ssm_conv1d_v.weight", "shortconv.conv.weight",
}

// inF16 are names of tensors that are F16 in ternary files.
var inF16 = map[string]bool{"token_embd.weight": true, "per_layer_token_embd.weight": true, "output.weight": true}

// give gives an output its type.
func (o *outType) give(out *output) {
	if out.blocks != nil {
		return
	}
	out.Type = o.Type
	n := len(out.Shape)
	if n <= 1 || !strings.HasSuffix(out.Name, weightSuffix) {
		out.Type = gguf.F32
		return
	}
	for _, end := range inF32 {
		if strings.HasSuffix(out.Name, end) {
			out.Type = gguf.F32
			return
		}
	}
	ternary := o.Type == gguf.TQ1_0 || o.Type == gguf.TQ2_0
	if ternary && inF16[out.Name] || out.Shape[0]%int64(out.Type.BlockLen()) != 0 {
		out.Type = gguf.F16
	}
}
