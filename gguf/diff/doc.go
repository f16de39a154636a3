// Package diff compares two models or adapters: their metadata by key, their tensors by name. Of tensors that are not the
// same to the byte it says how far apart their numbers are, whatever types they are stored in.
//
// Files of any size are compared: they are read in pieces, on all threads. The figures do not depend on how many.
package diff
