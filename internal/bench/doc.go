// Package bench measures the peak rates of a machine and the share that products of quantized matrices and whole
// training steps reach. Both are measured in the same run, so that the share does not depend on the current clock
// rate.
package bench
