package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html"
	"strings"

	"github.com/peftconv/peftconv/internal/chart"
	"github.com/peftconv/peftconv/internal/look"
)

//go:embed page.css
var style string

// writer writes HTML.
type writer struct{ bytes.Buffer }

// text is a text as HTML.
func text(s string) string { return html.EscapeString(plain(s)) }

// printf writes a line whose arguments are texts.
func (w *writer) printf(format string, args ...string) {
	escaped := make([]any, len(args))
	for i, a := range args {
		escaped[i] = text(a)
	}
	fmt.Fprintf(w, format+"\n", escaped...)
}

// HTML is the page. Its policy forbids the browser to load anything or to run anything.
func (p *Page) HTML() []byte {
	w := &writer{}
	w.WriteString(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
`)
	w.printf("<title>%s</title>", p.Title)
	w.WriteString("<style>\n" + look.CSS + style + "</style>\n</head>\n<body>\n<header>\n")
	w.printf("<h1>%s</h1>\n<p class=\"lead\">%s</p>\n</header>\n<main>", p.Title, p.Lead)
	for _, s := range p.Sections {
		w.printf("<section>\n<h2>%s</h2>", s.Title)
		for _, b := range s.Blocks {
			b.html(w)
		}
		w.WriteString("</section>\n")
	}
	w.WriteString("</main>\n</body>\n</html>\n")
	return w.Bytes()
}

func (t Text) html(w *writer) { w.printf("<p>%s</p>", string(t)) }

func (f Facts) html(w *writer) {
	w.WriteString("<dl class=\"about\">\n")
	for _, fact := range f {
		if fact.Value != "" {
			w.printf("<dt>%s</dt><dd>%s</dd>", fact.Name, fact.Value)
		}
	}
	w.WriteString("</dl>\n")
}

// texts is how many columns are texts.
func (t *Table) texts() int { return max(t.Texts, 1) }

func (t *Table) html(w *writer) {
	w.WriteString("<div class=\"wide\" tabindex=\"0\" role=\"region\"")
	w.printf(" aria-label=\"%s\">\n<table>\n<caption>%s</caption>\n<thead><tr>", t.Caption, t.Caption)
	for i, name := range t.Head {
		w.printf("<th scope=\"col\""+t.class(i)+">%s</th>", name)
	}
	w.WriteString("</tr></thead>\n<tbody>\n")
	for _, row := range t.Rows {
		w.WriteString("<tr>")
		for i, cell := range row {
			if i == 0 {
				w.printf("<th scope=\"row\">%s</th>", cell)
			} else {
				w.printf("<td"+t.class(i)+">%s</td>", cell)
			}
		}
		w.WriteString("</tr>\n")
	}
	w.WriteString("</tbody>\n</table>\n</div>\n")
}

// class is the attribute of a column.
func (t *Table) class(column int) string {
	if column >= t.texts() {
		return ` class="n"`
	}
	return ""
}

func (f Figures) html(w *writer) {
	w.WriteString("<div class=\"charts\">\n")
	for _, p := range f {
		class := ""
		if _, wide := p.(*chart.Heat); wide {
			class = ` class="whole"`
		}
		w.printf("<figure"+class+">\n<figcaption><span class=\"name\">%s</span>", p.Name())
		for _, k := range p.Keys() {
			w.WriteString("<span class=\"key\">")
			w.Write(bytes.TrimSpace(chart.Swatch(k)))
			w.printf(" %s</span>", k.Name)
		}
		w.WriteString("</figcaption>\n")
		w.Write(chart.Inline(p))
		w.WriteString("</figure>\n")
	}
	w.WriteString("</div>\n")
}

func (a *Answers) html(w *writer) {
	w.printf("<article>\n<h3>%s</h3>\n<div class=\"beside\">", a.Prompt)
	for i := range a.Shown {
		a.Shown[i].html(w)
	}
	w.WriteString("</div>\n")
	if len(a.More) > 0 {
		w.printf("<details>\n<summary>%s</summary>\n<div class=\"beside\">", fmt.Sprintf("%d more", len(a.More)))
		for i := range a.More {
			a.More[i].html(w)
		}
		w.WriteString("</div>\n</details>\n")
	}
	w.WriteString("</article>\n")
}

func (a *Answer) html(w *writer) {
	if a.Error != "" {
		w.printf("<div><div class=\"when\">%s</div><pre class=\"error\">%s</pre></div>", a.When, a.Error)
		return
	}
	// a first line break would be lost
	w.printf("<div><div class=\"when\">%s</div><pre>\n%s</pre></div>", a.When, strings.TrimRight(a.Text, "\n"))
}
