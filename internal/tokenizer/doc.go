// Package tokenizer turns text into the token ids of a model and ids back into text.
//
// A [Tokenizer] comes from the metadata of a GGUF file ([FromGGUF]) or from the files of a Hugging Face model
// directory ([FromHF]). Three kinds are known:
//
//   - "llama", as SentencePiece's BPE models do it: spaces become ▁, and neighbouring pieces merge by the score of the
//     token that they make, best first; what is no token is spelled in byte tokens (<0x0A>).
//   - "gpt2", byte-level BPE: expressions cut the text into words (package pattern, by the name in
//     tokenizer.ggml.pre), and the bytes of a word merge by the rank of the pair.
//   - "gemma4", BPE over characters: spaces become ▁, and the characters of a line merge by the rank of the pair.
//
// GGUF tokenizers give the ids that llama.cpp gives, its approximations of the original expressions included, because
// that is what will run the model. They differ in one thing: a byte that is not UTF-8 keeps its value, where llama.cpp
// puts U+FFFD in its place, so that Decode(Encode(s)) is s whenever the vocabulary has all bytes. (SentencePiece texts
// that hold ▁ itself are the exception: it reads back as a space.)
//
// A megabyte of English takes 50 to 100 ms on one core, a megabyte without any place to cut about a second: merging
// never costs more than n log n.
package tokenizer
