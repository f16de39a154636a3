// Package hfvocab turns the tokenizer files of a Hugging Face directory into the keys of tokenizer.* of a GGUF file,
// and back.
//
// [Read] and [Vocabulary.Set] write what llama.cpp's converter writes: the same keys, values, types and order. Which
// file a vocabulary comes from, and what an architecture sets by hand, is data: arch.Vocabulary.
//
// [WriteHF] goes the other way. No reference exists for it: what it writes gives the same ids as the GGUF file does,
// and it says what a GGUF file does not hold.
package hfvocab
