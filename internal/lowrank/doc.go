// Package lowrank computes with changes of weights that are products of two thin matrices ([LowRank]): sums, products,
// singular values, truncation, the nearest ones to any change. What blocks are requantized from is computed here too,
// in a fixed order with every rounding fixed, so that its bytes are the same on every processor. The package knows no
// adapter and no model beside the row order of a weight.
package lowrank
