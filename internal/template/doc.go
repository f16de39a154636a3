// Package template has the templates of prompts. It knows no model.
//
//   - A [Discrete] template is made of fixed words, fields of a record and slots for words that a search finds.
//   - A [Virtual] template has virtual tokens among words and fields, for P-tuning.
package template
