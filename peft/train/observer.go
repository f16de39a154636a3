package train

// Observer is told what a run does, on the goroutine that runs it: a progress bar, a page or a log file. Several listen
// as Observers. A type that needs only some of the calls embeds Ignore.
type Observer interface {
	// Begin is called before the first step, after the base was evaluated.
	Begin(Start)
	// Step is called after each optimizer step, and after the evaluation that is due then.
	Step(Progress)
	// Checkpoint is called after a checkpoint was written to a file; step is the number of steps done. When the run is
	// cancelled that is on a goroutine of its own.
	Checkpoint(path string, step int)
	// End is called when the result is complete and, where a file was asked for, written.
	End(*Result)
}

// Start is what is known before the first step.
type Start struct {
	Step, Steps int      // steps done, by a run that is resumed, of all
	LR          float64  // the learning rate at its highest
	Parameters  int      // values that are trained
	Memory      Memory   // what the run will need
	Chosen      Chosen   // the precision
	BaseLoss    *float64 // on the evaluation data, of the base alone; nil without such data
}

// Ignore is an Observer that does nothing.
type Ignore struct{}

// Begin does nothing.
func (Ignore) Begin(Start) {}

// Step does nothing.
func (Ignore) Step(Progress) {}

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
