//go:build !purego

package kernels

import "golang.org/x/sys/cpu"

// processorTier names every feature that the assembly of a tier uses.
func processorTier() tier {
	avx2 := cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasF16C
	bits := cpu.X86.HasBMI1 && cpu.X86.HasBMI2 && cpu.X86.HasPOPCNT
	avx512 := avx2 && bits && cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512BW
	switch {
	case avx512 && cpu.X86.HasAVX512VNNI && cpu.X86.HasAVX512BF16 && hasAMX():
		return tierAMX
	case avx512:
		return tierAVX512
	case avx2:
		return tierAVX2
	}
	return tierGeneric
}

// hasAMX says whether the processor has tile registers and their products, and the system saves them.
func hasAMX() bool {
	const tiles = 3 << 17 // XTILECFG and XTILEDATA
	return cpu.X86.HasAMXTile && cpu.X86.HasAMXInt8 && cpu.X86.HasAMXBF16 && cpu.X86.HasOSXSAVE &&
		enabledStates()&tiles == tiles
}

// permitted is t, or the tier below it where the system does not let this process use the registers of t.
func permitted(t tier) tier {
	if t == tierAMX && !allowTiles() {
		return tierAVX512
	}
	return t
}

func tierExists(t tier) bool { return t == tierGeneric || t >= tierAVX2 }
