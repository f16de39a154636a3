// Package pretrain makes the built-in model from nothing: it has the tales written, trains a vocabulary on them,
// trains all weights of a small llama-architecture decoder, and writes the result as GGUF together with how it was
// made. The same recipe gives the same bytes on the same kind of processor, whatever the number of threads.
package pretrain
