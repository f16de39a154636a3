package kernels

import "os"

// tier is a set of instructions that kernels are written for. A higher one includes the lower ones of the same
// architecture.
type tier int

const (
	tierGeneric tier = iota
	tierNEON
	tierDotProd // of four bytes (SDOT)
	tierMatMul  // of small matrices of bytes and of bfloat16 (SMMLA, BFMMLA), one of which may be missing
	tierAVX2
	tierAVX512
	tierAMX // tiles of bytes and of bfloat16
)

var tierNames = [...]string{tierGeneric: "generic", tierNEON: "neon", tierDotProd: "dotprod", tierMatMul: "matmul",
	tierAVX2: "avx2", tierAVX512: "avx512", tierAMX: "amx"}

func (t tier) String() string { return tierNames[t] }

// current is the tier that kernels run on: the best of this processor, or the lower one that the
// environment variable PEFTCONV_TIER names.
var current = permitted(chooseTier(processorTier(), os.Getenv("PEFTCONV_TIER")))

// bestTier is the highest tier that this process can use.
func bestTier() tier { return permitted(processorTier()) }

// chooseTier is the tier called name where it is below best, and best otherwise.
func chooseTier(best tier, name string) tier {
	for t := range best {
		if tierNames[t] == name && tierExists(t) {
			return t
		}
	}
	return best
}

// Refused names the tier of this processor whose registers the system does not let this process use, "" where there is
// none.
func Refused() string {
	if t := processorTier(); t != bestTier() {
		return t.String()
	}
	return ""
}

// Tier names the instructions that the kernels use here: "amx", "avx512", "avx2", "matmul", "dotprod", "neon" or
// "generic".
func Tier() string { return current.String() }

// feature is a set of instructions that a tier needs. With tierGeneric none needs it, and some kernels use it where it
// is.
type feature struct {
	tier tier
	name string
	has  bool // the processor has it, and the system lets programs use it
}

// Features names the sets of instructions that kernels of this architecture use, as Linux names them: those that this
// processor has, and those that it lacks, for the lowest tier that it does not have.
func Features() (has []string, better string, lacks []string) {
	next := tierGeneric
	for _, f := range features {
		switch {
		case f.has:
			has = append(has, f.name)
		case f.tier != tierGeneric && (next == tierGeneric || f.tier == next) && f.tier > processorTier():
			next, lacks = f.tier, append(lacks, f.name)
		}
	}
	if next != tierGeneric {
		better = next.String()
	}
	return has, better, lacks
}
