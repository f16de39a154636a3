// Package diff compares two models or adapters: their metadata by key, their tensors by name. For tensors with
// different bytes it measures the distance of their numbers, whatever types they are stored in.
//
// Files of any size are compared: they are read in pieces, on all threads. The figures do not depend on how many.
package diff
