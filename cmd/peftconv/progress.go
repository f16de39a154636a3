package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/peftconv/peftconv/peft"
)

// meter shows how far long work has come: a bar on a terminal, plain lines, one a second at most, elsewhere. The bar
// is one line that is drawn over again and again, the cursor waiting at its beginning, so that whatever else gets onto
// it (the ^C of a terminal) is gone with the next drawing.
type meter struct {
	w     io.Writer
	unit  string // what is counted: "step", or inBytes
	total int64
	width func() int // of the terminal, in columns; nil where there is none

	mu      sync.Mutex // the bar is drawn from a goroutine of its own too
	done    int64
	note    string
	start   time.Time
	started int64     // the count at start
	shown   time.Time // when the last line or bar was
	drawn   int       // columns that the bar takes up
	quit    chan struct{}
}

// inBytes is the unit of a meter that counts bytes.
const inBytes = "bytes"

// How often a bar is drawn, and a line printed.
const (
	barEvery  = 200 * time.Millisecond
	lineEvery = time.Second
)

// newMeter starts a meter that counts up to total on w.
func newMeter(w io.Writer, unit string, total int64) *meter {
	m := &meter{w: w, unit: unit, total: total, start: time.Now()}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
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
func (m *meter) tick(quit chan struct{}) {
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

// startAt computes speed and time left from here, where done is done already.
func (m *meter) startAt(done int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.started, m.done, m.start = done, done, time.Now()
}

// update sets the count, and a few words that follow it.
func (m *meter) update(done int64, note string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done, m.note = done, note
	if m.width == nil && (done == m.total || time.Since(m.shown) >= lineEvery) {
		m.shown = time.Now()
		fmt.Fprintln(m.w, m.counter()+"  "+m.details())
	}
	if m.width != nil && time.Since(m.shown) >= barEvery {
		m.draw()
	}
}

// say prints a line that stays, above the bar.
func (m *meter) say(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.erase()
	fmt.Fprintf(m.w, format+"\n", args...)
}

// stop takes the bar away; what follows on the terminal is the result. It may be called twice, and on nil.
func (m *meter) stop() {
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
func (m *meter) draw() {
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
	fmt.Fprint(m.w, "\r", line, strings.Repeat(" ", max(0, m.drawn-n)), "\r")
	m.drawn = n
}

func (m *meter) erase() {
	if m.drawn > 0 {
		fmt.Fprint(m.w, "\r", strings.Repeat(" ", m.drawn), "\r")
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
func (m *meter) counter() string {
	if m.unit == inBytes {
		return bytesText(m.done) + " of " + bytesText(m.total)
	}
	return fmt.Sprintf("%s %d/%d", m.unit, m.done, m.total)
}

// details is the note, the time left and the memory.
func (m *meter) details() string {
	text := m.note
	if text != "" {
		text += "  "
	}
	if n := m.done - m.started; n > 0 {
		left := time.Duration(float64(time.Since(m.start)) / float64(n) * float64(m.total-m.done))
		text += clock(left) + " left  "
	}
	return text + bytesText(peft.PeakRSS())
}

// clock is a duration as a clock shows it: 1:02:03 or 2:03.
func clock(d time.Duration) string {
	s := int(d.Round(time.Second).Seconds())
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
