package train

import (
	"os"
)

// ResetPeakRSS resets PeakRSS to what the process holds now, where the system can (Linux).
func ResetPeakRSS() {
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // fails elsewhere, where there is no such file
}
