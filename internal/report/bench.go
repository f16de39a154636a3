package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/peftconv/peftconv/internal/bench"
	"github.com/peftconv/peftconv/internal/chart"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/peft/train"
)

// benchTable is a table of measurements with a sentence below it.
type benchTable struct {
	Table
	note string
}

// benchPeak says what the machine can do.
func benchPeak(r *bench.Report) string {
	return fmt.Sprintf("peak of %s with %s instructions: %.0f GFLOP/s in f32, %.0f in bf16, %.0f GOP/s in int8; memory "+
		"%.1f GB/s", cli.Plural(r.Threads, "thread"), r.Tier, r.Peak.F32, r.Peak.BF16, r.Peak.Int8, r.Peak.Bandwidth)
}

// PrintBench prints the tables of results.
func PrintBench(w io.Writer, r *bench.Report) {
	if r.Peak.F32 > 0 {
		fmt.Fprintln(w, benchPeak(r))
	}
	for _, t := range benchTables(r) {
		fmt.Fprintf(w, "\n%s\n", t.Caption)
		table := cli.NewTable(w)
		for _, row := range append([][]string{t.Head}, t.Rows...) {
			fmt.Fprintln(table, strings.Join(row, "\t"))
		}
		table.Flush()
		if t.note != "" {
			fmt.Fprintln(w, t.note)
		}
	}
}

// BenchPage is the tables as a page, with pictures of them.
func BenchPage(r *bench.Report) *Page {
	p := &Page{Title: "Measurements of this machine", Lead: benchPeak(r)}
	figures := benchFigures(r)
	for _, t := range benchTables(r) {
		title, _, _ := strings.Cut(t.Caption, ":")
		title, _, _ = strings.Cut(title, ",")
		p.add(strings.ToUpper(title[:1])+title[1:], figures[t.Caption], &t.Table, Text(t.note))
	}
	return p
}

// Captions of the tables.
const (
	captionGemm      = "products (m, k)·(k, n) with a quantized matrix, dequantizing included"
	captionAttention = "attention of one layer over one sequence"
	captionDecode    = "generating token by token"
	captionShared    = "steps that ranks share: what a rank does, in seconds"
	captionScaling   = "expected of more machines with one such rank each, and as many parts for each"
	captionMerge     = "merging a LoRA on every linear map, with hashing the base"
	captionTrain     = "training steps: LoRA on every linear map, one sequence"
	captionParts     = "time of the parts of a step, in percent"
)

// benchFigures are the pictures of the tables, by caption.
func benchFigures(r *bench.Report) map[string]Figures {
	add := func(bars *chart.Bars, style int, value float64, text string, names ...string) {
		name := strings.Join(names, " ")
		bars.Bars = append(bars.Bars, chart.Bar{Name: cli.Cut(name, mostName), Value: value, Text: text, Style: style})
	}
	figures := map[string]Figures{}
	show := func(caption string, bars *chart.Bars) {
		if len(bars.Bars) > 0 {
			figures[caption] = append(figures[caption], bars)
		}
	}
	gemm := &chart.Bars{Title: "GFLOP/s", Width: 300}
	for _, g := range r.Gemm {
		add(gemm, 0, g.GFLOPS, rounded(g.GFLOPS), g.Type, g.Precision, g.Direction, fmt.Sprintf("%d×%d", g.N, g.K))
	}
	show(captionGemm, gemm)
	attention := &chart.Bars{Title: "GFLOP/s", Width: 300}
	for _, a := range r.Attention {
		add(attention, 0, a.GFLOPS, rounded(a.GFLOPS), a.Shape, a.Precision, a.Direction)
	}
	show(captionAttention, attention)
	decode := &chart.Bars{Title: "Tokens a second", Width: 300}
	for _, d := range r.Decode {
		add(decode, 0, d.Rate, rateText(d.Rate), d.Shape, d.Type, "LoRA rank", rankText(d.Rank))
	}
	show(captionDecode, decode)
	merge := &chart.Bars{Title: "Seconds", Width: 300}
	for _, m := range r.Merge {
		add(merge, 0, m.Seconds, fmt.Sprintf("%.2f", m.Seconds), m.Shape, m.Type, m.Rounding)
	}
	show(captionMerge, merge)
	steps := &chart.Bars{Title: "Tokens a second", Width: 300}
	for _, t := range r.Train {
		add(steps, 0, t.Rate, rateText(t.Rate), t.Shape, t.Type, t.Precision)
		of := strings.Join([]string{cli.Cut(t.Shape, mostName), t.Type, t.Precision}, " ")
		parts := &chart.Bars{Title: "Time by part: " + of, Width: 200}
		for _, part := range train.StepParts() {
			add(parts, 1, t.Parts[part], fmt.Sprintf("%.1f %%", 100*t.Parts[part]), part)
		}
		show(captionParts, parts)
	}
	show(captionTrain, steps)
	return figures
}

