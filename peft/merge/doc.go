// Package merge writes a base with adapters merged into its weights, in the same types or in another, and measures how
// much of the adapters' change is in the result.
package merge
