package report

import (
	"fmt"
	"path/filepath"
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

// ComparisonPage is a comparison for a browser.
func ComparisonPage(c *train.Comparison) *Page {
	p := &Page{Title: "Comparison of methods", Lead: "over " + filepath.Base(c.Base) + ": " + ComparisonBudget(c)}
	rows := ComparisonTable(c)
	losses := &chart.Lines{Title: "Loss of training", X: "step", Y: "nats a token", Width: plotWidth, Height: plotHeight}
	for i := range c.Methods {
		l := chart.Line{Name: c.Methods[i].Name}
		for _, p := range c.Methods[i].TrainCurve {
			l.Points = append(l.Points, chart.Point{X: float64(p.Step), Y: p.Loss})
		}
		losses.Lines = append(losses.Lines, l)
	}
	evaluation := ComparisonChart(c)
	evaluation.Width, evaluation.Height = plotWidth, plotHeight
	p.add("Result", &Table{Caption: "What each method reached with the same budget", Head: rows[0], Rows: rows[1:]})
	p.add("Curves", Figures{evaluation, losses})
	adapters := Facts{}
	for i := range c.Methods {
		m := &c.Methods[i]
		adapters = append(adapters, Fact{m.Name, fmt.Sprintf("%s, in %s, %s of steps and evaluations", m.Adapter, m.Precision,
			secondsText(m.Seconds))})
	}
	p.add("Adapters", adapters)
	return p
}

// ComparisonBudget says what each method was trained with.
func ComparisonBudget(c *train.Comparison) string {
	m := &c.Methods[0]
	return fmt.Sprintf("%s of at most %s each (%s in all), %s schedule, seed %d.", cli.Plural(m.Steps, "step"),
		cli.Plural(c.BatchTokens*c.Accumulate, "token"), cli.Plural(int(m.Tokens), "token"), c.Schedule, c.Seed)
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
