package chart

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// SVG is the picture as a document of its own, with its title and legend and in fixed colours.
func SVG(p Picture) []byte {
	on := &document{}
	width, height := p.size(true)
	on.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %s %s" width="%s" height="%s" font-family="sans-serif" font-size="%s">`,
		px(width), px(height), px(width), px(height), px(textSize))
	on.printf(`<title>%s</title>`, escape(p.Name()))
	on.printf(`<rect width="100%%" height="100%%" fill="%s"/>`, fixedColours[back])
	p.draw(on, true)
	on.printf(`</svg>`)
	return on.out.Bytes()
}

// Inline is the picture as an element of a page, which gives it its title, its legend (see Keys) and its colours: the
// custom properties --back, --ink, --faint, --grid, --heat and --s1 to --s8 of its style.
func Inline(p Picture) []byte {
	on := &document{page: true}
	width, height := p.size(false)
	on.printf(`<svg role="img" aria-label="%s" viewBox="0 0 %s %s" width="%s" height="%s" font-size="%s">`,
		escape(p.Name()), px(width), px(height), px(width), px(height), px(textSize))
	p.draw(on, false)
	on.printf(`</svg>`)
	return on.out.Bytes()
}

// Swatch is a piece of the line of a key, as an element of a page.
func Swatch(k Key) []byte {
	on := &document{page: true}
	on.printf(`<svg aria-hidden="true" viewBox="0 0 26 10" width="26" height="10">`)
	on.line([]Point{{0, 5}, {26, 5}}, strokeOf(k.Style), "")
	on.printf(`</svg>`)
	return on.out.Bytes()
}

// document draws SVG.
type document struct {
	out  bytes.Buffer
	page bool // the colours are those of a page
}

func (v *document) printf(format string, args ...any) { fmt.Fprintf(&v.out, format+"\n", args...) }

// properties are the names of the colours in a page.
var properties = []string{"--back", "--ink", "--faint", "--grid", "--heat"}

func (v *document) colour(c colour) string {
	switch {
	case !v.page:
		return fixedColours[c]
	case c < series:
		return "var(" + properties[c] + ")"
	}
	return "var(--s" + strconv.Itoa(int(c-series)+1) + ")"
}

// end closes an element, with a title where there is one.
func (v *document) end(name, title string) {
	if title == "" {
		v.printf("/>")
		return
	}
	v.printf("><title>%s</title></%s>", escape(title), name)
}

func (v *document) line(points []Point, s stroke, title string) {
	element := "polyline"
	if title == "" { // a line of the frame
		element = "path"
		v.out.WriteString(`<path d="M`)
	} else {
		v.out.WriteString(`<polyline points="`)
	}
	for i, p := range points {
		if i > 0 {
			v.out.WriteByte(' ')
		}
		v.out.WriteString(px(p.X) + "," + px(p.Y))
	}
	fmt.Fprintf(&v.out, `" fill="none" stroke-linejoin="round" stroke="%s" stroke-width="%s"`, v.colour(s.colour),
		px(s.width))
	if s.dash != nil {
		var parts []string
		for _, d := range s.dash {
			parts = append(parts, px(d))
		}
		fmt.Fprintf(&v.out, ` stroke-dasharray="%s"`, strings.Join(parts, " "))
	}
	v.opacity("stroke", s.opacity)
	v.end(element, title)
}

// opacity writes an opacity that is not 1.
func (v *document) opacity(of string, opacity float64) {
	if opacity > 0 && opacity < 1 {
		fmt.Fprintf(&v.out, ` %s-opacity="%s"`, of, strconv.FormatFloat(opacity, 'f', 2, 64))
	}
}

func (v *document) rect(x, y, width, height float64, c colour, opacity float64, title string) {
	fmt.Fprintf(&v.out, `<rect x="%s" y="%s" width="%s" height="%s" fill="%s"`, px(x), px(y), px(width), px(height),
		v.colour(c))
	v.opacity("fill", opacity)
	v.end("rect", title)
}

func (v *document) dot(x, y, radius float64, c colour) {
	v.printf(`<circle cx="%s" cy="%s" r="%s" fill="%s"/>`, px(x), px(y), px(radius), v.colour(c))
}

func (v *document) text(l label) {
	if l.text == "" {
		return
	}
	attributes := ""
	if l.bold {
		attributes += ` font-weight="bold"`
	}
	if l.upwards {
		attributes += fmt.Sprintf(` transform="rotate(-90 %s %s)"`, px(l.x), px(l.y))
	}
	v.printf(`<text x="%s" y="%s" text-anchor="%s" fill="%s"%s>%s</text>`, px(l.x), px(l.y), l.anchor, v.colour(l.colour),
		attributes, escape(l.text))
}

// escape is a text as XML, without what turns the direction of what follows.
func escape(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Bidi_Control, r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder never fails
	return b.String()
}
