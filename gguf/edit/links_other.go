//go:build !unix && !windows

package edit

import "os"

// links is how many names a file has; where the system does not say, perhaps several.
func links(*os.File) (uint64, error) { return 2, nil }
