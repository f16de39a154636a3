package report

import (
	"bytes"
	"encoding/xml"
	"errors"
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
	c := Chart{
		Title: "a & b", X: "step", Y: "loss <nats>", Levels: []Level{{"base", 4}},
		Lines: []Line{{"low", []Point{{1, 3}, {10, 1}}}, {"high", []Point{{1, 3}, {5, math.NaN()}, {10, 2}}}, {"none", nil}},
	}
	svg := c.SVG()
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
			checkInside(t, p)
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
func checkInside(t *testing.T, place string) {
	t.Helper()
	xText, yText, _ := strings.Cut(place, ",")
	x, errX := strconv.ParseFloat(xText, 64)
	y, errY := strconv.ParseFloat(yText, 64)
	if errX != nil || errY != nil || x < left || x > left+plotWidth || y < top || y > top+plotHeight {
		t.Errorf("a point at %s, outside the plot", place)
	}
}

func TestSVGOfOddData(t *testing.T) {
	for name, c := range map[string]Chart{
		"nothing":    {},
		"one point":  {Lines: []Line{{"x", []Point{{3, 3}}}}},
		"infinite":   {Lines: []Line{{"x", []Point{{1, math.Inf(1)}}}}, Levels: []Level{{"y", math.NaN()}}},
		"negative":   {Lines: []Line{{"x", []Point{{0, -1}, {1, -100}}}}},
		"wide range": {Lines: []Line{{"x", []Point{{0, 1e-6}, {1e9, 1e6}}}}},
		"zero":       {Lines: []Line{{"x", []Point{{0, 0}, {1, 0}}}}},
	} {
		svg := c.SVG()
		elements(t, svg)
		if bytes.Contains(svg, []byte("NaN")) || bytes.Contains(svg, []byte("Inf")) {
			t.Errorf("%s: not finite:\n%s", name, svg)
		}
	}
}

func TestManyLinesDiffer(t *testing.T) {
	seen := map[string]bool{}
	for i := range len(colours) * len(dashes) {
		seen[stroke(i)] = true
	}
	if len(seen) != len(colours)*len(dashes) {
		t.Errorf("%d kinds of lines, want %d", len(seen), len(colours)*len(dashes))
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
		-100: "-100"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}
