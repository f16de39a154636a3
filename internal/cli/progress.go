package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/peftconv/peftconv/peft/train"
)

// Meter shows how far long work has come: a bar on a terminal, plain lines, one a second at most, elsewhere. The bar
// is one line that is drawn over again and again, the cursor waiting at its beginning, so that whatever else gets onto
// it (the ^C of a terminal) is gone with the next drawing.
type Meter struct {
	w     io.Writer
	bar   io.Writer // to the same stream, for the bar
	unit  string    // what is counted: "step", or InBytes
	total int64
	width func() int // of the terminal, in columns; nil where there is none

	mu      sync.Mutex // the bar is drawn from a goroutine of its own too
	done    int64
	note    string
	start   time.Time
	started int64     // the count at start
	shown   time.Time // when the last line or bar was
	ended   bool      // the line of the total was printed
	drawn   int       // columns that the bar takes up
	quit    chan struct{}
}

// InBytes is the unit of a meter that counts bytes.
const InBytes = "bytes"

// How often a bar is drawn, and a line printed.
const (
	barEvery  = 200 * time.Millisecond
	lineEvery = time.Second
)

// NewMeter starts a meter that counts up to total on w.
func NewMeter(w io.Writer, unit string, total int64) *Meter {
	m := &Meter{w: w, bar: Raw(w), unit: unit, total: total, start: time.Now()}
	if f := Terminal(w); f != nil {
		m.width = func() int {
			width, _, err := term.GetSize(int(f.Fd()))
			if err != nil || width <= 0 {
				return 80
			}
			return width
		}
		m.quit = make(chan struct{})
		go m.tick(m.quit)
	}
	return m
}

// tick keeps the time left moving while a step takes long.
func (m *Meter) tick(quit chan struct{}) {
	for {
		select {
		case <-quit:
			return
		case <-time.After(barEvery):
			m.mu.Lock()
			if m.quit != nil {
				m.draw()
			}
			m.mu.Unlock()
		}
	}
}

// StartAt measures speed and time left from here, where done is done already.
func (m *Meter) StartAt(done int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.started, m.done, m.start = done, done, time.Now()
}

// Update sets the count, and a few words that follow it.
func (m *Meter) Update(done int64, note string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done, m.note = done, Name(note)
	// The total may be reported again and again: by tensors without elements.
	if m.width == nil && (done == m.total && !m.ended || time.Since(m.shown) >= lineEvery) {
		m.shown, m.ended = time.Now(), done == m.total
		fmt.Fprintln(m.w, m.counter()+"  "+m.details())
	}
	if m.width != nil && time.Since(m.shown) >= barEvery {
		m.draw()
	}
}

// Say prints a line that stays, above the bar.
func (m *Meter) Say(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.erase()
	fmt.Fprintf(m.w, format+"\n", args...)
}

// SayRaw is Say of a line in which terminals obey what they are to obey: nothing of it comes out of a file.
func (m *Meter) SayRaw(line string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.erase()
	fmt.Fprintln(m.bar, line)
}

// Stop takes the bar away; what follows on the terminal is the result. It may be called twice, and on nil.
func (m *Meter) Stop() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.quit != nil {
		close(m.quit)
		m.quit = nil
	}
	m.erase()
}

// draw puts the bar onto its line: counter, bar as wide as there is room, details.
func (m *Meter) draw() {
	m.shown = time.Now()
	left, right := m.counter()+" ", " "+m.details()
	columns := m.width() - 1 // a full line would break
	room := columns - utf8.RuneCountInString(left+right) - len("[]")
	line := left + right
	if room >= 8 {
		line = left + "[" + barOf(m.done, m.total, min(room, 50)) + "]" + right
	}
	line = firstRunes(line, columns)
	n := utf8.RuneCountInString(line)
	fmt.Fprint(m.bar, "\r", line, strings.Repeat(" ", max(0, m.drawn-n)), "\r")
	m.drawn = n
}

func (m *Meter) erase() {
	if m.drawn > 0 {
		fmt.Fprint(m.bar, "\r", strings.Repeat(" ", m.drawn), "\r")
		m.drawn = 0
	}
}

// barOf is "=====>    ".
func barOf(done, total int64, width int) string {
	full := 0
	if total > 0 {
		full = int(int64(width) * min(done, total) / total)
	}
	if full == width {
		return strings.Repeat("=", width)
	}
	return strings.Repeat("=", full) + ">" + strings.Repeat(" ", width-full-1)
}

// firstRunes is a text cut to a number of columns.
func firstRunes(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// counter is "step 12/500".
func (m *Meter) counter() string {
	if m.unit == InBytes {
		return BytesText(m.done) + " of " + BytesText(m.total)
	}
	return fmt.Sprintf("%s %d/%d", m.unit, m.done, m.total)
}

// details is the note, the time left and the memory.
func (m *Meter) details() string {
	text := m.note
	if text != "" {
		text += "  "
	}
	if n := m.done - m.started; n > 0 {
		left := time.Duration(float64(time.Since(m.start)) / float64(n) * float64(m.total-m.done))
		text += clock(left) + " left  "
	}
	return text + BytesText(train.PeakRSS())
}

// clock is a duration as a clock shows it: 1:02:03 or 2:03.
func clock(d time.Duration) string {
	s := int(d.Round(time.Second).Seconds())
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// CopyMeter is a meter of bytes whose total is known with the first of them. Work that is done at once shows none.
type CopyMeter struct {
	W     io.Writer
	mu    sync.Mutex // several threads may read
	begun time.Time
	m     *Meter
}

// meterAfter is how long work takes before a CopyMeter shows.
const meterAfter = 500 * time.Millisecond

// Update sets how much of size is done, and a few words that follow it.
func (c *CopyMeter) Update(done, size int64, note string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.begun.IsZero():
		c.begun = time.Now()
	case c.m == nil && time.Since(c.begun) > meterAfter:
		c.m = NewMeter(c.W, InBytes, size)
		c.m.StartAt(done)
	}
	if c.m != nil {
		c.m.Update(done, note)
	}
}

// Stop takes the bar away, if there is one.
func (c *CopyMeter) Stop() { c.m.Stop() }
