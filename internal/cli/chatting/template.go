// Package chatting has what verbs that know conversations have in common: the flags of chat templates, and talking with
// a model.
package chatting

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/peft"
)

// Template are the flags that name a chat template.
type Template struct {
	ChatTemplate string
	arguments    []string
}

// Add adds the flags. more is what else --chat-template does, for its help.
func (t *Template) Add(fs *pflag.FlagSet, more string) {
	fs.StringVar(&t.ChatTemplate, "chat-template", "", "the chat template, a `FILE` or the NAME of one of the base's "+
		"(default: the base's)"+more)
	fs.StringArrayVar(&t.arguments, "template-args", nil, "`NAME=VALUE` of a variable of the chat template, such as "+
		"enable_thinking=false; may be repeated")
}

// Arguments are those of --template-args.
func (t *Template) Arguments() (map[string]string, error) {
	out := map[string]string{}
	for _, a := range t.arguments {
		name, value, ok := strings.Cut(a, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--template-args: %q, expected NAME=VALUE", a)
		}
		out[name] = value
	}
	return out, nil
}

// Options are those of the library, as far as the flags say them.
func (t *Template) Options() peft.ChatOptions {
	arguments, _ := t.Arguments()
	return peft.ChatOptions{Template: t.ChatTemplate, Arguments: arguments}
}

// TemplateWords are the flags again, for commands that are printed.
func (t *Template) TemplateWords() (words []string) {
	if t.ChatTemplate != "" {
		words = append(words, "--chat-template", t.ChatTemplate)
	}
	for _, a := range t.arguments {
		words = append(words, "--template-args", a)
	}
	return words
}
