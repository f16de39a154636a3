package doctor

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/kernels"
)

// Print prints a report for people.
func (r *Report) Print(w io.Writer) {
	table := cli.NewTable(w)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(table, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("peftconv", "%s, built with %s for %s", r.Version, r.Go, r.System)
	name := r.Processor.Name
	if name == "" {
		name = "its name is not known"
	}
	row("processor", "%s; %s, of which %d compute", name, cli.Plural(r.Processor.Count, "logical processor"),
		r.Processor.Threads)
	if len(r.Processor.Features) > 0 {
		row("instructions", "%s", strings.Join(r.Processor.Features, " "))
	}
	row("kernels", "%s, of %s%s", r.Kernels.Tier, strings.Join(r.Kernels.Tiers, ", "), r.Kernels.better())
	precision := r.Kernels.Precision
	if precision == kernels.Int8.String() {
		precision += ", for training over quantized weights where a check finds little harm"
	}
	row("precision", "%s", precision)
	if p := r.Peak; p != nil {
		row("peak", "%.0f GFLOP/s in f32, %.0f in bf16, %.0f GOP/s in int8; memory %.1f GB/s", p.F32, p.BF16, p.Int8,
			p.Bandwidth)
	}
	row("memory", "%s", r.Memory.text())
	for i, d := range r.Disks {
		row([]string{"disk", ""}[min(i, 1)], "%s free in %s (%s)", cli.BytesText(d.Free), cli.Name(d.Folder), d.Use)
	}
	for i, s := range r.Settings {
		row([]string{"settings", ""}[min(i, 1)], "%s=%s: %s", s.Name, cli.Name(s.Value), s.Effect)
	}
	table.Flush()
	if r.Model != nil {
		fmt.Fprintln(w)
		r.Model.print(row)
		table.Flush()
	}
	if len(r.Warnings) > 0 {
		fmt.Fprintln(w)
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(w, "warning: %s\n", cli.Line(warning))
	}
}

// better says why no higher tier is used.
func (k *Kernels) better() string {
	switch {
	case k.Better != "":
		return fmt.Sprintf("; not %s: this processor lacks %s", k.Better, strings.Join(k.Lacks, ", "))
	case k.Refused != "":
		return fmt.Sprintf("; not %s: the system does not let this process use its registers", k.Refused)
	}
	return ""
}

// text is the memory with the limits that are below what the machine has.
func (m *Memory) text() string {
	total, available := "", "what is available is not known"
	if m.Total > 0 {
		total = cli.BytesText(m.Total) + ", "
	}
	if len(m.Limits) > 0 {
		available = cli.BytesText(m.Available) + " available"
	}
	var limits []string
	for _, l := range m.Limits {
		if l.Limit != m.Total {
			limits = append(limits, fmt.Sprintf("%s has a limit of %s and leaves %s", l.By, cli.BytesText(l.Limit),
				cli.BytesText(l.Bytes)))
		}
	}
	if len(limits) > 0 {
		available += "; " + strings.Join(limits, ", ")
	}
	return total + available
}

// print prints what was found of a model.
func (m *Model) print(row func(name, format string, args ...any)) {
	architecture := m.Architecture
	if architecture == "" {
		architecture = "an architecture that the file does not name"
	}
	row("model", "%s: %s, %s weights, %s", cli.Name(m.File), cli.Name(architecture), cli.CountText(m.Parameters),
		cli.BytesText(m.Size))
	var types []string
	for _, t := range m.Types {
		text := fmt.Sprintf("%s (%s, %s)", t.Name, cli.Plural(t.Tensors, "tensor"), cli.BytesText(t.Bytes))
		if !t.Computed {
			text += ", which cannot be computed with"
		}
		types = append(types, text)
	}
	row("types", "%s", strings.Join(types, "; "))
	if m.Problem != "" {
		row("problem", "%s", m.Problem)
		row("", "it can be neither trained nor run; inspect, verify, diff, edit, split and join need its format alone")
		return
	}
	row("shape", "%s of width %d, %s", cli.Plural(m.Layers, "layer"), m.Width, cli.Plural(m.Vocabulary, "token"))
	tokenizer := "supported"
	if !m.Tokenizer {
		tokenizer = "none in the file: it can be merged and exported, and data cannot be read for it"
	}
	row("tokenizer", "%s", tokenizer)
	for i, p := range m.Training {
		flags, fits := "with "+p.Flags, "fits"
		if p.Flags == "" {
			flags = "with the default flags"
		}
		if !p.Fits {
			fits = "does not fit"
		}
		row([]string{"training", ""}[min(i, 1)], "%s: about %s %s", fits, cli.BytesText(p.Memory), flags)
	}
	if e := m.Epoch; e != nil {
		time := cli.Clock(time.Duration(e.Seconds * float64(time.Second)))
		row("epoch", "about %s for %s of %s in %s, without evaluation: an estimate from a step of %s", time,
			cli.Plural(e.Tokens, "token"), cli.Name(e.Data), cli.Plural(e.Steps, "step"), cli.Plural(e.StepTokens, "token"))
		row("", "in %s: %s", e.Precision.Precision, e.Precision.Reason)
	}
}
