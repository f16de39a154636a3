// Package report shows what was found and measured: tables, metadata and their changes, line charts as SVG.
package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Point is a place on a line, in the units of the axes.
type Point struct{ X, Y float64 }

// Line is a curve with a name. Points without a finite value are left out.
type Line struct {
	Name   string
	Points []Point // from left to right
}

// Chart is lines over a common axis, with a legend in the order of their right ends, from the top down.
type Chart struct {
	Title, X, Y string // X and Y name the axes
	Lines       []Line
	Levels      []Level // horizontal lines to compare with
}

// Level is a horizontal line.
type Level struct {
	Name string
	Y    float64
}

// Sizes in pixels. Text is about 0.6 of its size wide.
const (
	plotWidth, plotHeight = 620.0, 420.0
	left, top, bottom     = 64.0, 44.0, 52.0
	legendGap, legendLine = 18.0, 19.0
	textSize              = 13.0
)

// colours are distinguishable with colour blindness (after Okabe and Ito 2008, "Color Universal Design").
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#5e3c99", "#555555"}

// dashes distinguish lines of the same colour.
var dashes = []string{"", "7 3", "2 3", "9 3 2 3"}

// logFrom is the ratio of the largest to the smallest value from which the axis is logarithmic.
const logFrom = 5

// SVG is the picture, a whole document.
func (c *Chart) SVG() []byte {
	d := &drawing{chart: c}
	d.order = d.byRightEnd()
	d.scale()
	width := left + plotWidth + legendGap + d.legendWidth()
	height := max(top+plotHeight+bottom, top+legendLine*float64(len(c.Lines)+len(c.Levels))+bottom)
	d.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %s %s" width="%s" height="%s" font-family="sans-serif" font-size="%s">`,
		px(width), px(height), px(width), px(height), px(textSize))
	d.printf(`<title>%s</title>`, escape(c.Title))
	d.printf(`<rect width="100%%" height="100%%" fill="#ffffff"/>`)
	d.text(left, top-18, "start", "font-weight=\"bold\"", c.Title)
	d.axes()
	d.levels()
	for i := range c.Lines {
		d.line(i)
	}
	d.legend()
	d.printf(`</svg>`)
	return d.out.Bytes()
}

// drawing is a chart being drawn.
type drawing struct {
	chart *Chart
	out   bytes.Buffer
	order []int // of the lines, for the legend
	x, y  axis
}

func (d *drawing) printf(format string, args ...any) { fmt.Fprintf(&d.out, format+"\n", args...) }

func (d *drawing) text(x, y float64, anchor, attributes, text string) {
	d.printf(`<text x="%s" y="%s" text-anchor="%s" fill="#222222" %s>%s</text>`, px(x), px(y), anchor, attributes,
		escape(text))
}

// px is a length with at most one decimal.
func px(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder never fails
	return b.String()
}

func finite(p Point) bool { return p.X-p.X == 0 && p.Y-p.Y == 0 }

// shown are the points of a line that can be drawn.
func (l *Line) shown() []Point {
	return slices.DeleteFunc(slices.Clone(l.Points), func(p Point) bool { return !finite(p) })
}

