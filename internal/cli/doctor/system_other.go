//go:build !linux && !darwin && !windows

package doctor

import "errors"

func processorName() string { return "" }

func memoryTotal() int64 { return 0 }

func freeDisk(string) (int64, error) { return 0, errors.ErrUnsupported }
