package convert

import (
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/safetensors"
)

// scaleEnds are the endings, behind the name of a weight, of the tensor of its factors.
var scaleEnds = []string{"_scale_inv", "_scale"}

// unusedScales are endings of tensors of factors of activations.
var unusedScales = []string{"activation_scale", ".input_scale", ".qscale_act", ".k_scale", ".v_scale"}

// readScales finds the factors of weights in 8-bit floats, and refuses what is quantized in another way.
func (g *gather) readScales(config map[string]any) error {
	g.scales, g.taken = map[string]*blockScale{}, map[string]struct{}{}
	q, _ := config["quantization_config"].(map[string]any)
	if q == nil {
		return nil
	}
	method, _ := q["quant_method"].(string)
	format, _ := q["format"].(string)
	switch {
	case method == "mxfp4", method == "fp8", method == "modelopt":
	case method == "compressed-tensors" && (format == "float-quantized" || format == "naive-quantized"):
	default:
		return fmt.Errorf("quantization_config: weights of quant_method %q %s are %w, expected fp8 or mxfp4: "+
			"convert the original model", method, format, arch.ErrUnsupported)
	}
	block, err := blockSize(q)
	if err != nil {
		return err
	}
	for _, t := range g.file.Tensors {
		if slices.ContainsFunc(unusedScales, func(end string) bool { return strings.HasSuffix(t.Name, end) }) {
			g.taken[t.Name] = struct{}{}
			continue
		}
		weight := g.scaled(t.Name)
		if weight == nil {
			continue
		}
		g.taken[t.Name] = struct{}{}
		if g.scales[weight.Name], err = newScale(weight, t, block); err != nil {
			return err
		}
	}
	return g.unscaled()
}

// scaled is the weight whose factors a tensor holds, nil where it holds none.
func (g *gather) scaled(name string) *safetensors.Tensor {
	for _, end := range scaleEnds {
		if weight, ok := strings.CutSuffix(name, end); ok {
			return g.file.Tensor(weight)
		}
	}
	if module, ok := strings.CutSuffix(name, ".qscale_weight"); ok {
		return g.file.Tensor(module + weightSuffix)
	}
	return nil
}

// unscaled refuses weights of 8 bits without factors, and integers.
func (g *gather) unscaled() error {
	for _, t := range g.file.Tensors {
		if _, taken := g.taken[t.Name]; taken || t.DType.Bits() != 8 || g.scales[t.Name] != nil {
			continue
		}
		if strings.HasPrefix(string(t.DType), "F8") {
			return fmt.Errorf("tensor %q is %s, and its factors, %q, are missing", t.Name, t.DType, t.Name+scaleEnds[0])
		}
	}
	return nil
}

// blockSize is the rows and columns that share a factor, 0 where config.json does not say.
func blockSize(q map[string]any) (size [2]int64, err error) {
	v, ok := q["weight_block_size"]
	if !ok || v == nil {
		return size, nil
	}
	list, _ := v.([]any)
	for i := range size {
		if len(list) == 2 {
			n, _ := list[i].(float64)
			size[i] = int64(n)
		}
		if size[i] <= 0 {
			return size, fmt.Errorf("quantization_config.weight_block_size is %v, expected two numbers", v)
		}
	}
	return size, nil
}

// newScale reads the factors of a matrix: one, one a row, or one a block.
func newScale(weight, t *safetensors.Tensor, block [2]int64) (*blockScale, error) {
	factors, err := t.Float32s()
	if err != nil {
		return nil, err
	}
	if len(weight.Shape) < 2 {
		return nil, fmt.Errorf("tensor %q has factors, and the shape %v, expected a matrix", weight.Name, weight.Shape)
	}
	cols := weight.Shape[len(weight.Shape)-1]
	rows, n := weight.Elements()/max(cols, 1), int64(len(factors))
	s := &blockScale{factors: factors, cols: cols}
	switch {
	case n == 1:
		s.rowsOf, s.colsOf, s.blocksWide = rows, cols, 1
	case block[0] > 0 && n == ceil(rows, block[0])*ceil(cols, block[1]):
		s.rowsOf, s.colsOf, s.blocksWide = block[0], block[1], ceil(cols, block[1])
	case n == rows:
		s.rowsOf, s.colsOf, s.blocksWide = 1, cols, 1
	default:
		return nil, fmt.Errorf("tensor %q has the shape %v, expected one factor, one a row or one a block %v of %v", t.Name,
			t.Shape, block, weight.Shape)
	}
	return s, nil
}

func ceil(a, b int64) int64 { return (a + b - 1) / b }
