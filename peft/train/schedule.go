package train

import (
	"fmt"
	"math"
)

// Learning rate schedules, each with an optional linear warm-up from zero.
const (
	ScheduleConstant = "constant" // the learning rate stays
	ScheduleLinear   = "linear"   // falls to zero in a straight line
	ScheduleCosine   = "cosine"   // falls to zero along half a cosine
)

// schedule is a learning rate over a run.
type schedule struct {
	kind          string
	lr            float64
	warmup, steps int
}

// newSchedule checks the kind.
func newSchedule(kind string, lr float64, warmup, steps int) (schedule, error) {
	switch kind {
	case ScheduleConstant, ScheduleLinear, ScheduleCosine:
		return schedule{kind, lr, warmup, steps}, nil
	}
	return schedule{}, fmt.Errorf("schedule %q is not known, expected %s, %s or %s",
		kind, ScheduleConstant, ScheduleLinear, ScheduleCosine)
}

// at is the learning rate of step i, counted from 0. The definitions are those of Hugging Face transformers: the
// warm-up starts with a rate of 0, and the step after the last would have a rate of 0.
func (s schedule) at(i int) float64 {
	if i < s.warmup {
		return s.lr * float64(i) / float64(s.warmup)
	}
	left := float64(s.steps-i) / float64(max(1, s.steps-s.warmup))
	switch s.kind {
	case ScheduleLinear:
		return s.lr * max(0, left)
	case ScheduleCosine:
		return s.lr * max(0, 0.5*(1+math.Cos(math.Pi*(1-left))))
	}
	return s.lr
}
