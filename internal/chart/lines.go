package chart

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Line is a curve with a name.
type Line struct {
	Name   string  // "": the legend leaves it out
	Points []Point // from left to right
	Style  int     // > 0: the colour and dashes of the curve of this number, from 1; 0: those of its place
	Pale   bool    // a thin line behind the others
	Dots   bool    // each point is marked
}

// Lines is curves over a common axis, with a legend in the order of their right ends, from the top down. Where all
// values are above 0 and their range is wide, the axis is logarithmic.
type Lines struct {
	Title, X, Y   string // X and Y name the axes
	Lines         []Line
	Levels        []Level // horizontal lines to compare with
	Width, Height float64 // of the plot in pixels; 0: 620 and 420
	Linear        bool    // the axis is never logarithmic
}

// Level is a horizontal line.
type Level struct {
	Name string
	Y    float64
}

// Sizes in pixels.
const (
	top, bottom           = 44.0, 52.0
	legendGap, legendLine = 18.0, 19.0
)

// logFrom is the ratio of the largest to the smallest value from which the axis is logarithmic, logTo that up to which.
const logFrom, logTo = 5, 1e13

// Name implements Picture.
func (c *Lines) Name() string { return c.Title }

// plot is the plot's width and height.
func (c *Lines) plot() (width, height float64) { return cmp.Or(c.Width, 620), cmp.Or(c.Height, 420) }

func (c *Lines) size(legend bool) (width, height float64) {
	width, height = c.plot()
	d := c.laidOut(legend)
	width += d.left
	height += d.top + bottom
	if !legend {
		width += max(14, textWidth(number(d.x.ticks[len(d.x.ticks)-1]))/2+4) // of which half is right of the plot
	} else {
		width += legendGap + c.legendWidth()
		height = max(height, d.top+legendLine*float64(len(c.Lines)+len(c.Levels))+bottom)
	}
	return width, height
}

// Keys implements Picture.
func (c *Lines) Keys() (keys []Key) {
	for _, i := range c.byRightEnd() {
		if c.Lines[i].Name != "" {
			keys = append(keys, Key{c.label(i), c.style(i)})
		}
	}
	return keys
}

// style is the number of a curve's style, from 0.
func (c *Lines) style(i int) int {
	if s := c.Lines[i].Style; s > 0 {
		return s - 1
	}
	return i
}

// shown are the points of a line that can be drawn.
func (l *Line) shown() []Point {
	return slices.DeleteFunc(slices.Clone(l.Points), func(p Point) bool { return !finite(p) })
}

// byRightEnd lists the lines as they end at the right, the highest first; lines without points come last.
func (c *Lines) byRightEnd() []int {
	order := make([]int, len(c.Lines))
	ends := make([]float64, len(order))
	for i := range order {
		order[i], ends[i] = i, math.Inf(-1)
		if points := c.Lines[i].shown(); len(points) > 0 {
			ends[i] = points[len(points)-1].Y
		}
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(ends[j], ends[i]) })
	return order
}

// frame is where a plot stands, and what its axes are.
type frame struct {
	left, top, width, height float64
	x, y                     axis
}

// laidOut lays the axes out for all that is shown. Where a page has the legend, it has the title too.
func (c *Lines) laidOut(legend bool) *frame {
	f := &frame{top: top}
	if !legend {
		f.top = 12
	}
	f.width, f.height = c.plot()
	var xs, ys []float64
	for i := range c.Lines {
		for _, p := range c.Lines[i].shown() {
			xs, ys = append(xs, p.X), append(ys, p.Y)
		}
	}
	for _, l := range c.Levels {
		if finite(Point{0, l.Y}) {
			ys = append(ys, l.Y)
		}
	}
	f.x = newAxis(append(xs, 0), false)
	if len(ys) == 0 {
		ys = []float64{0, 1}
	}
	low, high := slices.Min(ys), slices.Max(ys)
	f.y = newAxis(ys, !c.Linear && low > 0 && high/low >= logFrom && high/low < logTo)
	f.left = leftOf(&f.y)
	return f
}

// leftOf is the room that the values at an axis and its name take.
func leftOf(y *axis) float64 {
	widest := 0.0
	for _, v := range y.ticks {
		widest = max(widest, textWidth(number(v)))
	}
	return max(52, 34+widest)
}