// benchTables are the tables of what was measured.
func benchTables(r *bench.Report) (tables []*benchTable) {
	add := func(rows int, texts int, caption, heads, note string) *benchTable {
		t := &benchTable{Table{Caption: caption, Head: strings.Split(heads, "|"), Texts: texts}, note}
		if rows > 0 {
			tables = append(tables, t)
		}
		return t
	}
	t := add(len(r.Gemm), 3, captionGemm, "type|precision|direction|m|n|k|GFLOP/s|of peak", "")
	for _, g := range r.Gemm {
		t.row(g.Type, g.Precision, g.Direction, g.M, g.N, g.K, rounded(g.GFLOPS), share(g.Percent))
	}
	t = add(len(r.Attention), 1, captionAttention,
		"model|tokens|precision|rounded to|direction|GFLOP/s|of peak|GB/s|of memory's",
		"GB/s: of queries, keys, values, results and gradients, each read or written once")
	for _, a := range r.Attention {
		t.row(a.Shape, a.Tokens, a.Precision, a.Rounded, a.Direction, rounded(a.GFLOPS), share(a.Percent),
			fmt.Sprintf("%.1f", a.Bandwidth), share(a.PercentMemory))
	}
	t = add(len(r.Decode), 2, captionDecode,
		"model|type|context|keys, values|LoRA rank|tokens/s|best|read per token|GB/s|of memory's", "")
	for _, d := range r.Decode {
		t.row(d.Shape, d.Type, d.Context, d.Cache, rankText(d.Rank), rateText(d.Rate), rateText(d.Best),
			cli.BytesText(d.Bytes), fmt.Sprintf("%.1f", d.Bandwidth), share(d.Percent))
	}
	t = add(len(r.Merge), 2, captionMerge, "model|type|rank|rounding|seconds|written|peak memory", "")
	for _, m := range r.Merge {
		t.row(m.Shape, m.Type, m.Rank, m.Rounding, fmt.Sprintf("%.2f", m.Seconds), cli.BytesText(m.Bytes),
			cli.BytesText(m.PeakRSS))
	}
	t = add(len(r.Scaling), 3, captionShared, "model|type|precision|ranks|threads|parts of a rank|tokens of a part|"+
		"tokens/s|step|computing|waiting|moving|step by the model", networkText(r.Scaling))
	predicted := add(len(r.Scaling), 4, captionScaling,
		"model|type|precision|network|machines|step, seconds|tokens/s|efficiency", "by a model of what moves when "+
			"(docs/cluster.md), with what was measured of computing: machines that are all as fast")
	for _, s := range r.Scaling {
		expected := "–"
		if s.Ranks > 1 {
			expected = fmt.Sprintf("%.3f", s.Expected)
		}
		t.row(s.Shape, s.Type, s.Precision, s.Ranks, s.Threads, s.Parts, s.Tokens, rateText(s.Rate),
			fmt.Sprintf("%.3f", s.Seconds), fmt.Sprintf("%.3f", s.Computing), fmt.Sprintf("%.3f", s.Waiting),
			fmt.Sprintf("%.3f", s.Moving), expected)
		for _, p := range s.Predictions {
			predicted.row(s.Shape, s.Type, s.Precision, fmt.Sprintf("%.0f Gbit/s", p.Bandwidth*8/1e9), p.Machines,
				fmt.Sprintf("%.3f", p.Seconds), rateText(p.Rate), share(100*p.Efficiency))
		}
	}
	t = add(len(r.Train), 3, captionTrain,
		"model|type|precision|tokens|rank|tokens/s|of peak|of sustained|weights|peak memory",
		"sustained: the rate of the same instructions in the pauses between the steps")
	parts := add(len(r.Train), 3, captionParts, "model|type|precision|"+strings.Join(train.StepParts(), "|"), "")
	for _, s := range r.Train {
		t.row(s.Shape, s.Type, s.Precision, s.Tokens, s.Rank, rateText(s.Rate), share(s.Percent), share(s.PercentSustained),
			cli.BytesText(s.Weights), cli.BytesText(s.PeakRSS))
		cells := []any{s.Shape, s.Type, s.Precision}
		for _, part := range train.StepParts() {
			cells = append(cells, fmt.Sprintf("%.1f", 100*s.Parts[part]))
		}
		parts.row(cells...)
	}
	return tables
}

// networkText says what was measured between ranks.
func networkText(all []bench.Scaling) string {
	var texts []string
	for _, s := range all {
		if s.Ranks > 1 {
			texts = append(texts, fmt.Sprintf("%s of gradients for each part; a rank sends %s a second while all do, and all "+
				"meet in %.0f µs", cli.BytesText(4*int64(s.Values)), cli.BytesText(int64(s.Bandwidth)), 1e6*s.Latency))
		}
	}
	return strings.Join(texts, "\n")
}

// row adds a row.
func (t *benchTable) row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.Rows = append(t.Rows, row)
}

func rounded(v float64) string { return fmt.Sprintf("%.0f", v) }

func share(percent float64) string { return fmt.Sprintf("%.0f%%", percent) }

// rankText is a LoRA's rank, or that there is none.
func rankText(rank int) string {
	if rank == 0 {
		return "none"
	}
	return fmt.Sprint(rank)
}

// rateText is tokens a second, with a decimal where there are few.
func rateText(rate float64) string {
	if rate < 100 {
		return fmt.Sprintf("%.1f", rate)
	}
	return cli.CountText(int64(rate))
}
