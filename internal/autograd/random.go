package autograd

// random is a counter-based generator: a mask depends on the seed and on the number of masks drawn before it,
// never on threads or on whether a checkpoint runs for the second time.
type random struct {
	seed  uint64
	masks uint64
}

// next is the key of the next mask.
func (r *random) next() uint64 {
	r.masks++
	return mix(r.seed ^ mix(r.masks))
}

// mix is the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// dropRow writes y = x/(1-p) where the mask of this row keeps a value and 0 where it does not. Each value is
// dropped with probability p, in steps of 2^-16; x and y may be the same slice.
func dropRow(y, x []float32, key uint64, row int, p float32) {
	limit := uint64(p * (1 << 16))
	keep := 1 / (1 - p)
	state := mix(key ^ uint64(row)*0xd1342543de82ef95)
	var bits uint64
	for i, v := range x {
		if i&3 == 0 {
			state += 0x9e3779b97f4a7c15
			bits = mix(state)
		}
		if bits&0xffff < limit {
			v = 0
		}
		bits >>= 16
		y[i] = v * keep
	}
}
