//go:build !purego

package kernels

import "golang.org/x/sys/unix"

// detectBF16 asks the kernel, which lists the features of the processor in the auxiliary vector.
func detectBF16() bool {
	const hwcap2, bf16 = 26, 1 << 14 // AT_HWCAP2, HWCAP2_BF16
	pairs, err := unix.Auxv()
	if err != nil {
		return false
	}
	for _, p := range pairs {
		if p[0] == hwcap2 {
			return p[1]&bf16 != 0
		}
	}
	return false
}

// detectI8MM is for what package cpu does not tell here: nothing.
func detectI8MM() bool { return false }
