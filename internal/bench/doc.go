// Package bench measures what a machine can do and how much of it the products of quantized matrices and whole training
// steps make use of. Peak and use are measured in the same run, so that the share does not depend on what the processor's
// clock does today.
package bench
