//go:build (!amd64 && !arm64) || purego

package kernels

func bestTier() tier { return tierGeneric }

func tierExists(t tier) bool { return t == tierGeneric }
