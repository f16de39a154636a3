package cli

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/kernels"
)

// AddThreads is the flag of verbs that compute without a model.
func AddThreads(fs *pflag.FlagSet, n *int) {
	fs.IntVarP(n, "threads", "t", 0,
		"`N` threads to read with; 0 is one for each processor; the results are the same for any N")
}

// UseThreads checks the flag.
func UseThreads(n int) error {
	if n < 0 || n > 1024 {
		return fmt.Errorf("--threads: %d, expected 0 to 1024", n)
	}
	kernels.SetThreads(n)
	return nil
}
