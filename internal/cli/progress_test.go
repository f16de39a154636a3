package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestMeterPrintsLines(t *testing.T) {
	var out bytes.Buffer
	m := NewMeter(&out, "step", 100)
	for i := range int64(100) {
		m.Update(i+1, "loss 1.5")
	}
	m.Stop()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "step 1/100  loss 1.5  ") ||
		!strings.HasPrefix(lines[1], "step 100/100  ") {
		t.Errorf("within a second it prints\n%s", out.String())
	}
}

// TestMeterOfNothing reports the total again and again, as tensors without elements do.
func TestMeterOfNothing(t *testing.T) {
	var out strings.Builder
	m := NewMeter(&out, InBytes, 0)
	for range 100_000 {
		m.Update(0, "a tensor")
	}
	if n := strings.Count(out.String(), "\n"); n < 1 || n > 5 {
		t.Errorf("%d lines, expected one a second at most", n)
	}
}

func TestMeterDrawsOneLine(t *testing.T) {
	var out bytes.Buffer
	for _, width := range []int{20, 60, 200} {
		out.Reset()
		m := &Meter{w: &out, bar: &out, unit: "step", total: 100, start: time.Now(), width: func() int { return width }}
		m.Update(40, "loss 1.5  1,000 tokens/s")
		m.Say("step 40: saved")
		m.shown = time.Time{}
		m.Update(41, "loss 1.4")
		m.Stop()
		for drawing := range strings.SplitSeq(out.String(), "\r") {
			if n := utf8.RuneCountInString(strings.TrimSuffix(drawing, "\n")); n >= width {
				t.Errorf("%d columns on a terminal of %d: %q", n, width, drawing)
			}
		}
		if !strings.Contains(out.String(), "\rstep 40: saved\n") {
			t.Errorf("the line that stays is not on its own: %q", out.String())
		}
		at := strings.LastIndex(strings.TrimRight(out.String(), " \r"), "\r")
		if last := out.String()[at:]; strings.Contains(strings.TrimSpace(last), "\n") {
			t.Errorf("the bar is left behind: %q", last)
		}
	}
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		done, total int64
		want        string
	}{{0, 10, ">    "}, {5, 10, "==>  "}, {10, 10, "====="}, {11, 10, "====="}, {0, 0, ">    "}} {
		if got := barOf(c.done, c.total, 5); got != c.want {
			t.Errorf("%d of %d: %q, want %q", c.done, c.total, got, c.want)
		}
	}
}

func TestClock(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{{0, "0:00"}, {75 * time.Second, "1:15"}, {3723 * time.Second, "1:02:03"}} {
		if got := clock(c.d); got != c.want {
			t.Errorf("%v: %q, want %q", c.d, got, c.want)
		}
	}
}
