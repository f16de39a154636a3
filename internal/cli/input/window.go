package input

import (
	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/eval"
)

// Window is --ctx of the verbs that run a model over windows of a text.
type Window struct {
	Tokens int
	given  func() bool
}

// Add adds the flag.
func (w *Window) Add(fs *pflag.FlagSet, usage string) {
	fs.IntVarP(&w.Tokens, "ctx", "c", eval.DefaultWindow, usage+", by default no more than the model was made for")
	w.given = func() bool { return fs.Changed("ctx") }
}

// Of is the number of tokens of a window for a base.
func (w *Window) Of(b *peft.Base) int {
	if n := b.ContextLength(); n > 0 && n < w.Tokens && !w.given() {
		return n
	}
	return w.Tokens
}
