// Package alloctest counts the allocations of code that keeps its memory for reuse.
package alloctest

import "testing"

// Steady is how often f allocates a call, on average over runs calls, once it has found its memory: the least of
// several counts. With more than one thread it may take many calls until as many threads as can be are inside the same
// part of f at once, each with memory of its own.
func Steady(runs int, f func()) float64 {
	least := testing.AllocsPerRun(runs, f)
	for try := 1; least > 0 && try < 8; try++ {
		least = min(least, testing.AllocsPerRun(runs, f))
	}
	return least
}
