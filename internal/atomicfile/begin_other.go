//go:build !linux

package atomicfile

import "os"

// beginSync is not done on this system.
func beginSync(*os.File) {}
