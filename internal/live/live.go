// Package live shows a training run on a page that a browser on the same machine opens: its curves, samples and data,
// and buttons that ask the run for something. The page reads the lines of the run's log (package runlog) as server-sent
// events. It loads nothing from anywhere else.
//
// Who knows the address, with its random token, may watch and press the buttons. Nobody else can: other machines cannot
// connect unless that is asked for, and pages of other sites are refused by the Host header (a name that was made to
// point here), by Origin and by Sec-Fetch-Site.
package live

import (
	"encoding/json"
	"errors"
	"sync"

	"github.com/peftconv/peftconv/internal/runlog"
)

// Controls are what the buttons of the page do; nil ones are not there.
type Controls struct {
	Stop     func()
	Evaluate func()
	Sample   func(prompt string) bool // false: too many wait
}

// Example is a piece of the data as the model sees it.
type Example struct {
	Number   int       `json:"number"` // of all examples, from 1
	Segments []Segment `json:"segments"`
	Tokens   int       `json:"tokens"`
	Learned  int       `json:"learned"` // of the tokens
	Cut      bool      `json:"cut,omitempty"`
}

// Segment is a text whose tokens are all learned, or all not.
type Segment struct {
	Text  string `json:"text"`
	Learn bool   `json:"learn"`
}

// Limits of what is kept for viewers that come later.
const (
	mostRecent  = 512     // lines, for viewers that lost their connection
	mostSamples = 2000    // of all samples
	mostBytes   = 4 << 20 // of texts of samples
	mostViewers = 64
)

// feed is what viewers are told: a snapshot, and then each line.
type feed struct {
	mu      sync.Mutex
	next    int      // number of the next line
	recent  [][]byte // the last lines; they end with number next-1
	starts  []json.RawMessage
	steps   curve
	evals   []json.RawMessage
	samples []json.RawMessage
	bytes   int // of samples
	others  []json.RawMessage
	over    *over
	changed chan struct{} // closed when there is something new
	viewers int
}

// over says how a run ended.
type over struct {
	State string `json:"state"` // "finished", "stopped" or "failed"
	Text  string `json:"text"`
}

// snapshot is all that a page needs to begin.
type snapshot struct {
	Next     int               `json:"next"`
	Starts   []json.RawMessage `json:"starts"`
	Steps    curve             `json:"steps"`
	Evals    []json.RawMessage `json:"evals"`
	Samples  []json.RawMessage `json:"samples"`
	Others   []json.RawMessage `json:"others"`
	Over     *over             `json:"over"`
	Can      map[string]bool   `json:"can"`
	Examples int               `json:"examples"`
}

// publish adds a line.
func (f *feed) publish(line []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var l runlog.Line
	if json.Unmarshal(line, &l) != nil {
		return
	}
	switch l.Kind {
	case runlog.KindStart:
		f.starts = append(f.starts, line)
	case runlog.KindStep:
		if p, ok := pointOf(line); ok {
			f.steps.add(p)
		}
	case runlog.KindEvaluation:
		f.evals = append(f.evals, line)
	case runlog.KindSample:
		f.samples = append(f.samples, line)
		f.bytes += len(line)
		for len(f.samples) > mostSamples || f.bytes > mostBytes && len(f.samples) > 1 {
			f.bytes -= len(f.samples[0])
			f.samples = f.samples[1:]
		}
	default:
		f.others = append(f.others, line)
	}
	f.recent = append(f.recent, line)
	if len(f.recent) > 2*mostRecent {
		f.recent = append([][]byte(nil), f.recent[len(f.recent)-mostRecent:]...)
	}
	f.next++
	f.wake()
}

// wake tells all viewers. f.mu is held.
func (f *feed) wake() {
	if f.changed != nil {
		close(f.changed)
	}
	f.changed = make(chan struct{})
}

// end says how the run ended.
func (f *feed) end(o over) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over == nil {
		f.over = &o
	}
	f.wake()
}

// since is what a viewer that has all lines before number from gets: lines, or a snapshot where they are not there any
// more or from is negative. changed is closed when there is more.
func (f *feed) since(from int) (lines [][]byte, shot *snapshot, next int, over *over, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	first := f.next - len(f.recent)
	if from < first || from > f.next {
		shot = &snapshot{
			Next: f.next, Starts: f.starts, Evals: f.evals, Samples: f.samples, Others: f.others, Over: f.over,
			Steps: curve{Stride: max(1, f.steps.Stride), Points: append([]point{}, f.steps.Points...)},
		}
		return nil, shot, f.next, f.over, f.changed
	}
	return append([][]byte(nil), f.recent[from-first:]...), nil, f.next, f.over, f.changed
}

// errViewers is the error of too many viewers.
var errViewers = errors.New("too many pages are open")

// enter counts a viewer.
func (f *feed) enter() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.viewers >= mostViewers {
		return errViewers
	}
	f.viewers++
	return nil
}

// leave counts a viewer down.
func (f *feed) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.viewers--
}
