// Package tokenizer turns text into the token ids of a model and ids back into text.
//
// A [Tokenizer] comes from the metadata of a GGUF file ([FromGGUF]) or from the files of a Hugging Face model
// directory ([FromHF]): tokenizer.json, or tokenizer.model, which [ReadSentencePiece] reads by itself. These kinds are
// known:
//
//   - "llama", as SentencePiece's BPE models do it: spaces become ▁, and neighbouring pieces merge by the score of the
//     token that they make, best first; what is no token is spelled in byte tokens (<0x0A>).
//   - "gpt2", byte-level BPE: expressions cut the text into words (package pattern, by the name in
//     tokenizer.ggml.pre), and the bytes of a word merge by the rank of the pair. "gemma4", "whitespace" and
//     "hybriddna" are BPE too.
//   - "bert", WordPiece: words are cut into the longest tokens from the left.
//   - "t5", Unigram: the tokens with the largest sum of scores.
//
// A tokenizer.json may combine these models with its own normalizers and pre-tokenizers, which run as it says.
//
// GGUF tokenizers give the ids that llama.cpp gives, its approximations of the original expressions included, because
// that is what will run the model. They differ in one thing: a byte that is not UTF-8 keeps its value, where llama.cpp
// puts U+FFFD in its place, so that Decode(Encode(s)) is s whenever the vocabulary has all bytes. (SentencePiece texts
// that hold ▁ itself are the exception: it reads back as a space. WordPiece and Unigram forget more.) Those of a
// tokenizer.json give the ids of Hugging Face's tokenizers library.
//
// A megabyte of English takes 50 to 100 ms on one core, a megabyte without any place to cut about a second: merging
// never costs more than n log n.
package tokenizer
