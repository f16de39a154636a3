// Package discrete has prompts made of words: templates of fixed words, fields of a record and slots for words that a
// search finds; verbalizers, which assign words to labels; and other forms of a prompt. It knows no model: package
// peft searches.
package discrete
