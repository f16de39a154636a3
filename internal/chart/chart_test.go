package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	stdcolor "image/color"
	"image/png"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// elements parses a document and counts its elements by name; it fails where the document is not well-formed.
func elements(t *testing.T, svg []byte) map[string][]xml.StartElement {
	t.Helper()
	all := map[string][]xml.StartElement{}
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok {
			all[e.Name.Local] = append(all[e.Name.Local], e.Copy())
		}
	}
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func TestSVG(t *testing.T) {
	c := &Lines{
		Title: "a & b", X: "step", Y: "loss <nats>", Levels: []Level{{"base", 4}},
		Lines: []Line{{Name: "low", Points: []Point{{1, 3}, {10, 1}}},
			{Name: "high", Points: []Point{{1, 3}, {5, math.NaN()}, {10, 2}}}, {Name: "none"}},
	}
	svg := SVG(c)
	all := elements(t, svg)
	if n := len(all["polyline"]); n != 2 {
		t.Errorf("%d lines, want 2", n)
	}
	for i, e := range all["polyline"] {
		points := strings.Fields(attribute(e, "points"))
		if len(points) != 2 {
			t.Errorf("line %d has %d points, want 2", i, len(points))
		}
		for _, p := range points {
			checkInside(t, p, c.laidOut(true))
		}
	}
	for _, text := range []string{"a &amp; b", "loss &lt;nats&gt;", ">low  1.000<", ">high  2.000<", ">none<", ">base<"} {
		if !bytes.Contains(svg, []byte(text)) {
			t.Errorf("no %q in\n%s", text, svg)
		}
	}
	if high, low := bytes.Index(svg, []byte(">high ")), bytes.Index(svg, []byte(">low ")); high > low {
		t.Error("the legend is not in the order of the right ends")
	}
	if bytes.Contains(svg, []byte("NaN")) {
		t.Error("a value that is not finite was drawn")
	}
}

// checkInside fails where a place is not within the plot.
func checkInside(t *testing.T, place string, f *frame) {
	t.Helper()
	xText, yText, _ := strings.Cut(place, ",")
	x, errX := strconv.ParseFloat(xText, 64)
	y, errY := strconv.ParseFloat(yText, 64)
	if errX != nil || errY != nil || x < f.left || x > f.left+f.width || y < f.top || y > f.top+f.height {
		t.Errorf("a point at %s, outside the plot", place)
	}
}

// odd are pictures of data that leave little to draw.
func odd() map[string]Picture {
	one := func(points ...Point) []Line { return []Line{{Name: "x", Points: points}} }
	nan, inf := math.NaN(), math.Inf(1)
	return map[string]Picture{
		"nothing":        &Lines{},
		"one point":      &Lines{Lines: one(Point{3, 3})},
		"infinite":       &Lines{Lines: one(Point{1, inf}), Levels: []Level{{"y", nan}}},
		"negative":       &Lines{Lines: one(Point{0, -1}, Point{1, -100})},
		"wide range":     &Lines{Lines: one(Point{0, 1e-6}, Point{1e9, 1e6})},
		"zero":           &Lines{Lines: one(Point{0, 0}, Point{1, 0})},
		"great":          &Lines{Lines: one(Point{1e18, 1e300}, Point{1e18 + 256, 1}, Point{1e18, 1e99})},
		"near":           &Lines{Lines: one(Point{0, 1e18}, Point{1, 1e18 + 256})},
		"tiny":           &Lines{Lines: one(Point{0, 1e-300}, Point{1, 1e90})},
		"many lines":     &Lines{Lines: make([]Line, 50)},
		"no counts":      &Histogram{Step: 1},
		"counts of two":  &Histogram{Step: 16, Series: []Counted{{"a", []int{1, 0, 7}}, {"b", []int{2}}}},
		"no bars":        &Bars{},
		"infinite bars":  &Bars{Bars: []Bar{{Name: "a", Value: inf}, {Name: "b", Value: nan}, {Name: "c", Value: -1}}},
		"no heat":        &Heat{},
		"the same heat":  &Heat{Rows: []string{"a"}, Cols: []string{"0", "1"}, Values: [][]float64{{2, 2}}},
		"no value":       &Heat{Rows: []string{"a"}, Cols: []string{"0", "1"}, Values: [][]float64{{nan, inf}}},
		"hostile <text>": &Bars{Title: "</svg>&\x00\"'", Bars: []Bar{{Name: "<script>\x1b", Value: 1}}},
	}
}

