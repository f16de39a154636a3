// Package preview shows examples as a model sees them: their texts, which tokens of them are learned, how many there
// are and how long they are.
package preview

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/peftconv/peftconv/internal/chat"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/records"
	"github.com/peftconv/peftconv/peft"
)

// Segment is a stretch of a text, and whether it is learned.
type Segment struct {
	Text  string
	Learn bool
}

// MarshalJSON is [text, learn].
func (s Segment) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	err := printLine(&b, []any{s.Text, s.Learn})
	return b.Bytes(), err
}

// Example is what the model sees.
type Example struct {
	Record   int       `json:"record"` // its number, from 1; 0: a piece of a text
	Text     string    `json:"text"`
	Segments []Segment `json:"segments"` // of the text; neighbours differ in whether they are learned
	Tokens   *int      `json:"tokens,omitempty"`
	Learned  *int      `json:"learned,omitempty"` // of the tokens; both are nil without a vocabulary
}

// ofTokens is example i of data in the vocabulary of a base.
func ofTokens(b *peft.Base, d *peft.Data, i int) (*Example, error) {
	e, err := d.At(i)
	if err != nil {
		return nil, err
	}
	out := &Example{Record: e.Record}
	var ids []int32
	learned, n := 0, len(e.IDs)
	flush := func(learn bool) {
		if text := b.Pieces(ids); text != "" {
			out.add(Segment{text, learn})
		}
		ids = ids[:0]
	}
	before := false
	for j, id := range e.IDs {
		learn := j > 0 && (e.Loss == nil || e.Loss[j]) // nothing predicts the first
		if learn != before {
			flush(before)
			before = learn
		}
		if learn {
			learned++
		}
		ids = append(ids, id)
	}
	flush(before)
	out.Tokens, out.Learned = &n, &learned
	return out, nil
}

func (e *Example) add(s Segment) {
	e.Text += s.Text
	e.Segments = append(e.Segments, s)
}

// Examples are those of data.
type Examples struct {
	n     int
	at    func(i int) (*Example, error)
	notes []string // about what was cut and left out
	unit  string   // of their lengths
}

// Len is how many there are.
func (x *Examples) Len() int { return x.n }

// At is example i.
func (x *Examples) At(i int) (*Example, error) { return x.at(i) }

// Of are the examples of data in the vocabulary of a base.
func Of(b *peft.Base, d *peft.Data) *Examples {
	at := func(i int) (*Example, error) { return ofTokens(b, d, i) }
	return &Examples{d.Len(), at, d.Notes(), "tokens"}
}

// OfTexts are the examples of the conversations of files, as texts.
func OfTexts(paths []string, opt records.Options, encoder *chat.Encoder, format chat.Format) (*Examples, error) {
	var all []*Example
	var notes []string
	for _, path := range paths {
		about, err := texts(path, opt, encoder, format, func(e *Example) { all = append(all, e) })
		if err != nil {
			return nil, err
		}
		notes = append(notes, about...)
	}
	at := func(i int) (*Example, error) { return all[i], nil }
	return &Examples{len(all), at, notes, "bytes"}, nil
}

// Print prints some examples, evenly spread over all, and how many there are of what length; or, as JSON, one object
// for each of all examples. Notes go to warnings. Examples of which nothing is learned are an error.
func (x *Examples) Print(out, warnings io.Writer, show int, asJSON bool) error {
	p := NewPrinter(out)
	var lengths []int
	tokens, learned, texts := 0, 0, 0
	for i := range x.n {
		e, err := x.at(i)
		if err != nil {
			return err
		}
		if asJSON {
			if err := printLine(out, e); err != nil {
				return err
			}
		} else if show > 0 && (show >= x.n || i*show%x.n < show) {
			p.Example(i+1, e)
		}
		n := len(e.Text)
		if e.Tokens != nil {
			n = *e.Tokens
			learned += *e.Learned
		} else if slices.ContainsFunc(e.Segments, func(s Segment) bool { return s.Learn }) {
			texts++
		}
		tokens += n
		lengths = append(lengths, n)
	}
	for _, note := range x.notes {
		fmt.Fprintf(warnings, "note: %s\n", cli.Line(note))
	}
	if learned+texts == 0 {
		return errors.New("no token carries loss: nothing would be learned")
	}
	if asJSON {
		return nil
	}
	if x.unit == "tokens" {
		fmt.Fprintf(out, "%s, %s: %s with loss (%s), %s without\n", cli.Plural(x.n, "example"),
			cli.Plural(tokens, "token"), cli.CountText(learned), p.How(), cli.CountText(tokens-learned))
	} else {
		fmt.Fprintf(out, "%s, %s; learned text stands %s\n", cli.Plural(x.n, "example"), cli.Plural(tokens, "byte"), p.How())
	}
	p.Histogram(lengths, x.unit)
	return nil
}

