// Package discrete has prompts made of words: templates of fixed words, fields of a record and slots for words that a
// search finds, verbalizers that say which words answer for which label, and the forms in which a prompt is used
// elsewhere. It knows no model: package peft searches.
package discrete
