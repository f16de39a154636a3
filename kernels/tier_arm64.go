//go:build !purego

package kernels

// bestTier is NEON: every arm64 processor that Go supports has it.
func bestTier() tier { return tierNEON }

func tierExists(t tier) bool { return t <= tierNEON }
