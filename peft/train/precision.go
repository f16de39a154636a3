package train

import (
	"fmt"

	"github.com/peftconv/peftconv/kernels"
)

// Values of Options.Precision: how the numbers that go into products with frozen matrices are rounded. Adapters,
// norms, attention, loss and all sums are float32 with each of them.
const (
	PrecisionF32  = "f32"  // not at all
	PrecisionBF16 = "bf16" // to bfloat16
	PrecisionInt8 = "int8" // to 8 bits and a scale a block
	PrecisionAuto = "auto" // bf16 where the processor multiplies bfloat16 faster, f32 elsewhere
)

// ParsePrecision is the precision of a name.
func ParsePrecision(name string) (kernels.Precision, error) {
	switch name {
	case PrecisionF32:
		return kernels.F32, nil
	case PrecisionBF16:
		return kernels.BF16, nil
	case PrecisionInt8:
		return kernels.Int8, nil
	case PrecisionAuto:
		return kernels.AutoPrecision(), nil
	}
	return 0, fmt.Errorf("precision %q is not known, expected %s, %s, %s or %s", name, PrecisionF32, PrecisionBF16,
		PrecisionInt8, PrecisionAuto)
}
