package demo

import (
	"fmt"
	"strings"
	"time"

	"github.com/peftconv/peftconv/internal/handle"
)

func (d *demonstration) printf(format string, args ...any) { fmt.Fprintf(d.out, format, args...) }

func (d *demonstration) opening() {
	embed := handle.Base(d.base).Model.Embed.Type
	d.printf("Base: the built-in model, %.1f million weights in %v, %d layers. It tells tales of a little valley.\n",
		float64(d.base.Parameters())/1e6, embed, d.base.Layers())
	d.printf("Data: %d examples (%d tokens) to train on, %d held "+
		"out to evaluate on. Two tasks that the base has never seen:\n", d.train.Len(), d.train.Tokens(), d.eval.Len())
	d.printf("  to retell a tale as the owl would, and to name the mood of the hero at the end of a tale.\n\n")
	d.printf("%-8s %8s %12s %16s %14s\n", "", "loss", "perplexity", "owl's sentences", "moods named")
}

func (d *demonstration) tell(who string, s Score) {
	d.printf("%-8s %8.4f %12.3f %16s %14s\n", who, s.Loss, s.Perplexity, s.Owl, s.Mood)
}

// String is "17 of 20".
func (c Count) String() string { return fmt.Sprintf("%d of %d", c.Right, c.All) }

func (d *demonstration) show(s Sample) {
	d.printf("\n%s\n", indent("Prompt ", s.Prompt))
	d.printf("%s\n", indent("Before ", s.Before))
	d.printf("%s\n", indent("After  ", s.After))
}

// indent writes a label before the first line of a text and moves the others in line with it.
func indent(label, text string) string {
	margin := "\n" + strings.Repeat(" ", len(label)+1)
	return label + "│" + strings.ReplaceAll(strings.TrimSpace(text), "\n", margin[:len(margin)-1]+"│")
}

func (d *demonstration) closing() {
	r := d.result
	d.printf("\nTrained %d steps, %d tokens, %.0f tokens/s, peak memory %.0f MB. %s in all.\n", r.Training.Steps,
		r.Training.Tokens, r.Training.TokensPerSecond, float64(r.Training.PeakRSS)/1e6, r.Elapsed.Round(100*time.Millisecond))
	d.printf("Merged into %d tensors of the base's own types; %.1f %% of the adapter's change is kept after rounding.\n",
		len(r.Merge.Tensors), 100*r.Merge.Recovery)
	if d.opt.Dir != "" {
		d.printf("The files are in %s.\n", d.opt.Dir)
	}
	d.printf("\nThe same with your own files:\n\n%s", Commands("model.gguf", "train.jsonl", "eval.jsonl"))
}

// Commands are the command lines that do on files of the user's own what the demonstration does on the built-in ones.
func Commands(base, train, eval string) string {
	const adapter = "out.safetensors"
	lines := []string{
		fmt.Sprintf("peftconv train --base %s --data %s --eval-data %s --out %s", base, train, eval, adapter),
		fmt.Sprintf("peftconv eval --base %s --lora %s --data %s", base, adapter, eval),
		fmt.Sprintf("peftconv generate --base %s --lora %s --prompt \"…\"", base, adapter),
		fmt.Sprintf("peftconv merge --lora %s --out merged.gguf", adapter),
		fmt.Sprintf("peftconv export --lora %s --to gguf --out lora.gguf", adapter),
		fmt.Sprintf("peftconv export --lora %s --to peft --out adapter", adapter),
	}
	return "  " + strings.Join(lines, "\n  ") + "\n"
}
