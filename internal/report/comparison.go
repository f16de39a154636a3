package report

import (
	"fmt"
	"slices"

	"github.com/peftconv/peftconv/internal/chart"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/peft/train"
)

// ComparisonTable is the heads of the columns and a row a method.
func ComparisonTable(c *train.Comparison) [][]string {
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
		table = append(table, append(row, cli.CountText(m.Parameters), cli.BytesText(m.Bytes), fmt.Sprintf("%.2g", m.LR),
			cli.CountText(int64(m.TokensPerSecond)), cli.BytesText(m.PeakRSS)))
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

// ComparisonChart has the evaluation losses over the steps.
func ComparisonChart(c *train.Comparison) *chart.Lines {
	pic := &chart.Lines{Title: "Loss on the evaluation data", X: "step", Y: "cross entropy (nats a token)"}
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
