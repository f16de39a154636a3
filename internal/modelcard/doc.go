// Package modelcard finds what a GGUF file says about a model as a work (its name, size, licence, what it was made
// from, how to sample from it) in a Hugging Face model directory: the keys of general.* that no tensor decides.
//
// The keys, their values and their order are those of llama.cpp's converter. Sources, the last one wins: the name of
// the directory, _name_or_path in config.json, the front matter of README.md, a file of metadata, a name given by the
// user.
package modelcard
