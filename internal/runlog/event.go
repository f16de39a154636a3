// Package runlog keeps the log of a training run: a file of JSON lines, one an event, written as it happens, so that a
// run that is killed leaves it whole up to its last line. A run that is resumed continues it.
//
// The lines are also what a page that shows the run is fed with.
package runlog

import (
	"slices"
	"time"

	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/train"
)

// Kinds of lines.
const (
	KindStart      = "start"      // Start: the run begins, or is resumed
	KindStep       = "step"       // Step
	KindEvaluation = "eval"       // Evaluation
	KindSample     = "sample"     // Sample
	KindCheckpoint = "checkpoint" // Checkpoint
	KindEnd        = "end"        // End: the adapter is written
)

// Line is what all lines have.
type Line struct {
	Kind string    `json:"kind"`
	Step int       `json:"step"` // steps done
	Time time.Time `json:"time"`
}

// About is what a log says of its run at the beginning, beside what train.Start does.
type About struct {
	Version   string   `json:"version,omitempty"` // of the program
	Command   []string `json:"command,omitempty"` // its arguments
	Machine   string   `json:"machine,omitempty"` // "linux/amd64, avx512, 8 threads"
	Base      string   `json:"base,omitempty"`    // path
	BaseBytes int64    `json:"base_bytes,omitempty"`
	// architecture of the base, and in words what is trained
	Architecture string   `json:"architecture,omitempty"`
	Adapter      string   `json:"adapter,omitempty"`
	Out          string   `json:"out,omitempty"` // path
	Data         *Data    `json:"data,omitempty"`
	Evaluation   *Data    `json:"evaluation,omitempty"`
	Schedule     string   `json:"schedule,omitempty"`
	BatchTokens  int      `json:"batch_tokens,omitempty"`
	Seed         uint64   `json:"seed"`
	SaveEvery    int      `json:"save_every,omitempty"`
	EvalEvery    int      `json:"eval_every,omitempty"`
	Prompts      []string `json:"prompts,omitempty"` // that are answered
}

// Data is data in numbers.
type Data struct {
	Files          []string `json:"files,omitempty"`
	Examples       int      `json:"examples"`
	Tokens         int      `json:"tokens"`
	TokensWithLoss int      `json:"tokens_with_loss"`
	Sample         bool     `json:"sample,omitempty"` // of the training data, in place of data to evaluate on
	Lengths        *Lengths `json:"lengths,omitempty"`
}

// Lengths counts examples by their tokens: Counts[i] have more than i·Step, up to (i+1)·Step.
type Lengths struct {
	Step   int   `json:"step"`
	Counts []int `json:"counts"`
}

// mostLengths is how many ranges Lengths have at most.
const mostLengths = 40

// LengthsOf counts n examples by their sizes; nil of none.
func LengthsOf(n int, size func(i int) int) *Lengths {
	longest := 0
	for i := range n {
		longest = max(longest, size(i))
	}
	if longest == 0 {
		return nil
	}
	step := 1
	for unit := 1; longest > step*mostLengths; unit *= 10 {
		for _, digit := range []int{1, 2, 5} {
			if step = digit * unit; longest <= step*mostLengths {
				break
			}
		}
	}
	l := &Lengths{Step: step, Counts: make([]int, (longest+step-1)/step)}
	for i := range n {
		l.Counts[max(size(i)-1, 0)/step]++
	}
	return l
}

// Start is the first line of a run, and of what follows after it was resumed.
type Start struct {
	Line
	Steps      int     `json:"steps"` // of the whole run
	LR         float64 `json:"lr"`    // at its highest
	Parameters int     `json:"parameters"`
	Precision  string  `json:"precision"`
	Reason     string  `json:"precision_reason,omitempty"`
	Memory     Memory  `json:"memory"`
	About
}

// Memory is what the run will need, in bytes, by parts.
type Memory struct {
	Total       int64 `json:"total"`
	Weights     int64 `json:"weights"`
	Activations int64 `json:"activations"`
	Logits      int64 `json:"logits"`
	Adapter     int64 `json:"adapter"`
	Layers      int64 `json:"layers,omitempty"`
	Teacher     int64 `json:"teacher,omitempty"`
	Program     int64 `json:"program"`
	Available   int64 `json:"available,omitempty"`
}

