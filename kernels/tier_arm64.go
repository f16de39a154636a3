//go:build !purego

package kernels

import "golang.org/x/sys/cpu"

// processorTier is NEON at least: every arm64 processor that Go supports has it.
func processorTier() tier {
	switch {
	case cpu.ARM64.HasASIMDDP && (processor.i8mm || processor.bf16):
		return tierMatMul
	case cpu.ARM64.HasASIMDDP:
		return tierDotProd
	}
	return tierNEON
}

// features names what tiers need beside NEON. Of matrices either kind will do.
var features = []feature{
	{tierDotProd, "asimddp", cpu.ARM64.HasASIMDDP},
	{tierMatMul, "i8mm", processor.i8mm},
	{tierMatMul, "bf16", processor.bf16},
}

func permitted(t tier) tier { return t }

func tierExists(t tier) bool { return t <= processorTier() }

// processor is which instructions there are that package cpu does not tell on every system: for matrices of bytes
// (SMMLA), and for bfloat16 (BFMMLA, BFCVTN).
var processor = struct{ i8mm, bf16 bool }{cpu.ARM64.HasI8MM || detectI8MM(), detectBF16()}

// hasBF16 says whether products of bfloat16 have instructions.
func hasBF16() bool { return current >= tierMatMul && processor.bf16 }

// hasInt8 says whether products of bytes have an instruction (SDOT).
func hasInt8() bool { return current >= tierDotProd }

// hasI8MM says whether products of small matrices of bytes have one (SMMLA).
func hasI8MM() bool { return current >= tierMatMul && processor.i8mm }
