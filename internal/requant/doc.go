// Package requant puts changed weights onto the blocks of a quantized base: blocks of the same type, whose scales,
// zero points and codes are what changes. A [Rounding] says what of a row is rounded, and how: scales by least squares,
// codes to nearest or stochastically, from the blocks or from master weights, with the errors compensated along the row
// or not. Training multiplies with the blocks that a [Requantizer] makes and merging writes them, so that both have the
// same bytes.
package requant
