// Package verify finds errors in the files of models and adapters: bytes that break the rules of the format, metadata
// and tensors that contradict each other or do not belong to the architecture, numbers that are NaN or infinite, data
// that differ from a list of SHA-256 hashes or another file.
//
// Models and adapters are opened as training opens them, with tokenizer, configuration and state of a run: what is
// refused there is a problem here.
//
// [File] reads everything once, in pieces, on all threads. A contradiction is a problem; something merely unusual is a
// note.
package verify
