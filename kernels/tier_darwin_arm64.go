//go:build !purego

package kernels

import "golang.org/x/sys/unix"

func detectBF16() bool {
	has, err := unix.SysctlUint32("hw.optional.arm.FEAT_BF16")
	return err == nil && has != 0
}

// detectI8MM is for what package cpu does not tell here: nothing.
func detectI8MM() bool { return false }
