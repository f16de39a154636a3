package store

import (
	"path/filepath"
	"slices"
	"strings"
)

// partNames are the files beside the weights of a Hugging Face model.
var partNames = []string{"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
	"tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
	"chat_template.jinja", "chat_template.json"}

// weightSuffixes are the endings of files of weights.
var weightSuffixes = []string{".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack"}

// IsWeights says whether a file holds weights, by its name.
func IsWeights(name string) bool { return slices.Contains(weightSuffixes, filepath.Ext(name)) }

// IsPart says whether a file of a Hugging Face directory, by its name, is part of the model: one that takes its place
// must not leave it there.
func IsPart(name string) bool {
	return slices.Contains(partNames, name) || IsWeights(name) || strings.HasSuffix(name, ".safetensors.index.json")
}
