package kernels

import "time"

// Peak measures the rate of the multiply-add units with Threads() threads, in 10⁹ operations per second (a
// multiply-add is two), with the instructions that products of precision p use here. Products are compared with it. It
// takes a tenth of a second.
func Peak(p Precision) float64 {
	rounds := 1 << 19 // long enough for all threads to begin before the first one ends
	if current == tierGeneric {
		rounds >>= 4
	}
	threads := Threads()
	task := func(int) { peakRounds(p, rounds) }
	ops := float64(threads * rounds * peakOps(p))
	return ops / fastest(100*time.Millisecond, func() { Parallel(threads, task) }) / 1e9
}

// Sustained is the rate of the instructions of Peak over a span of time, in 10⁹ operations per second. It is less than
// the peak where other programs take a share of the processor, which slows a training step too.
func Sustained(p Precision, span time.Duration) float64 {
	const rounds, tasks = 1 << 14, 64
	task := func(int) { peakRounds(p, rounds) }
	start, n := time.Now(), 0
	for ; n == 0 || time.Since(start) < span; n++ {
		Parallel(tasks, task)
	}
	return float64(n*tasks*rounds*peakOps(p)) / time.Since(start).Seconds() / 1e9
}

// Bandwidth measures how fast Threads() threads read memory beyond all caches, in 10⁹ bytes per second. It takes 512
// MiB of memory and about a second.
func Bandwidth() float64 {
	const piece, pieces = 1 << 18, 512
	memory := make([]float32, piece*pieces)
	const page = 1 << 10 // each is written to, so that it is mapped
	Parallel(pieces, func(i int) {
		for j := i * piece; j < (i+1)*piece; j += page {
			memory[j] = 1
		}
	})
	read := func(i int) { maximum(memory[i*piece : (i+1)*piece]) }
	return 4 * float64(len(memory)) / fastest(300*time.Millisecond, func() { Parallel(pieces, read) }) / 1e9
}

// fastest is the shortest time, in seconds, of all calls of f that fit d, at least three. Other programs only make it
// longer.
func fastest(d time.Duration, f func()) float64 {
	best := time.Duration(1 << 62)
	for end, n := time.Now().Add(d), 0; n < 3 || time.Now().Before(end); n++ {
		start := time.Now()
		f()
		best = min(best, time.Since(start))
	}
	return best.Seconds()
}

// peakChains is the number of independent multiply-adds in peakRounds.
const peakChains = 12

// peakSink keeps peakGeneric's result from being dropped.
var peakSink float32

// peakGeneric is n rounds of 12 independent multiply-adds.
func peakGeneric(n int) {
	var a, b, c, d, e, f, g, h, i, j, k, l float32
	x := peakSink
	for range n {
		a, b, c, d = a*x+x, b*x+x, c*x+x, d*x+x
		e, f, g, h = e*x+x, f*x+x, g*x+x, h*x+x
		i, j, k, l = i*x+x, j*x+x, k*x+x, l*x+x
	}
	if a+b+c+d+e+f+g+h+i+j+k+l != 0 {
		peakSink = 0
	}
}
