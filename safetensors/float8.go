package safetensors

import "math"

// float8Table is the value of each of the 256 elements of an 8-bit float type; nil for other types.
func float8Table(d DType) *[256]float32 {
	var decode func(uint8) float64
	switch d {
	case F8E5M2: // as in IEEE 754: infinities and NaNs
		decode = func(b uint8) float64 {
			if b&0x7c == 0x7c {
				return special(b, b&3 == 0)
			}
			return minifloat(b, 2, 15)
		}
	case F8E4M3: // no infinities, and NaN only where all bits but the sign are set
		decode = func(b uint8) float64 {
			if b&0x7f == 0x7f {
				return math.NaN()
			}
			return minifloat(b, 3, 7)
		}
	case F8E8M0: // an exponent alone
		decode = func(b uint8) float64 {
			if b == 0xff {
				return math.NaN()
			}
			return math.Ldexp(1, int(b)-127)
		}
	case F8E4M3FNUZ: // finite; minus zero would be NaN
		decode = func(b uint8) float64 { return finite(b, 3, 8) }
	case F8E5M2FNUZ:
		decode = func(b uint8) float64 { return finite(b, 2, 16) }
	default:
		return nil
	}
	table := new([256]float32)
	for i := range table {
		table[i] = float32(decode(uint8(i)))
	}
	return table
}

// minifloat is the value of sign, exponent and mantissa in a byte: mantissa bits wide, the exponent biased.
func minifloat(b uint8, mantissa, bias int) float64 {
	m := int(b) & (1<<mantissa - 1)
	e := int(b&0x7f) >> mantissa
	if e == 0 {
		e = 1 // subnormal: no hidden bit
	} else {
		m |= 1 << mantissa
	}
	v := math.Ldexp(float64(m), e-bias-mantissa)
	if b&0x80 != 0 {
		return math.Copysign(v, -1)
	}
	return v
}

func finite(b uint8, mantissa, bias int) float64 {
	if b == 0x80 {
		return math.NaN()
	}
	return minifloat(b, mantissa, bias)
}

func special(b uint8, inf bool) float64 {
	if !inf {
		return math.NaN()
	}
	if b&0x80 != 0 {
		return math.Inf(-1)
	}
	return math.Inf(1)
}
