package bench

import (
	"github.com/peftconv/peftconv/kernels"
)

// Peak is the peak rates of a machine, in 10⁹ operations or bytes per second; a multiply-add is two operations. They
// are measured with the kernels' own instructions, with as many threads as they use.
type Peak struct {
	F32       float64 `json:"f32_gflops"`
	BF16      float64 `json:"bf16_gflops"`
	Int8      float64 `json:"int8_gops"`
	Bandwidth float64 `json:"memory_gb_s"`
}

// MeasurePeak takes about a second and a half, and 512 MiB of memory.
func MeasurePeak() Peak {
	return Peak{kernels.Peak(kernels.F32), kernels.Peak(kernels.BF16), kernels.Peak(kernels.Int8), kernels.Bandwidth()}
}

// named is the peak for a precision.
func (p *Peak) named(precision string) *float64 {
	switch precision {
	case kernels.BF16.String():
		return &p.BF16
	case kernels.Int8.String():
		return &p.Int8
	}
	return &p.F32
}

// raise keeps the higher of two measurements: other processes on the machine lower the result.
func (p *Peak) raise(q Peak) {
	p.F32, p.BF16, p.Int8 = max(p.F32, q.F32), max(p.BF16, q.BF16), max(p.Int8, q.Int8)
	p.Bandwidth = max(p.Bandwidth, q.Bandwidth)
}
