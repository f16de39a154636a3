package tale

import "math/bits"

// source is the splitmix64 generator: every platform and every Go release draws the same numbers from a seed.
type source struct{ state uint64 }

// newSource starts a stream of its own for each pair of seed and index.
func newSource(seed, index uint64) *source {
	s := &source{state: seed}
	s.state = s.next() ^ (index+1)*0xd1342543de82ef95
	s.next()
	return s
}

func (s *source) next() uint64 {
	s.state += 0x9e3779b97f4a7c15
	return mix(s.state)
}

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below is a number from 0 to n-1.
func (s *source) below(n int) int {
	hi, _ := bits.Mul64(s.next(), uint64(n))
	return int(hi)
}

// chance is true in percent of 100 draws.
func (s *source) chance(percent int) bool { return s.below(100) < percent }

func pick[T any](s *source, from []T) T { return from[s.below(len(from))] }

func shuffle[T any](s *source, xs []T) {
	for i := len(xs) - 1; i > 0; i-- {
		j := s.below(i + 1)
		xs[i], xs[j] = xs[j], xs[i]
	}
}