// printLine prints a value as one line of JSON, with <, > and & as they are.
func printLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// texts calls each for every example of the conversations of a file, and gives sentences about what was left out.
func texts(path string, opt records.Options, encoder *chat.Encoder, format chat.Format, each func(*Example)) (
	notes []string, err error) {
	s, err := records.Open(path, opt)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if s.Format() == records.Text {
		return nil, fmt.Errorf("%s: a text; without --base only conversations can be shown", path)
	}
	seen := map[string]bool{}
	number := 0
	for r, err := range s.Records() {
		if err != nil {
			return notes, err
		}
		number++
		examples, about, err := rendered(r, encoder, format)
		if err != nil {
			about = []string{fmt.Sprintf("left out: %v", err)}
		}
		for _, note := range about {
			if !seen[note] {
				seen[note] = true
				notes = append(notes, fmt.Sprintf("%s: %s", r.Place(), note))
			}
		}
		for _, segments := range examples {
			e := &Example{Record: number}
			for _, s := range segments {
				e.add(Segment{s.Text, s.Learn})
			}
			each(e)
		}
	}
	return notes, nil
}

// rendered is the examples of one record.
func rendered(r *records.Record, encoder *chat.Encoder, format chat.Format) ([][]chat.Segment, []string, error) {
	fields, err := r.Object()
	if err != nil {
		return nil, nil, err
	}
	if format == "" {
		if format, err = chat.Find(fields, encoder.Fields); err != nil {
			return nil, nil, err
		}
	}
	if !encoder.Takes(format) {
		return nil, nil, fmt.Errorf("no conversation; the fields are %s", fields.List())
	}
	return encoder.Texts(chat.FromRecord(fields), format)
}

// Printer prints examples for people.
type Printer struct {
	w      io.Writer
	colour bool
}

// NewPrinter prints to w: learned text in colour where w is a terminal and NO_COLOR is not set, and between ⟦ and ⟧
// otherwise.
func NewPrinter(w io.Writer) *Printer {
	colour := cli.Terminal(w) != nil && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return &Printer{w, colour}
}

// How says how learned text is told from other text.
func (p *Printer) How() string {
	if p.colour {
		return "in colour"
	}
	return "between ⟦ and ⟧"
}

// Example prints an example.
func (p *Printer) Example(number int, e *Example) {
	fmt.Fprintf(p.w, "── example %d", number)
	if e.Record > 0 {
		fmt.Fprintf(p.w, ", record %d", e.Record)
	}
	if e.Tokens != nil {
		fmt.Fprintf(p.w, ": %s, %s of them learned", cli.Plural(*e.Tokens, "token"), cli.CountText(*e.Learned))
	}
	fmt.Fprintln(p.w)
	w, before, after := p.w, "⟦", "⟧"
	if p.colour {
		w, before, after = cli.Raw(p.w), "\x1b[32m", "\x1b[0m"
	}
	for _, s := range e.Segments {
		if text := visible(s.Text); s.Learn {
			fmt.Fprint(w, before, text, after)
		} else {
			fmt.Fprint(p.w, text)
		}
	}
	if !strings.HasSuffix(e.Text, "\n") {
		fmt.Fprintln(p.w)
	}
	fmt.Fprintln(p.w)
}

// visible is a text that is safe for a terminal: control characters but new lines and tabs are escaped.
func visible(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(cli.Printable(string(r), 0))
		}
	}
	return b.String()
}

// Histogram prints how many examples are of which length.
func (p *Printer) Histogram(lengths []int, unit string) {
	if len(lengths) == 0 {
		return
	}
	const bars, columns = 8, 40
	low, high := slices.Min(lengths), slices.Max(lengths)
	width := (high-low)/bars + 1
	counts := make([]int, (high-low)/width+1)
	for _, n := range lengths {
		counts[(n-low)/width]++
	}
	most := slices.Max(counts)
	sorted := slices.Sorted(slices.Values(lengths))
	fmt.Fprintf(p.w, "lengths in %s: median %s, longest %s\n", unit, cli.CountText(sorted[len(sorted)/2]),
		cli.CountText(high))
	for i, n := range counts {
		from := low + i*width
		bar := strings.Repeat("█", (n*columns+most-1)/most)
		fmt.Fprintf(p.w, "  %7s to %7s  %-*s %s\n", cli.CountText(from), cli.CountText(min(from+width-1, high)), columns, bar,
			cli.CountText(n))
	}
}
