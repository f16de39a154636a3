// Package mpi joins processes by an MPI library: Open MPI, or, with the build tag mpich, MPICH and what has its binary
// interface. A process that imports it has it as the engine of package dist. Without the build tag mpi it is empty.
package mpi
