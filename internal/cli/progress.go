package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/cupwriter"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/peftconv/peftconv/peft/train"
)

// Meter shows how far long work has come: a bar on a terminal, plain lines, one a second at most, elsewhere.
type Meter struct {
	w     io.Writer
	raw   io.Writer // to the same stream, for what terminals are to obey
	unit  string    // what is counted: "step", or InBytes
	total int64
	bars  *mpb.Progress // nil where there is no terminal
	bar   *mpb.Bar

	mu       sync.Mutex // of what follows; the bar is drawn on goroutines of its own
	done     int64
	note     string
	start    time.Time
	started  int64          // the count at start
	foreseen *time.Duration // the time left, where the work says it
	shown    time.Time      // when the last line was
	ended    bool           // the line of the total was printed
}

// InBytes is the unit of a meter that counts bytes.
const InBytes = "bytes"

// How often a bar is drawn, and a line printed.
const (
	barEvery  = 200 * time.Millisecond
	lineEvery = time.Second
)

// mostBar is how wide a bar is at most, in columns.
const mostBar = 50

// NewMeter starts a meter that counts up to total on w.
func NewMeter(w io.Writer, unit string, total int64) *Meter {
	m := &Meter{w: w, raw: Raw(w), unit: unit, total: total, start: time.Now()}
	if f := Terminal(w); f != nil && os.Getenv("TERM") != "dumb" {
		c := console{cupwriter.New(m.raw, true), func() int {
			width, _, err := term.GetSize(int(f.Fd()))
			if err != nil || width <= 0 {
				return 80
			}
			return width
		}}
		c.SetTermFd(int(f.Fd()))
		m.drawOn(c)
	}
	return m
}

// console is a terminal of which only the width counts.
type console struct {
	*cupwriter.Writer
	width func() int
}

// IsTerminal is true.
func (c console) IsTerminal() bool { return true }

// GetTermSize is a column less than there are: a full line would break on some terminals.
func (c console) GetTermSize() (width, height int, err error) { return max(1, c.width()-1), 24, nil }

// drawOn shows a bar: counter, bar as wide as there is room, details. Whatever else gets onto the line below it (the ^C
// of a terminal) is gone with the next drawing.
func (m *Meter) drawOn(c console) {
	locked := func(text func() string) decor.Decorator {
		return decor.Any(func(decor.Statistics) string {
			m.mu.Lock()
			defer m.mu.Unlock()
			return text()
		})
	}
	m.bars = mpb.New(mpb.WithConsoleWriter(c), mpb.WithRefreshRate(barEvery))
	style := mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]")
	// Without a total at first the bar does not end by itself when that is reached.
	m.bar = m.bars.New(0, style, mpb.BarWidth(mostBar), mpb.PrependDecorators(locked(m.counter)),
		mpb.AppendDecorators(locked(m.details)))
	m.bar.SetTotal(max(m.total, 1), false)
}

// StartAt measures speed and time left from here, where done is done already.
func (m *Meter) StartAt(done int64) {
	m.set(func() { m.started, m.done, m.start = done, done, time.Now() })
}

// set changes the count.
func (m *Meter) set(change func()) {
	m.mu.Lock()
	change()
	done := m.done
	m.mu.Unlock() // the goroutine of the bar may wait for it
	if m.bar != nil {
		m.bar.SetCurrent(done)
	}
}

// Foresee sets the time left, of work whose parts take unlike times; other work has it from the count.
func (m *Meter) Foresee(left time.Duration) { m.set(func() { m.foreseen = &left }) }

// Update sets the count, and a few words that follow it.
func (m *Meter) Update(done int64, note string) {
	m.set(func() {
		m.done, m.note = done, Name(note)
		// The total may be reported again and again: by tensors without elements.
		if m.bar == nil && (done == m.total && !m.ended || time.Since(m.shown) >= lineEvery) {
			m.shown, m.ended = time.Now(), done == m.total
			fmt.Fprintln(m.w, m.counter()+"  "+m.details())
		}
	})
}

// Say prints a line that stays, above the bar.
func (m *Meter) Say(format string, args ...any) {
	line := fmt.Appendf(nil, format, args...)
	if m.bars != nil {
		line, _ = escaped(append(line, '\n'))
		line = line[:len(line)-1]
	}
	m.print(m.w, string(line))
}

// SayRaw is Say of a line in which terminals obey what they are to obey: nothing of it comes out of a file.
func (m *Meter) SayRaw(line string) { m.print(m.raw, line) }

// print prints a line above the bar, or to w where there is none any more.
func (m *Meter) print(w io.Writer, line string) {
	if m.bars != nil {
		if _, err := io.WriteString(m.bars, line+"\n"); err == nil {
			return
		}
	}
	fmt.Fprintln(w, line)
}

// Stop takes the bar away; what follows on the terminal is the result. It may be called twice, and on nil.
func (m *Meter) Stop() {
	if m != nil && m.bars != nil {
		m.bar.Abort(true)
		m.bars.Wait()
	}
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
	switch n := m.done - m.started; {
	case m.foreseen != nil:
		text += Clock(*m.foreseen) + " left  "
	case n > 0:
		left := time.Duration(float64(time.Since(m.start)) / float64(n) * float64(m.total-m.done))
		text += Clock(left) + " left  "
	}
	return text + BytesText(train.PeakRSS())
}

// Clock is a duration as a clock shows it: 1:02:03 or 2:03.
func Clock(d time.Duration) string {
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
