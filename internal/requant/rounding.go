package requant

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/kernels"
)

// Rounding says which parts of a matrix's rows are requantized for a change, and how. The zero value keeps all but the
// scales that a Change names.
type Rounding struct {
	// Codes says how codes are rounded.
	Codes CodeRounding
	// Seed is that of the thresholds of StochasticCodes.
	Seed uint64
	// Master are the weights that the base was quantized from, nil for none. The change of a weight is then added to
	// its master weight instead of to its value in the base, and the sum is rounded to nearest with the base's scales.
	Master *MasterRows
	// FitScales fits scales and zero points to the change, by least squares, before codes are rounded to what is left of
	// it.
	FitScales bool
	// Importance are the weights (Cols) of the squared errors of FitScales and Anew; nil: all alike.
	Importance []float32
	// Compensation adds to each weight that is still to be rounded what compensates the errors of those of its row
	// that are; nil for none. It needs StochasticCodes, without FitScales and Master.
	Compensation *Compensation
	// Descent changes codes, scales and zero points of the base's blocks by coordinate descent on calibration data; nil
	// for none. Changes are multiplied by Gain before. Of the fields above none is used then.
	Descent *Descent
	Gain    float32
	// Anew quantizes the changed weights from scratch, with new scales, to blocks of Type. Of the fields above only
	// Importance is used then.
	Anew bool
	Type gguf.Type
}

// CodeRounding is a way of rounding codes.
type CodeRounding int

// The ways.
const (
	KeepCodes       CodeRounding = iota // codes stay
	NearestCodes                        // to nearest: changes of less than half a step are lost
	StochasticCodes                     // up or down at random, so that the mean is right: a threshold for each weight
)

// thresholds fills u with the thresholds of stochastic rounding of a row, in [0, 1). They depend on the seed and the
// place alone. They are multiples of 2⁻¹⁶, so that adding one to a code is exact.
func thresholds(u []float32, seed uint64, row int) {
	kernels.Thresholds(u, prng.Mix(seed^uint64(row)*0x9e3779b97f4a7c15))
}