// byRightEnd lists the lines as they end at the right, the highest first; lines without points come last.
func (d *drawing) byRightEnd() []int {
	order := make([]int, len(d.chart.Lines))
	ends := make([]float64, len(order))
	for i := range order {
		order[i], ends[i] = i, math.Inf(-1)
		if points := d.chart.Lines[i].shown(); len(points) > 0 {
			ends[i] = points[len(points)-1].Y
		}
	}
	slices.SortStableFunc(order, func(i, j int) int { return -compare(ends[i], ends[j]) })
	return order
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// scale lays the axes out for all that is shown.
func (d *drawing) scale() {
	var xs, ys []float64
	for i := range d.chart.Lines {
		for _, p := range d.chart.Lines[i].shown() {
			xs, ys = append(xs, p.X), append(ys, p.Y)
		}
	}
	for _, l := range d.chart.Levels {
		if finite(Point{0, l.Y}) {
			ys = append(ys, l.Y)
		}
	}
	d.x = newAxis(append(xs, 0), false)
	if len(ys) == 0 {
		ys = []float64{0, 1}
	}
	low, high := slices.Min(ys), slices.Max(ys)
	d.y = newAxis(ys, low > 0 && high/low >= logFrom)
}

func (d *drawing) at(p Point) (x, y float64) {
	return left + plotWidth*d.x.share(p.X), top + plotHeight*(1-d.y.share(p.Y))
}

// axes draws the frame, the ticks with a grid, and the names.
func (d *drawing) axes() {
	for _, v := range d.x.ticks {
		x, _ := d.at(Point{v, d.y.low})
		d.printf(`<path d="M%s %sV%s" stroke="#e4e4e4"/>`, px(x), px(top), px(top+plotHeight))
		d.text(x, top+plotHeight+18, "middle", "", number(v))
	}
	for _, v := range d.y.ticks {
		_, y := d.at(Point{0, v})
		d.printf(`<path d="M%s %sH%s" stroke="#e4e4e4"/>`, px(left), px(y), px(left+plotWidth))
		d.text(left-8, y+4.5, "end", "", number(v))
	}
	d.printf(`<path d="M%s %sV%sH%s" fill="none" stroke="#444444"/>`, px(left), px(top), px(top+plotHeight),
		px(left+plotWidth))
	d.text(left+plotWidth/2, top+plotHeight+40, "middle", "", d.chart.X)
	y := top + plotHeight/2
	d.text(18, y, "middle", fmt.Sprintf(`transform="rotate(-90 18 %s)"`, px(y)), d.chart.Y)
}

// number is a value at a tick, with commas between thousands.
func number(v float64) string {
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

func (d *drawing) levels() {
	for _, l := range d.chart.Levels {
		if !finite(Point{0, l.Y}) {
			continue
		}
		_, y := d.at(Point{0, l.Y})
		d.printf(`<path d="M%s %sH%s" stroke="#888888" stroke-width="1.5" stroke-dasharray="3 4"/>`, px(left), px(y),
			px(left+plotWidth))
		d.text(left+plotWidth-6, y-5, "end", "", l.Name)
	}
}

// stroke is the style of line i.
func stroke(i int) string {
	s := fmt.Sprintf(`stroke="%s" stroke-width="2"`, colours[i%len(colours)])
	if dash := dashes[i/len(colours)%len(dashes)]; dash != "" {
		s += fmt.Sprintf(` stroke-dasharray="%s"`, dash)
	}
	return s
}

func (d *drawing) line(i int) {
	points := d.chart.Lines[i].shown()
	if len(points) == 0 {
		return
	}
	var places []string
	for _, p := range points {
		x, y := d.at(p)
		places = append(places, px(x)+","+px(y))
	}
	d.printf(`<polyline points="%s" fill="none" stroke-linejoin="round" %s><title>%s</title></polyline>`,
		strings.Join(places, " "), stroke(i), escape(d.chart.Lines[i].Name))
	x, y := d.at(points[len(points)-1])
	d.printf(`<circle cx="%s" cy="%s" r="3" fill="%s"/>`, px(x), px(y), colours[i%len(colours)])
}

// legend names the lines with their last values.
func (d *drawing) legend() {
	x := left + plotWidth + legendGap
	for row, i := range d.order {
		y := top + 8 + legendLine*float64(row)
		d.printf(`<path d="M%s %sh26" fill="none" %s/>`, px(x), px(y), stroke(i))
		d.text(x+34, y+4.5, "start", "", d.label(i))
	}
}

// label is a line's name with its last value.
func (d *drawing) label(i int) string {
	l := &d.chart.Lines[i]
	if points := l.shown(); len(points) > 0 {
		return fmt.Sprintf("%s  %.3f", l.Name, points[len(points)-1].Y)
	}
	return l.Name
}

func (d *drawing) legendWidth() float64 {
	longest := 0
	for i := range d.chart.Lines {
		longest = max(longest, len([]rune(d.label(i))))
	}
	return 34 + 0.6*textSize*float64(longest) + 12
}
