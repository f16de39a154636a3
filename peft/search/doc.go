// Package search finds prompts of words for a frozen base: the slots of a template are filled with words by the
// gradient at their embeddings, and no weight changes.
package search
