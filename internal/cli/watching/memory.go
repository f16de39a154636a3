package watching

import (
	"errors"
	"fmt"
	"strings"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/runlog"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/train"
)

// MemoryText is what a run will need: "1.2 GB (weights 0.7 GB, …), 20.3 GB available".
func MemoryText(m *train.Memory) string {
	var parts []string
	planned := runlog.MemoryOf(m)
	for _, part := range planned.Parts() {
		parts = append(parts, part.Name+" "+cli.BytesText(part.Bytes))
	}
	text := fmt.Sprintf("about %s: %s", cli.BytesText(m.Total()), strings.Join(parts, ", "))
	if m.Known {
		text += fmt.Sprintf("; %s available", cli.BytesText(m.Available))
	}
	return text
}

// MoreMemory is what more memory would buy, "" for nothing.
func MoreMemory(m *train.Memory, plan func(change func(*train.Options)) (*train.Memory, error)) string {
	if m.Recompute {
		with, err := plan(func(t *train.Options) { t.Recompute = train.RecomputeNever })
		if err != nil {
			return ""
		}
		return fmt.Sprintf("activations are computed again in the backward pass; --recompute never takes about %s, and a "+
			"third less time", cli.BytesText(with.Total()))
	}
	if m.MicroBatch >= m.BatchTokens {
		return ""
	}
	with, err := plan(func(t *train.Options) { t.MicroBatch = m.BatchTokens })
	if err != nil || with.Total() < m.Total()*11/10 {
		return "" // the data have no such batches
	}
	return fmt.Sprintf("batches go through the model %s at a time; --micro-batch-tokens %d takes about %s, and a few "+
		"percent less time", cli.Plural(m.MicroBatch, "token"), m.BatchTokens, cli.BytesText(with.Total()))
}

// ShortOfMemory adds the flags that would help to the error of a run that needs too much memory.
func ShortOfMemory(err error, base *peft.Base, a *peft.Adapter, set *peft.Data,
	opt train.Options) error {
	var short *train.ShortOfMemory
	if !errors.As(err, &short) {
		return err
	}
	var help []string
	try := func(flags string, change func(*train.Options)) {
		changed := opt
		change(&changed)
		if m, err := train.PlanMemory(base, a, set, changed); err == nil && m.Total() < short.Total()*9/10 {
			help = append(help, fmt.Sprintf("%s (about %s)", flags, cli.BytesText(m.Total())))
		}
	}
	if !short.Recompute {
		try("--recompute always", func(t *train.Options) { t.Recompute = train.RecomputeAlways })
	}
	most, flag := min(short.MicroBatch, short.BatchTokens), "--micro-batch-tokens"
	if opt.RouterAuxLoss > 0 {
		flag = "--batch-tokens" // whose loss is of whole batches
	}
	for tokens := most / 2; tokens >= 64 && tokens > most/16; tokens /= 2 {
		try(fmt.Sprintf("--recompute always %s %d", flag, tokens), func(t *train.Options) {
			t.Recompute, t.MicroBatch = train.RecomputeAlways, tokens
			if opt.RouterAuxLoss > 0 {
				t.BatchTokens = tokens
			}
		})
	}
	if short.Adapter > short.Total()/10 {
		help = append(help, "a smaller --rank")
	}
	help = append(help, "--ignore-memory to start all the same")
	return fmt.Errorf("%w; what helps: %s", err, strings.Join(help, ", "))
}
