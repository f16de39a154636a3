package kernels

import "time"

// Peak measures for about d what the multiply-add units of so many threads can do on the current tier, and
// returns the best rate seen, in float32 operations a second (a multiply-add is two). Matrix products are
// judged by it.
func Peak(threads int, d time.Duration) float64 {
	const rounds = 10000
	best := 0.0
	task := func(int) { peakRounds(rounds) }
	was := workers.threads.Load()
	SetThreads(threads)
	defer workers.threads.Store(was)
	for end := time.Now().Add(d); time.Now().Before(end); {
		start := time.Now()
		Parallel(threads, task)
		best = max(best, float64(threads*rounds*peakOps())/time.Since(start).Seconds())
	}
	return best
}

// peakChains is how many independent multiply-adds peakRounds has under way.
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
