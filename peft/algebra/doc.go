// Package algebra calculates with LoRAs: it combines several into one, changes the rank of one, and extracts one from
// the difference of two models.
package algebra
