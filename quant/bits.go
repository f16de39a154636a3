package quant

// Q1_0 is 128 weights of d or -d: the half precision d, then a bit a weight that is set for d. Q2_0 is 64 weights d·(q-1)
// with levels from 0 to 3: the half precision d, then two bits a level. Both have the first weight in the lowest bits.
const (
	weightsQ1_0 = 128
	bytesQ1_0   = 18
	weightsQ2_0 = 64
	bytesQ2_0   = 18
)

func dequantizeQ1_0(dst []float32, src []byte) {
	for len(dst) >= weightsQ1_0 && len(src) >= bytesQ1_0 {
		d := loadHalf((*[2]byte)(src))
		sign := [2]float32{-d, d}
		for i, q := range (*[16]byte)(src[2:]) {
			y := (*[8]float32)(dst[8*i:])
			for j := range y {
				y[j] = sign[q&1]
				q >>= 1
			}
		}
		dst, src = dst[weightsQ1_0:], src[bytesQ1_0:]
	}
}

func dequantizeQ2_0(dst []float32, src []byte) {
	for len(dst) >= weightsQ2_0 && len(src) >= bytesQ2_0 {
		d := loadHalf((*[2]byte)(src))
		value := [4]float32{-1 * d, 0 * d, d, 2 * d}
		for i, q := range (*[16]byte)(src[2:]) {
			y := (*[4]float32)(dst[4*i:])
			y[0], y[1], y[2], y[3] = value[q&3], value[q>>2&3], value[q>>4&3], value[q>>6]
		}
		dst, src = dst[weightsQ2_0:], src[bytesQ2_0:]
	}
}

func quantizeQ1_0(dst []byte, src []float32) {
	for len(src) >= weightsQ1_0 && len(dst) >= bytesQ1_0 {
		x := (*[weightsQ1_0]float32)(src)
		var sum float32
		for _, v := range x {
			sum += absf(v)
		}
		storeHalf((*[2]byte)(dst), sum/weightsQ1_0)
		q := (*[16]byte)(dst[2:])
		clear(q[:])
		for i, v := range x {
			if v >= 0 {
				q[i/8] |= 1 << (i % 8)
			}
		}
		src, dst = src[weightsQ1_0:], dst[bytesQ1_0:]
	}
}

func quantizeQ2_0(dst []byte, src []float32) {
	for len(src) >= weightsQ2_0 && len(dst) >= bytesQ2_0 {
		x := (*[weightsQ2_0]float32)(src)
		d := absf(peak(x[:]))
		inverse := inverseOf(d)
		storeHalf((*[2]byte)(dst), d)
		q := (*[16]byte)(dst[2:])
		clear(q[:])
		for i, v := range x {
			l := min(max(roundHalfAway(float32(v*inverse))+1, 0), 3)
			q[i/4] |= uint8(l) << (2 * (i % 4))
		}
		src, dst = src[weightsQ2_0:], dst[bytesQ2_0:]
	}
}
