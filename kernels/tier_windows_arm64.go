//go:build !purego

package kernels

import "golang.org/x/sys/windows"

// Numbers of winnt.h that package windows lacks.
const (
	featureI8MM = 66 // PF_ARM_V82_I8MM_INSTRUCTIONS_AVAILABLE
	featureBF16 = 68 // PF_ARM_V86_BF16_INSTRUCTIONS_AVAILABLE
)

func detectI8MM() bool { return windows.IsProcessorFeaturePresent(featureI8MM) }

func detectBF16() bool { return windows.IsProcessorFeaturePresent(featureBF16) }
