// Package eval measures a base, with adapters or without: the loss on examples, the perplexity of a text, and the
// importance matrix that quantizing a model needs.
package eval
