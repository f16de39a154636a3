package main

import (
	"errors"
	"fmt"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/algebra"
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
	{attach.ErrOnlyBlocks, "train with --qat-store pairs"},
	{export.ErrOnlyState, "--to state"},
	{export.ErrNoFirst, "--first-token"},
	{algebra.ErrOtherBase, "--any-base combines them all the same"},
	{export.ErrTaken, "--force replaces it"},
	{export.ErrOnlyWeights, "--to gguf"},
	{generate.ErrPromptTooLong, "--ctx"},
}

// helpOf is what is added to an error: the flag that helps, in brackets, or the command that does, on its own line.
func helpOf(err error) (text string) {
	for _, h := range hints {
		if errors.Is(err, h.kind) {
			text = " (" + h.text + ")"
			break
		}
	}
	if path := interruptedEdit(err); path != "" {
		text += fmt.Sprintf("\nAn edit of this file was interrupted: \"%s\" finishes it.",
			cli.CommandLine("peftconv", "edit", path))
	}
	return text
}
