package prng

// MersenneTwister is MT19937 (Matsumoto, Nishimura 1998), the generator with which PyTorch fills tensors on a CPU: what
// PEFT makes from a seed and does not always store has to be the same here.
type MersenneTwister struct {
	state [624]uint32
	next  int
}

// NewMersenneTwister is MT19937 seeded as its authors do (init_genrand).
func NewMersenneTwister(seed uint32) *MersenneTwister {
	r := &MersenneTwister{next: 624}
	r.state[0] = seed
	for i := 1; i < len(r.state); i++ {
		r.state[i] = 1812433253*(r.state[i-1]^r.state[i-1]>>30) + uint32(i)
	}
	return r
}

// twist makes the next 624 numbers.
func (r *MersenneTwister) twist() {
	const n, m = 624, 397
	for i := range n {
		y := r.state[i]&0x80000000 | r.state[(i+1)%n]&0x7fffffff
		v := r.state[(i+m)%n] ^ y>>1
		if y&1 != 0 {
			v ^= 0x9908b0df
		}
		r.state[i] = v
	}
	r.next = 0
}

// Uint32 is the next number of 32 bits.
func (r *MersenneTwister) Uint32() uint32 {
	if r.next == len(r.state) {
		r.twist()
	}
	y := r.state[r.next]
	r.next++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// Uniform is in [from, to), of 24 bits, as PyTorch's uniform_ makes a float32.
func (r *MersenneTwister) Uniform(from, to float32) float32 {
	x := float32(r.Uint32()&(1<<24-1)) * (1.0 / (1 << 24))
	return float32(x*(to-from)) + from
}
