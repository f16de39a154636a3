// Package mpi holds training under MPI against training in one process: the same bytes for every number of ranks, over
// two libraries, on one machine and over a network, and what happens where a rank dies. Its tests run where
// PEFTCONV_MPI is set; they need a C compiler, pkg-config, Open MPI and MPICH.
package mpi
