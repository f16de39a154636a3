package quant

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// supportedTypes lists what the package knows.
func supportedTypes() []gguf.Type {
	var types []gguf.Type
	for t := range gguf.Type(len(formats)) {
		if Supported(t) {
			types = append(types, t)
		}
	}
	return types
}

// normalWeights is n weights of the size that models have.
func normalWeights(n int, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 0))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64() * 0.02)
	}
	return x
}

func ones(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = 1
	}
	return x
}

// Benchmark reports million weights a second, and as GB/s the bytes of blocks and float32 together, of each type and
// tier. At the end it prints the weights a second as a table in Markdown. Of one row of it:
//
//	go test ./quant -run '^$' -bench '^Benchmark$//^Q4_K$' -benchtime 0.2s
func Benchmark(b *testing.B) {
	table := speedTable{}
	for _, t := range supportedTypes() {
		for _, work := range benchmarks(b, t) {
			for _, tier := range kernels.Tiers() {
				b.Run(fmt.Sprintf("%s/%v/%s", work.name, t, tier), func(b *testing.B) {
					defer kernels.UseTier(kernels.UseTier(tier))
					b.ReportAllocs()
					for b.Loop() {
						work.run()
					}
					rate := benchRows * benchCols * float64(b.N) / b.Elapsed().Seconds()
					b.ReportMetric(rate/1e6, "Mweights/s")
					b.ReportMetric(rate*(4+float64(t.BlockSize())/float64(t.BlockLen()))/1e9, "GB/s")
					table[speedKey{t, work.name, tier}] = rate / 1e6
				})
			}
		}
	}
	if len(table) > 0 {
		fmt.Print(table)
	}
}

// benchRows and benchCols is the size of the matrix that is measured.
const benchRows, benchCols = 4, 4096

// A benchmark is one thing to measure of a type.
type benchmark struct {
	name string
	run  func()
}

// benchmarks lists what is measured of a type.
func benchmarks(b *testing.B, t gguf.Type) []benchmark {
	x, importance := normalWeights(benchRows*benchCols, 1), ones(benchCols)
	data := make([]byte, len(x)/t.BlockLen()*t.BlockSize())
	Quantize(t, data, x, benchCols, importance)
	m, err := NewMatrix(t, benchRows, benchCols, data)
	if err != nil {
		b.Fatal(err)
	}
	y, tile := make([]float32, len(x)), make([]float32, benchRows*256)
	list := []benchmark{
		{"dequantize", func() { Dequantize(t, y, data) }},
		{"tile", func() {
			for c := 0; c < benchCols; c += 256 {
				m.Tile(tile, 256, 0, benchRows, c, c+256)
			}
		}},
		{"first-non-finite", func() { m.FirstNonFinite() }},
	}
	if !NeedsImportance(t) {
		list = append(list, benchmark{"quantize", func() { Quantize(t, data, x, benchCols, nil) }})
	}
	if formats[t].quantizeWeighted != nil {
		list = append(list, benchmark{"quantize-weighted", func() { Quantize(t, data, x, benchCols, importance) }})
	}
	return list
}

// A speedTable is the million weights a second of what was measured.
type speedTable map[speedKey]float64

type speedKey struct {
	t          gguf.Type
	work, tier string
}

// String is a table in Markdown, a row a type; tiers stand beside each other, the lowest first.
func (s speedTable) String() string {
	works := []string{"dequantize", "quantize", "quantize-weighted"}
	tiers := kernels.Tiers()
	var b strings.Builder
	fmt.Fprintf(&b, "\nMillion weights a second on one core (%s)\n\n| type | %s |\n|---|---:|---:|---:|\n",
		strings.Join(tiers, " / "), strings.Join(works, " | "))
	for _, t := range supportedTypes() {
		row, any := fmt.Sprintf("| %v |", t), false
		for _, work := range works {
			var cells []string
			for _, tier := range tiers {
				if rate, ok := s[speedKey{t, work, tier}]; ok {
					cells = append(cells, strconv.FormatFloat(threeDigits(rate), 'f', -1, 64))
				}
			}
			row += " " + strings.Join(cells, " / ") + " |"
			any = any || len(cells) > 0
		}
		if any {
			b.WriteString(row + "\n")
		}
	}
	return b.String()
}

// threeDigits rounds to three significant digits.
func threeDigits(f float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(f))-2)
	return math.Round(math.Round(f/unit)*unit*100) / 100
}
