package attach

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ParseLayers reads a choice among n layers: "all" or "" (nil, every layer), "first:4", "last:8", single numbers and
// ranges from 0 such as "3-7,9", or several of these with commas. The result is sorted, each layer once.
func ParseLayers(spec string, n int) ([]int, error) {
	if spec == "" || spec == "all" {
		return nil, nil
	}
	var layers []int
	for part := range strings.SplitSeq(spec, ",") {
		from, to, err := layerRange(strings.TrimSpace(part), n)
		if err != nil {
			return nil, fmt.Errorf("layers %q: %w", spec, err)
		}
		for i := from; i < to; i++ {
			layers = append(layers, i)
		}
	}
	slices.Sort(layers)
	layers = slices.Compact(layers)
	if len(layers) == n {
		return nil, nil
	}
	return layers, nil
}

// layerRange reads one part of a choice as the half-open range it means.
func layerRange(part string, n int) (from, to int, err error) {
	if count, ok := strings.CutPrefix(part, "first:"); ok {
		k, err := layerNumber(count, 1, n)
		return 0, k, err
	}
	if count, ok := strings.CutPrefix(part, "last:"); ok {
		k, err := layerNumber(count, 1, n)
		return n - k, n, err
	}
	if part == "all" {
		return 0, n, nil
	}
	first, last, isRange := strings.Cut(part, "-")
	if from, err = layerNumber(first, 0, n-1); err != nil {
		return 0, 0, err
	}
	to = from
	if isRange {
		if to, err = layerNumber(last, 0, n-1); err != nil {
			return 0, 0, err
		}
	}
	if to < from {
		return 0, 0, fmt.Errorf("%q ends before it starts", part)
	}
	return from, to + 1, nil
}

// layerNumber reads a number between low and high.
func layerNumber(s string, low, high int) (int, error) {
	i, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		return 0, fmt.Errorf("%q is not a number, a range such as 3-7, first:N, last:N or all", s)
	}
	if i < low || i > high {
		return 0, fmt.Errorf("%d is out of range, expected %d to %d", i, low, high)
	}
	return i, nil
}
