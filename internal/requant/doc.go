// Package requant requantizes the blocks of a base for changed weights: the blocks keep their type, and their scales,
// zero points and codes change. A [Rounding] says what of a row is rounded, and how: scales by least squares,
// codes to nearest or stochastically, from the blocks or from master weights, with the errors compensated along the row
// or not. Training multiplies with the blocks that a [Requantizer] makes and merging writes them, so that both have the
// same bytes.
package requant