// MemoryOf is the parts of what is planned.
func MemoryOf(m *train.Memory) Memory {
	return Memory{m.Total(), m.Weights, m.Activations, m.Logits, m.Adapter, m.Layers, m.Teacher, m.Program, 0}
}

// Part is a part of the memory, with a name for people.
type Part struct {
	Name  string
	Bytes int64
}

// Parts are those that take any.
func (m *Memory) Parts() []Part {
	return slices.DeleteFunc([]Part{
		{"weights", m.Weights}, {"activations", m.Activations}, {"logits", m.Logits}, {"adapter and moments", m.Adapter},
		{"outputs of frozen layers", m.Layers}, {"teacher", m.Teacher}, {"program", m.Program},
	}, func(p Part) bool { return p.Bytes <= 0 })
}

// Step is an optimizer step.
type Step struct {
	Line
	Epoch          float64 `json:"epoch"`
	Loss           float64 `json:"loss"`
	LR             float64 `json:"lr"`
	GradNorm       float64 `json:"grad_norm"`
	Tokens         int     `json:"tokens"`           // of this step
	TokensWithLoss int     `json:"tokens_with_loss"` // of these
	TokensSeen     int64   `json:"tokens_seen"`      // by the whole run so far
	Seconds        float64 `json:"seconds"`          // that this step took
	Memory         int64   `json:"memory"`           // bytes resident
	RouterLoss     float64 `json:"router_loss,omitempty"`
	RetainLoss     float64 `json:"retain_loss,omitempty"`
}

// Evaluation is a measurement of the evaluation data.
type Evaluation struct {
	Line
	Loss     float64  `json:"loss"`
	Accuracy *float64 `json:"accuracy,omitempty"`
	Seconds  float64  `json:"seconds,omitempty"`
	Base     bool     `json:"base,omitempty"`  // without the adapter
	Asked    bool     `json:"asked,omitempty"` // by somebody who watches
	Best     bool     `json:"best,omitempty"`  // the least so far

	Files []peft.FileLoss `json:"files,omitempty"` // of each file of several
}

// Sample is an answer to a prompt.
type Sample struct {
	Line
	Number  int     `json:"number"` // of the prompt, from 0; -1: asked for by somebody who watches
	Prompt  string  `json:"prompt"`
	Text    string  `json:"text"`
	Error   string  `json:"error,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	Base    bool    `json:"base,omitempty"` // without the adapter
}

// Checkpoint says that a checkpoint was written.
type Checkpoint struct {
	Line
	File string `json:"file"`
}

// End is the last line of a run that came to its end.
type End struct {
	Line
	train.Result
}

// startOf is the line of a start.
func startOf(s train.Start, about About, now time.Time) Start {
	m := &s.Memory
	line := Start{
		Line: Line{KindStart, s.Step, now}, Steps: s.Steps, LR: s.LR, Parameters: s.Parameters, Precision: s.Chosen.Precision,
		Reason: s.Chosen.Reason, About: about,
		Memory: MemoryOf(m),
	}
	if m.Known {
		line.Memory.Available = m.Available
	}
	return line
}

// stepOf is the line of a step.
func stepOf(p train.Progress, now time.Time) Step {
	return Step{
		Line: Line{KindStep, p.Step, now}, Epoch: p.Epoch, Loss: p.Loss, LR: p.LR, GradNorm: p.GradNorm,
		Tokens: p.StepTokens, TokensWithLoss: p.Targets, TokensSeen: p.Tokens, Seconds: p.Seconds, Memory: p.RSS,
		RouterLoss: p.RouterLoss, RetainLoss: p.RetainLoss,
	}
}

// evaluationOf is the line of an evaluation.
func evaluationOf(e train.Evaluation, now time.Time) Evaluation {
	return Evaluation{
		Line{KindEvaluation, e.Step, now}, e.Loss, e.Accuracy, e.Seconds, e.Base, e.Asked, e.Best, e.Files,
	}
}

// sampleOf is the line of a sample.
func sampleOf(s train.Sample, now time.Time) Sample {
	return Sample{Line{KindSample, s.Step, now}, s.Number, s.Prompt, s.Text, s.Error, s.Seconds, s.Base}
}
