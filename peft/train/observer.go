package train

import "github.com/peftconv/peftconv/peft"

// Observer is told what a run does, on the goroutine that runs it: a progress bar, a page or a log file. Several listen
// as Observers. A type that needs only some of the calls embeds Ignore.
type Observer interface {
	// Begin is called before the first step, after the base was evaluated.
	Begin(Start)
	// Step is called after each optimizer step, before the evaluation that is due then.
	Step(Progress)
	// Evaluated is called after the evaluation data was measured: of the base alone after Begin, and then as
	// Options.EvalEvery says, at the end, and when Control.Evaluate asks for it.
	Evaluated(Evaluation)
	// Sampled is called after a prompt was answered.
	Sampled(Sample)
	// Checkpoint is called after a checkpoint was written to a file; step is the number of steps done. When the run is
	// cancelled that is on a goroutine of its own.
	Checkpoint(path string, step int)
	// End is called when the result is complete and, where a file was asked for, written.
	End(*Result)
}

// Start is what is known before the first step.
type Start struct {
	Step, Steps int // steps done, by a run that is resumed, of all
	// of these, the last after which the evaluation data was measured, and the last after which prompts were answered
	Evaluated, Sampled int
	LR                 float64  // the learning rate at its highest
	Parameters         int      // values that are trained
	Memory             Memory   // what the run will need
	Chosen             Chosen   // the precision
	BaseLoss           *float64 // on the evaluation data, of the base alone; nil without such data
}

// Evaluation is a measurement of the evaluation data.
type Evaluation struct {
	Step     int // steps done
	Loss     float64
	Accuracy *float64 // of classified data
	Seconds  float64  // that it took; 0 of the base
	Base     bool     // without the adapter
	Asked    bool     // by Control.Evaluate: it decides nothing
	Best     bool     // the least loss of the run's evaluations so far, without those of the base and those asked for

	Files []peft.FileLoss // the same of each file, where the data are of several
}

// Sample is the answer to a prompt of Options.Samples, or of Control.Sample.
type Sample struct {
	Step    int // steps done
	Number  int // of the prompt in Samples.Prompts, from 0; -1: asked for
	Prompt  string
	Text    string
	Error   string // why there is no answer; "" where there is one
	Seconds float64
	Base    bool // without the adapter
}

// Ignore is an Observer that does nothing.
type Ignore struct{}

// Begin does nothing.
func (Ignore) Begin(Start) {}

// Step does nothing.
func (Ignore) Step(Progress) {}

// Evaluated does nothing.
func (Ignore) Evaluated(Evaluation) {}

// Sampled does nothing.
func (Ignore) Sampled(Sample) {}

// Checkpoint does nothing.
func (Ignore) Checkpoint(string, int) {}

// End does nothing.
func (Ignore) End(*Result) {}

// OnStep is an Observer of steps alone.
type OnStep func(Progress)

// Begin does nothing.
func (OnStep) Begin(Start) {}

// Step calls the function.
func (f OnStep) Step(p Progress) { f(p) }

// Evaluated does nothing.
func (OnStep) Evaluated(Evaluation) {}

// Sampled does nothing.
func (OnStep) Sampled(Sample) {}

// Checkpoint does nothing.
func (OnStep) Checkpoint(string, int) {}

// End does nothing.
func (OnStep) End(*Result) {}

// Observers tells several observers, in order.
type Observers []Observer

// Begin tells all.
func (all Observers) Begin(s Start) {
	for _, o := range all {
		o.Begin(s)
	}
}

// Step tells all.
func (all Observers) Step(p Progress) {
	for _, o := range all {
		o.Step(p)
	}
}

// Evaluated tells all.
func (all Observers) Evaluated(e Evaluation) {
	for _, o := range all {
		o.Evaluated(e)
	}
}

// Sampled tells all.
func (all Observers) Sampled(s Sample) {
	for _, o := range all {
		o.Sampled(s)
	}
}

// Checkpoint tells all.
func (all Observers) Checkpoint(path string, step int) {
	for _, o := range all {
		o.Checkpoint(path, step)
	}
}

// End tells all.
func (all Observers) End(r *Result) {
	for _, o := range all {
		o.End(r)
	}
}
