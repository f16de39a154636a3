package chart

import (
	"math"
	"strconv"
)

// Heat is a map of values by rows and columns: the higher, the darker. Values that are not finite are empty places.
type Heat struct {
	Title, X, Y string   // X and Y name the columns and rows
	Rows, Cols  []string // from the top and from the left
	Values      [][]float64
	Low, High   float64 // the palest and the darkest; both 0: of the values, the palest 0
}

// Sizes of the places in pixels.
const (
	cellHeight          = 22.0
	cellLeast, cellMost = 9.0, 34.0
	heatWidth           = 560.0
	scaleSteps          = 20
)

// Name implements Picture.
func (h *Heat) Name() string { return h.Title }

// Keys implements Picture.
func (h *Heat) Keys() []Key { return nil }

// cell is the width of a place.
func (h *Heat) cell() float64 {
	return math.Floor(min(max(heatWidth/float64(max(len(h.Cols), 1)), cellLeast), cellMost))
}

func (h *Heat) left() float64 {
	widest := 0.0
	for _, name := range h.Rows {
		widest = max(widest, textWidth(name))
	}
	return widest + 40
}

func (h *Heat) size(legend bool) (width, height float64) {
	width = max(h.left()+h.cell()*float64(len(h.Cols)), h.left()+scaleSteps*10+60) + 14
	height = 12 + cellHeight*float64(len(h.Rows)) + 52 + 40
	if legend {
		height += top
	}
	return width, height
}

// ends are the values of the palest and of the darkest colour.
func (h *Heat) ends() (low, high float64) {
	if h.Low != 0 || h.High != 0 {
		return h.Low, h.High
	}
	for _, row := range h.Values {
		for _, v := range row {
			if finite(Point{0, v}) {
				high = max(high, v)
			}
		}
	}
	return 0, high
}

// shade is how dark a value is.
func shade(v, low, high float64) float64 {
	if !(high > low) {
		return 0.06
	}
	return 0.06 + 0.94*min(max((v-low)/(high-low), 0), 1)
}

func (h *Heat) draw(on canvas, legend bool) {
	y0, left, cell := 12.0, h.left(), h.cell()
	if legend {
		on.text(label{x: 8, y: top - 18, anchor: atStart, text: h.Title, bold: true, colour: ink})
		y0 = top
	}
	low, high := h.ends()
	for i, name := range h.Rows {
		y := y0 + cellHeight*float64(i)
		on.text(label{x: left - 8, y: y + 15.5, anchor: atEnd, text: name, colour: ink})
		for j, v := range h.Values[i] {
			if finite(Point{0, v}) {
				on.rect(left+cell*float64(j), y, cell-1, cellHeight-1, heat, shade(v, low, high),
					name+", "+h.X+" "+h.Cols[j]+": "+short(v))
			}
		}
	}
	below := y0 + cellHeight*float64(len(h.Rows))
	every := int(math.Ceil(textWidth("000") / cell))
	for j := 0; j < len(h.Cols); j += every {
		on.text(label{x: left + cell*(float64(j)+0.5), y: below + 16, anchor: atMiddle, text: h.Cols[j], colour: ink})
	}
	on.text(label{x: left + cell*float64(len(h.Cols))/2, y: below + 36, anchor: atMiddle, text: h.X, colour: ink})
	on.text(label{x: 18, y: y0 + cellHeight*float64(len(h.Rows))/2, anchor: atMiddle, text: h.Y, upwards: true,
		colour: ink})
	h.scale(on, left, below+54, low, high)
}

// scale draws what the colours stand for.
func (h *Heat) scale(on canvas, x, y, low, high float64) {
	for i := range scaleSteps {
		v := low + (high-low)*float64(i)/(scaleSteps-1)
		on.rect(x+10*float64(i), y, 10, 12, heat, shade(v, low, high), "")
	}
	on.text(label{x: x - 8, y: y + 10.5, anchor: atEnd, text: short(low), colour: ink})
	on.text(label{x: x + 10*scaleSteps + 8, y: y + 10.5, anchor: atStart, text: short(high), colour: ink})
}

// short is a value with three digits.
func short(v float64) string { return strconv.FormatFloat(v, 'g', 3, 64) }
