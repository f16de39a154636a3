//go:build mpi

package main

import _ "github.com/peftconv/peftconv/internal/dist/mpi" // the engine
