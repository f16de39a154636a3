package main

import (
	"errors"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/export"
)

// hints are the flags by which kinds of errors of the library can be helped.
var hints = []struct {
	kind error
	text string
}{
	{peft.ErrNoMaster, "--latent"},
	{attach.ErrNoCodes, "--method lora --qat auto"},
	{export.ErrOnlyState, "--to state"},
	{export.ErrOnlyWeights, "--to gguf"},
}

// hintOf is what is said behind an error, "" for nothing.
func hintOf(err error) string {
	for _, h := range hints {
		if errors.Is(err, h.kind) {
			return " (" + h.text + ")"
		}
	}
	return ""
}
