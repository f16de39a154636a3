package tokenizer

import "errors"

// FromHF makes the tokenizer of a Hugging Face model directory.
func FromHF(dir string) (*Tokenizer, error) { return nil, errors.ErrUnsupported }
