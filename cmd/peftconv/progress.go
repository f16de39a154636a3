package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/peftconv/peftconv/peft"
)

// meter shows how far long work has come: a bar on a terminal, plain lines, one a second at most, elsewhere.
type meter struct {
	w       io.Writer
	unit    string // what is counted: "step", or inBytes
	total   int64
	start   time.Time
	started int64     // the count at start
	printed time.Time // of the last plain line

	progress *mpb.Progress // nil where there is no terminal
	bar      *mpb.Bar

	mu   sync.Mutex // the bar reads these from a goroutine of its own
	done int64
	note string
}

// inBytes is the unit of a meter that counts bytes.
const inBytes = "bytes"

// newMeter starts a meter that counts up to total on w.
func newMeter(w io.Writer, unit string, total int64) *meter {
	m := &meter{w: w, unit: unit, total: total, start: time.Now()}
	if !isTerminal(w) {
		return m
	}
	m.progress = mpb.New(mpb.WithOutput(w), mpb.WithAutoRefresh(), mpb.WithWidth(64))
	m.bar = m.progress.AddBar(total, mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return m.counter() + " " })),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return m.details() })))
	return m
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// startAt reckons speed and time left from here, where done is done already.
func (m *meter) startAt(done int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.started, m.done, m.start = done, done, time.Now()
}

// update sets the count, and a few words that follow it.
func (m *meter) update(done int64, note string) {
	m.mu.Lock()
	m.done, m.note = done, note
	m.mu.Unlock()
	if m.bar != nil {
		m.bar.SetCurrent(min(done, m.total-1)) // stop ends it
		return
	}
	if now := time.Now(); done == m.total || now.Sub(m.printed) >= time.Second {
		m.printed = now
		fmt.Fprintln(m.w, m.counter()+"  "+m.details())
	}
}

// stop takes the bar away; what follows on the terminal is the result. It may be called twice.
func (m *meter) stop() {
	if m.bar != nil {
		m.bar.Abort(true)
		m.progress.Wait()
		m.bar = nil
	}
}

// say prints a line that stays, above the bar.
func (m *meter) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...) + "\n"
	if m.bar != nil {
		m.progress.Write([]byte(line))
		return
	}
	io.WriteString(m.w, line)
}

// counter is "step 12/500".
func (m *meter) counter() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unit == inBytes {
		return bytesText(m.done) + " of " + bytesText(m.total)
	}
	return fmt.Sprintf("%s %d/%d", m.unit, m.done, m.total)
}

// details is the note, the time left and the memory.
func (m *meter) details() string {
	m.mu.Lock()
	defer m.mu.Unlock()
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
