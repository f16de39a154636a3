package kernels

// Tiers names the tiers that this processor has, the lowest first.
func Tiers() []string {
	var names []string
	for t := range bestTier() + 1 {
		if tierExists(t) {
			names = append(names, t.String())
		}
	}
	return names
}

// UseTier lets kernels run on a tier of this processor from now on, and returns the name of the one that they ran on.
// It is for tests and benchmarks that compare tiers, and must not be called while a kernel runs.
func UseTier(name string) (was string) {
	was = current.String()
	for t := range bestTier() + 1 {
		if tierExists(t) && t.String() == name {
			current = t
			return was
		}
	}
	panic("kernels: UseTier of a tier that this processor has not")
}
