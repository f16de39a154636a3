//go:build (!amd64 && !arm64) || purego

package kernels

func processorTier() tier { return tierGeneric }

var features []feature

func permitted(t tier) tier { return t }

func tierExists(t tier) bool { return t == tierGeneric }
