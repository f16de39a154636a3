//go:build arm64 && !linux && !darwin && !windows && !purego

package kernels

func detectBF16() bool { return false }

func detectI8MM() bool { return false }
