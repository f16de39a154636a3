package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/chart"
	"github.com/peftconv/peftconv/peft"
)

// deliver prints the table and writes the requested files.
func (o *compareOptions) deliver(s streams, c *peft.Comparison) error {
	table := comparisonTable(c)
	if o.svg != "" {
		if err := writeBytes(o.svg, comparisonChart(c).SVG()); err != nil {
			return err
		}
	}
	if o.markdown != "" {
		if err := writeBytes(o.markdown, []byte(o.markdownOf(c, table))); err != nil {
			return err
		}
	}
	if o.json {
		return printJSON(s.out, c)
	}
	fmt.Fprint(s.out, alignedTable(table))
	return nil
}

func writeBytes(path string, data []byte) error {
	return atomicfile.Write(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// comparisonTable is the heads of the columns and a row a method.
func comparisonTable(c *peft.Comparison) [][]string {
	labelled := false
	for i := range c.Methods {
		labelled = labelled || c.Methods[i].Accuracy != nil
	}
	heads := []string{"method", "loss before", "after"}
	if labelled {
		heads = append(heads, "accuracy before", "after")
	}
	table := [][]string{append(heads, "parameters", "file", "learning rate", "tokens/s", "memory")}
	for i := range c.Methods {
		m := &c.Methods[i]
		row := []string{m.Name, fmt.Sprintf("%.4f", m.BaseLoss), fmt.Sprintf("%.4f", m.EvalLoss)}
		if labelled {
			row = append(row, percent(m.BaseAccuracy), percent(m.Accuracy))
		}
		table = append(table, append(row, countText(m.Parameters), bytesText(m.Bytes), fmt.Sprintf("%.2g", m.LR),
			countText(int64(m.TokensPerSecond)), bytesText(m.PeakRSS)))
	}
	return table
}

// percent is a share, or a dash where there is none.
func percent(share *float64) string {
	if share == nil {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100**share)
}

// alignedTable has the first column at the left and the others at the right.
func alignedTable(table [][]string) string {
	widths := make([]int, len(table[0]))
	for _, row := range table {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range table {
		for i, cell := range row {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				b.WriteString(cell + space)
			} else {
				b.WriteString("  " + space + cell)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// markdownOf is the table, what it was made with, and the picture.
func (o *compareOptions) markdownOf(c *peft.Comparison, table [][]string) string {
	var b strings.Builder
	for i, row := range table {
		cells := append([]string(nil), row...)
		if i > 0 {
			cells[0] = "`" + cells[0] + "`"
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
		if i == 0 {
			fmt.Fprintf(&b, "|:--%s|\n", strings.Repeat("|--:", len(row)-1))
		}
	}
	m := &c.Methods[0]
	fmt.Fprintf(&b, "\n%s of at most %s each (%s in all), %s schedule, seed %d.\n", plural(m.Steps, "step"),
		plural(c.BatchTokens*c.Accumulate, "token"), plural(int(m.Tokens), "token"), c.Schedule, c.Seed)
	if o.svg != "" {
		path := o.svg
		if from, err := filepath.Rel(filepath.Dir(o.markdown), o.svg); err == nil {
			path = from
		}
		fmt.Fprintf(&b, "\n![loss on the evaluation data, by step](<%s>)\n", filepath.ToSlash(path))
	}
	return b.String()
}

// comparisonChart has the evaluation losses over the steps.
func comparisonChart(c *peft.Comparison) *chart.Chart {
	pic := &chart.Chart{Title: "Loss on the evaluation data", X: "step", Y: "cross entropy (nats a token)"}
	for i := range c.Methods {
		m := &c.Methods[i]
		l := chart.Line{Name: m.Name}
		for _, p := range m.EvalCurve {
			l.Points = append(l.Points, chart.Point{X: float64(p.Step), Y: p.Loss})
		}
		pic.Lines = append(pic.Lines, l)
		if level := (chart.Level{Name: "base", Y: m.BaseLoss}); !slices.Contains(pic.Levels, level) {
			pic.Levels = append(pic.Levels, level)
		}
	}
	return pic
}
