package report

import (
	"slices"
	"strings"
	"unicode"

	"github.com/peftconv/peftconv/internal/chart"
	"github.com/peftconv/peftconv/internal/cli"
)

// Page is a report for a browser: one file, which loads nothing. All texts are shown as they are. The same page has the
// same bytes.
type Page struct {
	Title    string
	Lead     string // a sentence below it
	Sections []Section
}

// Section is a part of a page under a heading. One without blocks is left out.
type Section struct {
	Title  string
	Blocks []Block
}

// Block is a part of a section: Text, Facts, *Table, Figures or *Answers.
type Block interface {
	html(to *writer)
	markdown(to *markdown)
}

// Text is a paragraph.
type Text string

// Facts are names and values.
type Facts []Fact

// Fact is one of them; without a value it is left out.
type Fact struct{ Name, Value string }

// Table has names of columns, and rows whose first cells name them. Numbers stand at the right.
type Table struct {
	Caption string
	Head    []string
	Rows    [][]string
	Texts   int // how many columns from the left are texts; 0: 1
}

// Figures are pictures, side by side where there is room.
type Figures []chart.Picture

// Answers are what was answered to a prompt, side by side.
type Answers struct {
	Prompt string
	Shown  []Answer
	More   []Answer // behind a line to open
}

// Answer is one of them.
type Answer struct {
	When  string
	Text  string
	Error string // why there is none
}

// add adds a section that has something in it.
func (p *Page) add(title string, blocks ...Block) {
	blocks = slices.DeleteFunc(blocks, func(b Block) bool {
		switch b := b.(type) {
		case nil:
			return true
		case Text:
			return b == ""
		case Facts:
			return !slices.ContainsFunc(b, func(f Fact) bool { return f.Value != "" })
		case *Table:
			return b == nil || len(b.Rows) == 0
		case Figures:
			return len(b) == 0
		}
		return false
	})
	if len(blocks) > 0 {
		p.Sections = append(p.Sections, Section{title, blocks})
	}
}

// Pictures are all pictures of the page, with a name for the file of each, without ending.
func (p *Page) Pictures() (names []string, pictures []chart.Picture) {
	for _, s := range p.Sections {
		for _, b := range s.Blocks {
			figures, _ := b.(Figures)
			for _, f := range figures {
				name := fileName(f.Name())
				for slices.Contains(names, name) {
					name += "-"
				}
				names, pictures = append(names, name), append(pictures, f)
			}
		}
	}
	return names, pictures
}

// fileName is a title as a file's name.
func fileName(title string) string {
	words := strings.FieldsFunc(strings.ToLower(title), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	return cli.Cut(strings.Join(words, "-"), 60)
}

// mostText is how many characters of a text are shown: enough for any name and most answers.
const mostText = 4000

// plain is a text of a file as a page may have it: cut where it is very long, without what HTML cannot hold and what
// turns the direction of what follows.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == '\r':
			return -1
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(cli.Cut(text, mostText), string(unicode.ReplacementChar)))
}
