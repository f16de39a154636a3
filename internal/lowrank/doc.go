// Package lowrank computes with changes of weights that are products of two low-rank matrices ([LowRank]): sums,
// products, singular values, truncation, the nearest ones to any change. The changes for requantization are computed
// here too, in a fixed order with every rounding fixed, so that their bytes are the same on every processor. The
// package knows no adapter, and of a model only the row order of a weight.
package lowrank
