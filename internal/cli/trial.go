package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/peftconv/peftconv/peft/train"
)

// PrintTrial prints what a training run would take.
func PrintTrial(w io.Writer, t *train.Trial) {
	table := NewTable(w)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(table, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("trainable parameters", "%s", CountText(t.Parameters))
	row("tokens with loss", "%s of %s in %s (%.1f %%)", CountText(t.Targets), CountText(t.Tokens),
		Plural(t.Examples, "example"), 100*float64(t.Targets)/float64(max(t.Tokens, 1)))
	memory := "about " + BytesText(t.Memory)
	if t.AvailableKnown {
		memory += " of " + BytesText(t.Available) + " available"
	}
	row("memory", "%s", memory)
	row("precision", "%s: %s", t.Precision.Precision, t.Precision.Reason)
	row("time per step", "%.3g s (measured on %s)", t.StepSeconds, Plural(t.StepTokens, "token"))
	row("whole run", "%s, about %s, without evaluation", Plural(t.Steps, "step"),
		Clock(time.Duration(t.Seconds*float64(time.Second))))
	row("first loss", "%.4f", t.Loss)
	table.Flush()
	fmt.Fprint(w, "\nA dry run: nothing was written.\n")
}
