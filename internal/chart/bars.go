package chart

import (
	"cmp"
	"math"
)

// Histogram counts values in ranges of the same width, of one or several series beside one another.
type Histogram struct {
	Title, X, Y   string
	Step          float64 // the width of a range: range i has the values above i·Step, up to (i+1)·Step
	Series        []Counted
	Width, Height float64 // of the plot in pixels; 0: 620 and 420
}

// Counted is the counts of a series.
type Counted struct {
	Name   string
	Counts []int
}

// Name implements Picture.
func (h *Histogram) Name() string { return h.Title }

// Keys implements Picture.
func (h *Histogram) Keys() (keys []Key) {
	if len(h.Series) < 2 {
		return nil
	}
	for i, s := range h.Series {
		keys = append(keys, Key{s.Name, i})
	}
	return keys
}

// lines is the picture of the same frame and legend without anything in it.
func (h *Histogram) lines() (c *Lines, ranges int) {
	c = &Lines{Title: h.Title, X: h.X, Y: h.Y, Width: h.Width, Height: h.Height, Linear: true}
	most := 1
	for i, s := range h.Series {
		for _, n := range s.Counts {
			most = max(most, n)
		}
		ranges = max(ranges, len(s.Counts))
		name := s.Name
		if len(h.Series) < 2 {
			name = ""
		}
		c.Lines = append(c.Lines, Line{Name: name, Style: i + 1})
	}
	c.Lines = append(c.Lines, Line{Points: []Point{{0, 0}, {h.Step * float64(max(ranges, 1)), float64(most)}}})
	return c, ranges
}

func (h *Histogram) size(legend bool) (width, height float64) {
	c, _ := h.lines()
	return c.size(legend)
}

func (h *Histogram) draw(on canvas, legend bool) {
	c, ranges := h.lines()
	f := c.laidOut(legend)
	if legend {
		on.text(label{x: f.left, y: top - 18, anchor: atStart, text: h.Title, bold: true, colour: ink})
	}
	f.axes(on, h.X, h.Y)
	for i := range ranges {
		from, _ := f.at(Point{h.Step * float64(i), 0})
		to, _ := f.at(Point{h.Step * float64(i+1), 0})
		each := (to - from) * 0.9 / float64(len(h.Series))
		for j, s := range h.Series {
			if i >= len(s.Counts) || s.Counts[i] == 0 {
				continue
			}
			_, y := f.at(Point{0, float64(s.Counts[i])})
			title := number(h.Step*float64(i)+1) + " to " + number(h.Step*float64(i+1)) + ": " + number(float64(s.Counts[i]))
			on.rect(from+(to-from)*0.05+each*float64(j), y, each, f.top+f.height-y, ofCurve(j), 1, title)
		}
	}
	if legend {
		c.legend(on, f)
	}
}

// Bars is values side by side, as bars from the left.
type Bars struct {
	Title string
	Unit  string // behind each value, with its space
	Bars  []Bar
	Width float64 // of the longest bar in pixels; 0: 420
}

// Bar is one of them.
type Bar struct {
	Name  string
	Value float64
	Text  string // in place of the value and its unit
	Style int    // as in Key
}

const barHeight, barGap = 16.0, 8.0

// Name implements Picture.
func (b *Bars) Name() string { return b.Title }

// Keys implements Picture.
func (b *Bars) Keys() []Key { return nil }

func (b *Bars) width() float64 { return cmp.Or(b.Width, 420) }

// sides are the widths of the names and of the values.
func (b *Bars) sides() (left, right float64) {
	for i := range b.Bars {
		left, right = max(left, textWidth(b.Bars[i].Name)), max(right, textWidth(b.text(i)))
	}
	return left + 16, right + 16
}

func (b *Bars) text(i int) string {
	switch {
	case b.Bars[i].Text != "":
		return b.Bars[i].Text
	case !finite(Point{0, b.Bars[i].Value}):
		return "–"
	}
	return number(math.Round(b.Bars[i].Value*10)/10) + b.Unit
}

func (b *Bars) size(legend bool) (width, height float64) {
	left, right := b.sides()
	height = float64(len(b.Bars))*(barHeight+barGap) + 12
	if legend {
		height += top
	}
	return left + b.width() + right, height
}

func (b *Bars) draw(on canvas, legend bool) {
	left, _ := b.sides()
	y := 8.0
	if legend {
		on.text(label{x: 8, y: top - 18, anchor: atStart, text: b.Title, bold: true, colour: ink})
		y = top
	}
	most := 0.0
	for _, bar := range b.Bars {
		if finite(Point{0, bar.Value}) {
			most = max(most, bar.Value)
		}
	}
	for i, bar := range b.Bars {
		length := 0.0
		if most > 0 && finite(Point{0, bar.Value}) {
			length = b.width() * max(bar.Value, 0) / most
		}
		on.text(label{x: left - 8, y: y + 12.5, anchor: atEnd, text: bar.Name, colour: ink})
		on.rect(left, y, max(length, 1), barHeight, ofCurve(bar.Style), 1, bar.Name+": "+b.text(i))
		on.text(label{x: left + length + 8, y: y + 12.5, anchor: atStart, text: b.text(i), colour: ink})
		y += barHeight + barGap
	}
}
