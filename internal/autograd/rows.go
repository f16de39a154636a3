package autograd

import "github.com/peftconv/peftconv/kernels"

// rowsPerTask is how many rows one task of forRows takes.
const rowsPerTask = 16

// forRows runs f on rows 0 to n-1, a few rows a task.
func forRows(n int, f func(i int)) {
	kernels.Parallel((n+rowsPerTask-1)/rowsPerTask, func(task int) {
		for i := task * rowsPerTask; i < min(n, (task+1)*rowsPerTask); i++ {
			f(i)
		}
	})
}