func (f *frame) at(p Point) (x, y float64) {
	return f.left + f.width*f.x.share(p.X), f.top + f.height*(1-f.y.share(p.Y))
}

func (c *Lines) draw(on canvas, legend bool) {
	f := c.laidOut(legend)
	if legend {
		on.text(label{x: f.left, y: top - 18, anchor: atStart, text: c.Title, bold: true, colour: ink})
	}
	f.axes(on, c.X, c.Y)
	c.levels(on, f)
	for i := range c.Lines {
		c.line(on, f, i)
	}
	if legend {
		c.legend(on, f)
	}
}

// axes draws the frame, the ticks with a grid, and the names.
func (f *frame) axes(on canvas, nameX, nameY string) {
	behind := stroke{colour: grid, width: 1}
	bottom, end := f.top+f.height, f.left+f.width
	for _, v := range f.x.ticks {
		x, _ := f.at(Point{v, f.y.low})
		on.line([]Point{{x, f.top}, {x, bottom}}, behind, "")
		on.text(label{x: x, y: bottom + 18, anchor: atMiddle, text: number(v), colour: ink})
	}
	f.yAxis(on, nameY)
	on.line([]Point{{f.left, f.top}, {f.left, bottom}, {end, bottom}}, stroke{colour: faint, width: 1}, "")
	on.text(label{x: f.left + f.width/2, y: bottom + 40, anchor: atMiddle, text: nameX, colour: ink})
}

// yAxis draws the ticks at the left with a grid, and their name.
func (f *frame) yAxis(on canvas, name string) {
	for _, v := range f.y.ticks {
		_, y := f.at(Point{0, v})
		on.line([]Point{{f.left, y}, {f.left + f.width, y}}, stroke{colour: grid, width: 1}, "")
		on.text(label{x: f.left - 8, y: y + 4.5, anchor: atEnd, text: number(v), colour: ink})
	}
	on.text(label{x: 18, y: f.top + f.height/2, anchor: atMiddle, text: name, upwards: true, colour: ink})
}

func (c *Lines) levels(on canvas, f *frame) {
	for _, l := range c.Levels {
		if !finite(Point{0, l.Y}) {
			continue
		}
		_, y := f.at(Point{0, l.Y})
		on.line([]Point{{f.left, y}, {f.left + f.width, y}}, stroke{colour: faint, width: 1.5, dash: []float64{3, 4}}, "")
		on.text(label{x: f.left + f.width - 6, y: y - 5, anchor: atEnd, text: l.Name, colour: ink})
	}
}

func (c *Lines) line(on canvas, f *frame, i int) {
	l := &c.Lines[i]
	points := l.shown()
	if len(points) == 0 {
		return
	}
	places := make([]Point, len(points))
	for j, p := range points {
		places[j].X, places[j].Y = f.at(p)
	}
	s := strokeOf(c.style(i))
	if l.Pale {
		s.width, s.opacity = 1, 0.45
	}
	on.line(places, s, l.Name)
	marked := places[len(places)-1:]
	switch {
	case l.Pale:
		marked = nil
	case l.Dots:
		marked = places
	}
	for _, p := range marked {
		on.dot(p.X, p.Y, 3, s.colour)
	}
}

// legend names the lines with their last values.
func (c *Lines) legend(on canvas, f *frame) {
	x := f.left + f.width + legendGap
	for row, key := range c.Keys() {
		y := top + 8 + legendLine*float64(row)
		on.line([]Point{{x, y}, {x + 26, y}}, strokeOf(key.Style), "")
		on.text(label{x: x + 34, y: y + 4.5, anchor: atStart, text: key.Name, colour: ink})
	}
}

// label is a line's name with its last value.
func (c *Lines) label(i int) string {
	l := &c.Lines[i]
	points := l.shown()
	if len(points) == 0 {
		return l.Name
	}
	last := points[len(points)-1].Y
	if last != 0 && math.Abs(last) < 0.01 {
		return fmt.Sprintf("%s  %.3g", l.Name, last)
	}
	return fmt.Sprintf("%s  %.3f", l.Name, last)
}

func (c *Lines) legendWidth() float64 {
	widest := 0.0
	for _, key := range c.Keys() {
		widest = max(widest, textWidth(key.Name))
	}
	return 34 + widest + 12
}
