package runlog

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"time"

	"github.com/peftconv/peftconv/peft/train"
)

// Recorder makes the lines of a run. It is a train.Observer.
type Recorder struct {
	About About
	File  *File // nil: no file is written
	// Lines get each line when it is written, of a run that is resumed first those that the file has of it already. They
	// must not change a line.
	Lines []func(line []byte)
	// Now is the time of a line; nil: time.Now.
	Now func() time.Time
}

var _ train.Observer = (*Recorder)(nil)

// Begin implements train.Observer.
func (r *Recorder) Begin(s train.Start) {
	if r.File != nil && s.Step > 0 {
		for _, line := range r.File.resume(s) {
			r.show(line)
		}
	}
	r.write(startOf(s, r.About, r.now()), KindStart)
}

// Step implements train.Observer.
func (r *Recorder) Step(p train.Progress) { r.write(stepOf(p, r.now()), KindStep) }

// Evaluated implements train.Observer.
func (r *Recorder) Evaluated(e train.Evaluation) { r.write(evaluationOf(e, r.now()), KindEvaluation) }

// Sampled implements train.Observer.
func (r *Recorder) Sampled(s train.Sample) { r.write(sampleOf(s, r.now()), KindSample) }

// Checkpoint implements train.Observer.
func (r *Recorder) Checkpoint(path string, step int) {
	r.write(Checkpoint{Line{KindCheckpoint, step, r.now()}, filepath.Base(path)}, KindCheckpoint)
}

// End implements train.Observer.
func (r *Recorder) End(result *train.Result) {
	r.write(End{Line{KindEnd, result.Steps, r.now()}, *result}, KindEnd)
}

func (r *Recorder) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now().UTC().Truncate(time.Millisecond)
}

// write writes a line.
func (r *Recorder) write(event any, kind string) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(event); err != nil {
		return // a number that is not finite, which the run reports
	}
	line := b.Bytes()
	if r.File != nil {
		r.File.append(line, kind)
	}
	r.show(bytes.TrimSuffix(line, []byte("\n")))
}

func (r *Recorder) show(line []byte) {
	for _, show := range r.Lines {
		show(line)
	}
}
