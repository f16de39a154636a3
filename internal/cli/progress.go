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

// Meter shows how far long work has come: a bar on a terminal, plain lines, one a second at most, elsewhere. Several
// threads may report at once.
type Meter struct {
	w       io.Writer
	raw     io.Writer // to the same stream, for what terminals are to obey
	unit    string    // what is counted: "step", or InBytes
	quiet   time.Duration
	console *console // nil where there is no terminal

	calls sync.Mutex // one call at a time
	first time.Time  // when work was first reported
	begun bool
	bars  *mpb.Progress // nil before the beginning, and where there is no terminal
	bar   *mpb.Bar

	mu       sync.Mutex // of what follows; the bar is drawn on goroutines of its own
	done     int64
	total    int64
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

// NewMeter is a meter on w, which begins with the first count.
func NewMeter(w io.Writer, unit string) *Meter {
	m := &Meter{w: w, raw: Raw(w), unit: unit}
	if f := Terminal(w); f != nil && os.Getenv("TERM") != "dumb" {
		m.console = &console{cupwriter.New(m.raw, true), func() int {
			width, _, err := term.GetSize(int(f.Fd()))
			if err != nil || width <= 0 {
				return 80
			}
			return width
		}}
		m.console.SetTermFd(int(f.Fd()))
	}
	return m
}

// NewCopyMeter is a meter of bytes. Work that is done at once shows none.
func NewCopyMeter(w io.Writer) *Meter {
	m := NewMeter(w, InBytes)
	m.quiet = 500 * time.Millisecond
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

// draw shows a bar: counter, bar as wide as there is room, details. Whatever else gets onto the line below it (the ^C
// of a terminal) is gone with the next drawing.
func (m *Meter) draw() {
	locked := func(text func() string) decor.Decorator {
		return decor.Any(func(decor.Statistics) string {
			m.mu.Lock()
			defer m.mu.Unlock()
			return text()
		})
	}
	m.bars = mpb.New(mpb.WithConsoleWriter(*m.console), mpb.WithRefreshRate(barEvery))
	style := mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]")
	// Without a total at first the bar does not end by itself when that is reached.
	m.bar = m.bars.New(0, style, mpb.BarWidth(mostBar), mpb.PrependDecorators(locked(m.counter)),
		mpb.AppendDecorators(locked(m.details)))
	m.bar.SetTotal(max(m.total, 1), false)
}

// StartAt begins with a bar, where done of total is done already: speed and time left are measured from here.
func (m *Meter) StartAt(done, total int64) {
	m.calls.Lock()
	defer m.calls.Unlock()
	m.begin(done, total)
}

func (m *Meter) begin(done, total int64) {
	m.begun = true
	m.set(func() { m.started, m.done, m.total, m.start = done, done, total, time.Now() })
	if m.console != nil {
		m.draw()
		m.bar.SetCurrent(done)
	}
}

// set changes what the bar shows, whose goroutine may wait for the lock.
func (m *Meter) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// Foresee sets the time left, of work whose parts take unlike times; other work has it from the count.
func (m *Meter) Foresee(left time.Duration) { m.set(func() { m.foreseen = &left }) }

// Update sets how much of the total is done, and a few words that follow it. The first call begins, where StartAt has
// not.
func (m *Meter) Update(done, total int64, note string) {
	m.calls.Lock()
	defer m.calls.Unlock()
	if !m.begun {
		if m.first.IsZero() {
			m.first = time.Now()
		}
		if time.Since(m.first) < m.quiet {
			return
		}
		m.begin(done, total)
	}
	m.set(func() {
		m.done, m.note = done, Name(note)
		// The total may be reported again and again: by tensors without elements.
		if m.bar == nil && (done == m.total && !m.ended || time.Since(m.shown) >= lineEvery) {
			m.shown, m.ended = time.Now(), done == m.total
			fmt.Fprintln(m.w, m.counter()+"  "+m.details())
		}
	})
	if m.bar != nil {
		m.bar.SetCurrent(done)
	}
}

// Say prints a line that stays, above the bar.
func (m *Meter) Say(format string, args ...any) {
	m.calls.Lock()
	defer m.calls.Unlock()
	line := fmt.Appendf(nil, format, args...)
	if m.bars != nil {
		line, _ = escaped(append(line, '\n'))
		line = line[:len(line)-1]
	}
	m.print(m.w, string(line))
}

// SayRaw is Say of a line in which terminals obey what they are to obey: nothing of it comes out of a file.
func (m *Meter) SayRaw(line string) {
	m.calls.Lock()
	defer m.calls.Unlock()
	m.print(m.raw, line)
}

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
	if m == nil {
		return
	}
	m.calls.Lock()
	defer m.calls.Unlock()
	if m.bars != nil {
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
