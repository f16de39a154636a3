//go:build !purego

package kernels

import "golang.org/x/sys/cpu"

// features names every feature that the assembly of a tier uses, and those that kernels use where they are.
var features = []feature{
	{tierAVX2, "avx2", cpu.X86.HasAVX2},
	{tierAVX2, "fma", cpu.X86.HasFMA},
	{tierAVX2, "f16c", cpu.X86.HasF16C},
	{tierAVX512, "bmi1", cpu.X86.HasBMI1},
	{tierAVX512, "bmi2", cpu.X86.HasBMI2},
	{tierAVX512, "popcnt", cpu.X86.HasPOPCNT},
	{tierAVX512, "avx512f", cpu.X86.HasAVX512F},
	{tierAVX512, "avx512dq", cpu.X86.HasAVX512DQ},
	{tierAVX512, "avx512vl", cpu.X86.HasAVX512VL},
	{tierAVX512, "avx512bw", cpu.X86.HasAVX512BW},
	{tierAMX, "avx512_vnni", cpu.X86.HasAVX512VNNI},
	{tierAMX, "avx512_bf16", cpu.X86.HasAVX512BF16},
	{tierAMX, "amx_tile", cpu.X86.HasAMXTile && savesTiles()},
	{tierAMX, "amx_int8", cpu.X86.HasAMXInt8},
	{tierAMX, "amx_bf16", cpu.X86.HasAMXBF16},
	{tierGeneric, "avx512_vbmi", cpu.X86.HasAVX512VBMI},
	{tierGeneric, "gfni", cpu.X86.HasAVX512GFNI},
}

// processorTier is the highest tier of which, and of the tiers below it, no feature is missing.
func processorTier() tier {
	best := tierGeneric
	for _, t := range []tier{tierAVX2, tierAVX512, tierAMX} {
		for _, f := range features {
			if f.tier == t && !f.has {
				return best
			}
		}
		best = t
	}
	return best
}

// savesTiles says whether the system saves the tile registers when it changes threads.
func savesTiles() bool {
	const tiles = 3 << 17 // XTILECFG and XTILEDATA
	return cpu.X86.HasOSXSAVE && enabledStates()&tiles == tiles
}

// permitted is t, or the tier below it where the system does not let this process use the registers of t.
func permitted(t tier) tier {
	if t == tierAMX && !allowTiles() {
		return tierAVX512
	}
	return t
}

func tierExists(t tier) bool { return t == tierGeneric || t >= tierAVX2 }
