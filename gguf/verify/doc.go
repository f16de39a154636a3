// Package verify finds errors in a model's files: bytes that break the rules of the format, metadata and tensors that
// contradict each other or do not belong to the architecture, numbers that are NaN or infinite, data that differ from
// a list of SHA-256 hashes or another file.
//
// [File] reads everything once, in pieces, on all threads. A contradiction is a problem; something merely unusual is a
// note.
package verify
