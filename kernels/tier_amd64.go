//go:build !purego

package kernels

import "golang.org/x/sys/cpu"

// bestTier names every feature that the assembly of a tier uses.
func bestTier() tier {
	avx2 := cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasF16C
	switch {
	case avx2 && cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512BW:
		return tierAVX512
	case avx2:
		return tierAVX2
	}
	return tierGeneric
}

func tierExists(t tier) bool { return t == tierGeneric || t >= tierAVX2 }
