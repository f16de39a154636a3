// Package chart draws: curves, histograms, bars and heat maps, as SVG for pages and files and as PNG.
//
// It is our own because it is smaller than a library and fits the pages: see the decisions in docs/design.md.
package chart

import (
	"math"
	"strconv"
	"strings"
)

// Picture is what can be drawn: *Lines, *Histogram, *Bars or *Heat. Values that are not finite, or beyond
// 1e100, are left out.
type Picture interface {
	// Name is what the picture shows, in some words.
	Name() string
	// size is the width and the height in pixels.
	size(legend bool) (width, height float64)
	draw(on canvas, legend bool)
	// Keys are the curves or colours that a legend explains, in its order; nil for none.
	Keys() []Key
}

// Key is a line of a legend.
type Key struct {
	Name  string
	Style int // of Swatch
}

// Point is a place on a line, in the units of the axes.
type Point struct{ X, Y float64 }

// greatest is the largest value that is drawn; differences of such are finite.
const greatest = 1e100

// finite says whether a point can be drawn.
func finite(p Point) bool { return math.Abs(p.X) <= greatest && math.Abs(p.Y) <= greatest }

// colour is a colour by what it is for.
type colour int

// The colours. From series on they are those of curves.
const (
	back   colour = iota // behind the picture
	ink                  // text
	faint                // frames, levels
	grid                 // lines behind the curves
	heat                 // the highest value of a heat map; lower ones are paler
	series               // of the first curve
)

// fixedColours are the colours where no page gives them. Those of curves are distinguishable with colour blindness
// (after Okabe and Ito 2008, "Color Universal Design").
var fixedColours = []string{
	"#ffffff", "#222222", "#888888", "#e4e4e4", "#8a2d00",
	"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#5e3c99", "#555555",
}

// curves is how many colours of curves there are.
var curves = len(fixedColours) - int(series)

// dashes distinguish lines of the same colour.
var dashes = [][]float64{nil, {7, 3}, {2, 3}, {9, 3, 2, 3}}

// ofCurve is the colour of a curve by its number from 0.
func ofCurve(i int) colour { return series + colour(i%curves) }

// stroke is how a line is drawn.
type stroke struct {
	colour  colour
	width   float64
	dash    []float64
	opacity float64 // 0: 1
}

// strokeOf is the style of curve i.
func strokeOf(i int) stroke {
	return stroke{colour: ofCurve(i), width: 2, dash: dashes[i/curves%len(dashes)]}
}

// anchor is which part of a text stands at its place.
type anchor string

const (
	atStart  anchor = "start"
	atMiddle anchor = "middle"
	atEnd    anchor = "end"
)

// label is a text.
type label struct {
	x, y    float64 // the baseline
	anchor  anchor
	text    string
	bold    bool
	upwards bool // turned, to be read from below
	colour  colour
}

// canvas is what pictures are drawn on.
type canvas interface {
	line(points []Point, s stroke, title string)
	rect(x, y, width, height float64, c colour, opacity float64, title string)
	dot(x, y, radius float64, c colour)
	text(l label)
}

// Text is about 0.6 of its size wide.
const textSize = 13.0

// textWidth is about the width of a text.
func textWidth(text string) float64 { return 0.6 * textSize * float64(len([]rune(text))) }

// px is a length with at most one decimal.
func px(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

// number is a value at a tick, with commas between thousands.
func number(v float64) string {
	if size := math.Abs(v); size != 0 && (size < 1e-3 || size >= 1e9) {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	text := strconv.FormatFloat(v, 'f', -1, 64)
	whole, fraction, has := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if has {
		return whole + "." + fraction
	}
	return whole
}
