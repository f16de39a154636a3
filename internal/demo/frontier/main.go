// Command frontier makes tables and pictures of what .ci/frontier measured:
//
//	go run ./internal/demo/frontier RESULTS [PICTURE.svg MODEL-AND-TEXT WAY… [- LEVEL]]
//
// Without a picture it prints tables of the means over the seeds, in Markdown. A picture shows one figure of some ways
// for each type, by about how many bits a weight has in it: the divergence, or with a LEVEL, the name of a way whose
// figure becomes a line, the loss on what was learned.
package main

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/peftconv/peftconv/internal/chart"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/infile"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "frontier:", err)
		os.Exit(1)
	}
}

// result is a way to a file over the seeds.
type result struct {
	task, kind, way            string    // model and text, type
	learned, known, divergence []float64 // losses and divergence, of each seed
}

// bits are those of a weight, about, as llama-quantize names them.
var bits = map[string]float64{
	"IQ2_XS": 2.31, "Q2_K": 2.96, "IQ3_XXS": 3.06, "Q3_K_M": 3.91, "IQ4_XS": 4.25, "Q4_0": 4.55, "Q4_K_M": 4.85,
}

func run(args []string) error {
	if len(args) != 1 && len(args) < 4 {
		return fmt.Errorf("%d arguments, expected RESULTS, or RESULTS PICTURE.svg MODEL-AND-TEXT WAY…", len(args))
	}
	results, err := read(args[0])
	if err != nil {
		return err
	}
	if len(args) > 1 {
		return draw(results, args[1], args[2], args[3:])
	}
	for task := range distinct(results, func(r *result) string { return r.task }) {
		var of []*result
		for _, r := range results {
			if r.task == task {
				of = append(of, r)
			}
		}
		fmt.Printf("**%s**, loss on what is learned / on what was known:\n\n", task)
		table(of, "", func(r *result) string {
			return fmt.Sprintf("%.3f / %.2f", floats.Mean(r.learned), floats.Mean(r.known))
		})
		fmt.Printf("\nSpread between seeds of the loss on what is learned (standard deviation):\n\n")
		table(of, "F", func(r *result) string { return fmt.Sprintf("%.3f", deviation(r.learned)) })
		fmt.Printf("\nDivergence from the tuned model:\n\n")
		table(of, "F", func(r *result) string { return fmt.Sprintf("%.5f", floats.Mean(r.divergence)) })
		fmt.Println()
	}
	return nil
}

// distinct yields each name once, in the order of the results.
func distinct(results []*result, name func(*result) string) iter.Seq[string] {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		for _, r := range results {
			if n := name(r); !seen[n] {
				if seen[n] = true; !yield(n) {
					return
				}
			}
		}
	}
}

// table prints a table with a line for each way and a column for each type, but those that begin with without.
func table(results []*result, without string, cell func(*result) string) {
	results = slices.DeleteFunc(slices.Clone(results), func(r *result) bool {
		return without != "" && strings.HasPrefix(r.kind, without)
	})
	seeds := 0 // the most that a result has
	for _, r := range results {
		seeds = max(seeds, len(r.learned))
	}
	kinds := slices.Collect(distinct(results, func(r *result) string { return r.kind }))
	fmt.Printf("| | %s |\n|---|%s\n", strings.Join(kinds, " | "), strings.Repeat("---|", len(kinds)))
	for way := range distinct(results, func(r *result) string { return r.way }) {
		fmt.Printf("| %s |", way)
		for _, kind := range kinds {
			i := slices.IndexFunc(results, func(r *result) bool { return r.kind == kind && r.way == way })
			switch {
			case i < 0:
				fmt.Print(" |")
			case len(results[i].learned) == seeds:
				fmt.Printf(" %s |", cell(results[i]))
			default:
				fmt.Printf(" %s (%d seeds) |", cell(results[i]), len(results[i].learned))
			}
		}
		fmt.Println()
	}
}

// deviation is the standard deviation of a sample.
func deviation(x []float64) float64 {
	m, sum := floats.Mean(x), 0.0
	for _, v := range x {
		sum += (v - m) * (v - m)
	}
	return math.Sqrt(sum / float64(max(len(x)-1, 1)))
}

// read reads the results, in the order of the file.
func read(path string) (all []*result, err error) {
	data, err := infile.Read(path, 1<<20)
	if err != nil {
		return nil, err
	}
	byName := map[string]*result{}
	for i, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		f := strings.Split(line, "\t")
		if len(f) != 7 {
			return nil, fmt.Errorf("%s, line %d: %d fields, expected 7", path, i+1, len(f))
		}
		name := f[0] + f[2] + f[3]
		r := byName[name]
		if r == nil {
			r = &result{task: f[0], kind: f[2], way: f[3]}
			byName[name], all = r, append(all, r)
		}
		for at, list := range map[int]*[]float64{4: &r.learned, 5: &r.known, 6: &r.divergence} {
			v, err := strconv.ParseFloat(f[at], 64)
			if err != nil {
				return nil, fmt.Errorf("%s, line %d: %w", path, i+1, err)
			}
			*list = append(*list, v)
		}
	}
	return all, nil
}

// draw writes a picture of some ways.
func draw(results []*result, path, task string, ways []string) error {
	level := ""
	if i := slices.Index(ways, "-"); i >= 0 && i+2 == len(ways) {
		ways, level = ways[:i], ways[i+1]
	}
	c := &chart.Lines{Title: task, X: "bits of a weight, about", Y: "divergence from the tuned model", Linear: level != ""}
	value := func(r *result) float64 { return floats.Mean(r.divergence) }
	if level != "" {
		c.Y, value = "loss on the text that is learned", func(r *result) float64 { return floats.Mean(r.learned) }
	}
	for _, way := range ways {
		line := chart.Line{Name: way, Dots: true}
		for _, r := range results {
			if r.task == task && r.way == way && bits[r.kind] > 0 {
				line.Points = append(line.Points, chart.Point{X: bits[r.kind], Y: value(r)})
			}
		}
		slices.SortFunc(line.Points, func(a, b chart.Point) int { return cmp.Compare(a.X, b.X) })
		c.Lines = append(c.Lines, line)
	}
	for _, r := range results {
		if r.task == task && r.way == level {
			c.Levels = append(c.Levels, chart.Level{Name: level, Y: value(r)})
		}
	}
	return os.WriteFile(path, chart.SVG(c), 0o666)
}
