package chart

import (
	"math"
	"slices"
)

// axis maps values to positions from 0 to 1.
type axis struct {
	low, high float64
	log       bool
	ticks     []float64
}

// newAxis is an axis for values, of which there is at least one. A linear one begins and ends at a tick.
func newAxis(values []float64, log bool) axis {
	a := axis{low: slices.Min(values), high: slices.Max(values), log: log}
	if log {
		a.low, a.high = a.low/1.05, a.high*1.05
		a.ticks = logTicks(a.low, a.high)
		return a
	}
	if near := 1e-9 * max(math.Abs(a.low), math.Abs(a.high)); a.high-a.low <= near {
		a.high = a.low + max(1, 1e3*near) // further apart than ticks could not be told from one another
	}
	step := niceStep((a.high - a.low) / 6)
	first, last := math.Floor(a.low/step+1e-9), math.Ceil(a.high/step-1e-9)
	for i := range int(last-first) + 1 {
		a.ticks = append(a.ticks, tidy((first+float64(i))*step, step))
	}
	a.low, a.high = a.ticks[0], a.ticks[len(a.ticks)-1]
	return a
}

// share is the position of a value on the axis.
func (a *axis) share(v float64) float64 {
	if a.log {
		return math.Log(v/a.low) / math.Log(a.high/a.low)
	}
	return (v - a.low) / (a.high - a.low)
}

// niceStep is the least of 1, 2 and 5 times a power of ten that is no less than step.
func niceStep(step float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(step)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= step*(1-1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// tidy rounds a multiple of step to the digits that step has.
func tidy(v, step float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(step)+1e-9))
	if unit >= 1 {
		return math.Round(v/unit) * unit
	}
	return math.Round(v/unit) / math.Round(1/unit)
}

// logTicks are the multiples of powers of ten in a range: all digits where it is short, else 1, 2 and 5.
func logTicks(low, high float64) []float64 {
	digits := []float64{1, 2, 5}
	if high/low < 30 {
		digits = []float64{1, 1.5, 2, 3, 4, 5, 6, 8}
	}
	var ticks []float64
	for power := math.Floor(math.Log10(low)); power <= math.Log10(high); power++ {
		for _, digit := range digits {
			unit := math.Pow(10, power)
			if v := tidy(digit*unit, unit/10); v >= low && v <= high {
				ticks = append(ticks, v)
			}
		}
	}
	return ticks
}
