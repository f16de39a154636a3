package modelcard

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/peftconv/peftconv/gguf"
)

// Parameters are how many parameters a file has, as llama.cpp's converter counts them.
type Parameters struct {
	Total   int64 // of all tensors; negative for an adapter, 0 where there are none (a vocabulary alone)
	Shared  int64 // of the tensors that are of no experts
	Expert  int64 // of one expert in each layer
	Experts int64 // in a layer; 0: there are none
}

// Count counts the parameters of tensors, in the order of their file. A pair of low-rank maps, NAME.lora_a and
// NAME.lora_b, counts as the matrix that it is a change of; pairs in another order leave everything uncounted. Biases
// of experts count as shared.
func Count(tensors []gguf.Tensor) Parameters {
	var p Parameters
	var experts, stacks int64
	a := -1 // the last lora_a
	for i := range tensors {
		t := &tensors[i]
		size := t.Elements()
		if strings.HasSuffix(t.Name, ".lora_a") {
			a = i
			continue
		}
		if base, ok := strings.CutSuffix(t.Name, ".lora_b"); ok {
			if a < 0 || tensors[a].Name != base+".lora_a" || len(t.Shape) < 2 {
				return Parameters{}
			}
			size = size / t.Cols() * tensors[a].Cols()
		}
		p.Total += size
		if n := len(t.Shape); n == 3 && t.Shape[2] > 0 && strings.Contains(t.Name, "_exps.") {
			p.Expert += size / t.Shape[2]
			experts += t.Shape[2]
			stacks++
			continue
		}
		p.Shared += size
	}
	if stacks > 0 {
		p.Experts = experts / stacks
	}
	if a >= 0 {
		p.Total = -p.Total
	}
	return p
}

// label is the size of a model in words: "1.2B", and "8x7.2B" for eight experts, with what one of them and all share.
func (p Parameters) label() string {
	if p.Experts > 0 {
		return fmt.Sprintf("%dx%s", p.Experts, rounded(p.Shared+p.Expert))
	}
	return rounded(p.Total)
}

// rounded writes a count with at least two digits.
func rounded(count int64) string {
	n := math.Abs(float64(count))
	unit, scale := "K", 1e-3
	switch {
	case n >= 1e12:
		unit, scale = "T", 1e-12
	case n >= 1e9:
		unit, scale = "B", 1e-9
	case n >= 1e6:
		unit, scale = "M", 1e-6
	}
	n *= scale
	whole := strings.TrimLeft(strconv.FormatFloat(n, 'f', 0, 64), "0")
	return strconv.FormatFloat(n, 'f', max(2-len(whole), 0), 64) + unit
}
