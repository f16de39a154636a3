package cli

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/vbauerster/cupwriter"
)

func TestMeterPrintsLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		m := NewMeter(&out, "step")
		for i := range int64(100) {
			m.Update(i+1, 100, "loss 1.5")
		}
		m.Stop()
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 2 || !strings.HasPrefix(lines[0], "step 1/100  loss 1.5  ") ||
			!strings.HasPrefix(lines[1], "step 100/100  ") {
			t.Errorf("within a second it prints\n%s", out.String())
		}
	})
}

// TestMeterForesees shows the time left that work says, not that of its count.
func TestMeterForesees(t *testing.T) {
	var out bytes.Buffer
	m := NewMeter(&out, "tensor")
	m.Foresee(83 * time.Second)
	m.Update(1, 10, "a tensor")
	if line := out.String(); !strings.HasPrefix(line, "tensor 1/10  a tensor  1:23 left  ") {
		t.Errorf("it prints %q", line)
	}
}

// TestMeterMeasures has the time left from the counts, the first of which says nothing of speed.
func TestMeterMeasures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		m := NewMeter(&out, "tensor")
		m.Update(5, 10, "a")
		time.Sleep(10 * time.Second)
		m.Update(6, 10, "b")
		lines := strings.Split(out.String(), "\n")
		if strings.Contains(lines[0], "left") || !strings.HasPrefix(lines[1], "tensor 6/10  b  0:40 left  ") {
			t.Errorf("it prints %q", lines)
		}
	})
}

// TestCopyMeter shows nothing of work that is done at once.
func TestCopyMeter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		m := NewCopyMeter(&out)
		m.Update(0, 3000, "a")
		time.Sleep(499 * time.Millisecond)
		m.Update(1000, 3000, "b")
		if out.Len() > 0 {
			t.Errorf("within half a second it prints %q", out.String())
		}
		time.Sleep(time.Millisecond)
		m.Update(2000, 3000, "c")
		if !strings.HasPrefix(out.String(), "2.0 kB of 3.0 kB  c  ") {
			t.Errorf("after half a second it prints %q", out.String())
		}
	})
}

// TestMeterOfNothing reports the total again and again, as tensors without elements do.
func TestMeterOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		m := NewMeter(&out, InBytes)
		for range 100_000 {
			m.Update(0, 0, "a tensor")
		}
		if n := strings.Count(out.String(), "\n"); n != 1 {
			t.Errorf("%d lines within a second, expected one", n)
		}
	})
}

// TestMeterDrawsOneLine wants a bar on one line at a time, whatever the width, and lines that stay above it.
func TestMeterDrawsOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, width := range []int{20, 60, 200} {
			var out bytes.Buffer
			m := &Meter{w: &out, raw: &out, unit: "step",
				console: &console{cupwriter.New(&out, true), func() int { return width }}}
			m.StartAt(30, 100)
			m.Update(40, 100, "loss 1.5  1,000 tokens/s")
			m.Say("step 40: %s", "saved\x1b[2J")
			time.Sleep(barEvery + barEvery/2)
			m.Update(100, 100, "loss 1.4")
			time.Sleep(barEvery + barEvery/2)
			m.Stop()
			m.Stop()
			m.Say("after")
			screen := terminalOf(t, out.String())
			if want := []string{`step 40: saved\x1b[2J`, "after", ""}; !slices.Equal(screen.lines, want) {
				t.Errorf("%d columns: the terminal has %q, want %q", width, screen.lines, want)
			}
			bars := 0
			for _, line := range screen.seen {
				n := utf8.RuneCountInString(line)
				if strings.HasPrefix(line, "step ") && !strings.HasPrefix(line, "step 40: ") {
					bars++
					drawn := strings.Contains(line, "100/100 [====") || strings.Contains(line, "40/100 [====")
					if n >= width || width == 200 && !drawn {
						t.Errorf("%d columns: %q", width, line)
					}
				}
			}
			if bars < 2 {
				t.Errorf("%d columns: %d bars in %q", width, bars, out.String())
			}
		}
	})
}

// terminal is what a terminal does with a text, as far as bars need it.
type terminal struct {
	lines []string
	seen  []string // all lines that were ever complete
}

// terminalOf obeys new lines and "cursor up, clear to the end".
func terminalOf(t *testing.T, text string) *terminal {
	t.Helper()
	s := &terminal{lines: []string{""}}
	for text != "" {
		if rest, ok := strings.CutPrefix(text, "\x1b["); ok {
			number, rest, _ := strings.Cut(rest, "A\x1b[J")
			n, err := strconv.Atoi(number)
			if err != nil || n >= len(s.lines) {
				t.Fatalf("%q after %q", number, s.lines)
			}
			s.lines = append(s.lines[:len(s.lines)-1-n], "")
			text = rest
			continue
		}
		if text[0] == '\n' {
			s.seen = append(s.seen, s.lines[len(s.lines)-1])
			s.lines = append(s.lines, "")
		} else {
			s.lines[len(s.lines)-1] += text[:1]
		}
		text = text[1:]
	}
	return s
}

func TestClock(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{{0, "0:00"}, {75 * time.Second, "1:15"}, {3723 * time.Second, "1:02:03"}} {
		if got := Clock(c.d); got != c.want {
			t.Errorf("%v: %q, want %q", c.d, got, c.want)
		}
	}
}
