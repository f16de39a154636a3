package main

import (
	"errors"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/export"
	"github.com/peftconv/peftconv/peft/generate"
)

// hints are the flags that help against kinds of the library's errors.
var hints = []struct {
	kind error
	text string
}{
	{peft.ErrNeedsBase, "--base"},
	{peft.ErrNoMaster, "--latent"},
	{attach.ErrNoCodes, "--method lora --qat auto"},
	{export.ErrOnlyState, "--to state"},
	{export.ErrNoFirst, "--first-token"},
	{export.ErrTaken, "--force replaces it"},
	{export.ErrOnlyWeights, "--to gguf"},
	{generate.ErrPromptTooLong, "--ctx"},
}

// hintOf is the text after an error, "" for none.
func hintOf(err error) string {
	for _, h := range hints {
		if errors.Is(err, h.kind) {
			return " (" + h.text + ")"
		}
	}
	return ""
}
