//go:build mpi

package mpi

import "golang.org/x/sys/unix"

// processors are those that this process may use; nil: it is not known.
func processors() []int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	var all []int
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			all = append(all, i)
		}
	}
	return all
}
