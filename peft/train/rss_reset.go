package train

import (
	"os"
)

// ResetPeakRSS has PeakRSS forget what the process held before, where the system can (Linux).
func ResetPeakRSS() {
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // elsewhere there is no such file, and nothing to be done
}
