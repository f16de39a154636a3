// Package verify looks for what is wrong with a model's files: bytes that break the rules of the format, metadata and
// tensors that do not fit together or are not those of the architecture, numbers that are NaN or infinite, data that are
// not what a list of SHA-256 hashes or another file says.
//
// [File] reads everything once, in pieces, on all threads. What contradicts something is a problem; what is merely odd is
// a note.
package verify