func TestOddData(t *testing.T) {
	for name, p := range odd() {
		for _, svg := range [][]byte{SVG(p), Inline(p)} {
			elements(t, svg)
			for _, bad := range []string{"NaN", "Inf", "script>", "\x1b"} {
				if bytes.Contains(svg, []byte(bad)) {
					t.Errorf("%s: %s in\n%s", name, bad, svg)
				}
			}
		}
		if _, err := PNG(p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPNG looks for the colours of what is drawn, within where it is drawn.
func TestPNG(t *testing.T) {
	lines := &Lines{Title: "loss", X: "step", Y: "nats", Levels: []Level{{"base", 2}}, Lines: []Line{
		{Name: "a", Points: []Point{{0, 1}, {10, 1}}}, {Name: "b", Points: []Point{{0, 3}, {10, 3}}, Dots: true},
		{Name: "c", Points: []Point{{0, 2}, {10, 3}}, Style: 10}}}
	bars := &Histogram{Step: 16, Series: []Counted{{"a", []int{1, 0, 7}}, {"b", []int{2}}}}
	for name, c := range map[string]struct {
		p    Picture
		want []colour
	}{"lines": {lines, []colour{back, series, series + 1}}, "histogram": {bars, []colour{back, series, series + 1}},
		"heat": {&Heat{Rows: []string{"a"}, Cols: []string{"0"}, Values: [][]float64{{2}}}, []colour{back, heat}}} {
		first, err := PNG(c.p)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := PNG(c.p); !bytes.Equal(first, again) {
			t.Errorf("%s: drawn twice, the pictures differ", name)
		}
		im, err := png.Decode(bytes.NewReader(first))
		if err != nil {
			t.Fatal(err)
		}
		width, height := c.p.size(true)
		if b := im.Bounds(); b.Dx() != int(math.Ceil(2*width)) || b.Dy() != int(math.Ceil(2*height)) {
			t.Errorf("%s: %v for %v × %v", name, b, width, height)
		}
		counts := map[stdcolor.NRGBA]int{}
		for y := range im.Bounds().Dy() {
			for x := range im.Bounds().Dx() {
				counts[stdcolor.NRGBAModel.Convert(im.At(x, y)).(stdcolor.NRGBA)]++
			}
		}
		for _, want := range c.want {
			if n := counts[rgba(want, 1)]; n < 300 {
				t.Errorf("%s: %d pixels of colour %d", name, n, want)
			}
		}
	}
}

// TestDashed wants the dashes of a line to have the length that is left of it without its gaps.
func TestDashed(t *testing.T) {
	line := []Point{{0, 0}, {5, 0}, {5, 3}, {20, 3}}
	for _, c := range []struct {
		dash   []float64
		length float64
		parts  int
	}{{nil, 23, 1}, {[]float64{2, 3}, 10, 5}, {[]float64{7, 3}, 17, 3}, {[]float64{100, 1}, 23, 1}} {
		parts, length := dashed(line, c.dash), 0.0
		for _, p := range parts {
			for i := 1; i < len(p); i++ {
				length += math.Hypot(p[i].X-p[i-1].X, p[i].Y-p[i-1].Y)
			}
		}
		if len(parts) != c.parts || math.Abs(length-c.length) > 1e-9 {
			t.Errorf("dashes %v: %d of %v in all, want %d of %v", c.dash, len(parts), length, c.parts, c.length)
		}
	}
}

func TestManyLinesDiffer(t *testing.T) {
	seen := map[string]bool{}
	for i := range curves * len(dashes) {
		seen[fmt.Sprint(strokeOf(i))] = true
	}
	if len(seen) != curves*len(dashes) {
		t.Errorf("%d kinds of lines, want %d", len(seen), curves*len(dashes))
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		values []float64
		log    bool
		want   []float64
	}{
		{[]float64{0, 60}, false, []float64{0, 10, 20, 30, 40, 50, 60}},
		{[]float64{1.93, 2.41}, false, []float64{1.9, 2, 2.1, 2.2, 2.3, 2.4, 2.5}},
		{[]float64{0, 0.6}, false, []float64{0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6}},
		{[]float64{7, 7}, false, []float64{7, 7.2, 7.4, 7.6, 7.8, 8}},
		{[]float64{0, 120000}, false, []float64{0, 20000, 40000, 60000, 80000, 100000, 120000}},
		{[]float64{0.6, 8}, true, []float64{0.6, 0.8, 1, 1.5, 2, 3, 4, 5, 6, 8}},
		{[]float64{0.01, 8}, true, []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5}},
	} {
		if got := newAxis(c.values, c.log).ticks; !slices.Equal(got, c.want) {
			t.Errorf("ticks of %v are %v, want %v", c.values, got, c.want)
		}
	}
	for v, want := range map[float64]string{0.5: "0.5", 1000: "1,000", 120000: "120,000", -1234567.5: "-1,234,567.5",
		-100: "-100", 0.00025: "0.00025", 2e9: "2e+09"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}
