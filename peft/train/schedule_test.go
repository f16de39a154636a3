package train

import (
	"math"
	"testing"
)

// TestSchedules compares with the learning rates of Hugging Face's get_linear_schedule_with_warmup and the like.
func TestSchedules(t *testing.T) {
	for _, test := range []struct {
		kind          string
		warmup, steps int
		want          []float64
	}{
		{ScheduleConstant, 0, 3, []float64{1, 1, 1}},
		{ScheduleConstant, 2, 4, []float64{0, 0.5, 1, 1}},
		{ScheduleLinear, 0, 4, []float64{1, 0.75, 0.5, 0.25, 0, 0}},
		{ScheduleLinear, 4, 20, []float64{0, .25, .5, .75, 1, .9375, .875, .8125, .75}},
		{ScheduleCosine, 0, 4, []float64{1, (1 + math.Sqrt2/2) / 2, 0.5, (1 - math.Sqrt2/2) / 2, 0}},
		{ScheduleCosine, 1, 3, []float64{0, 1, 0.5, 0}},
		{ScheduleLinear, 5, 5, []float64{0, .2, .4, .6, .8}},
	} {
		s, err := newSchedule(test.kind, 0.01, test.warmup, test.steps)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range test.want {
			if got := s.at(i); math.Abs(got-0.01*want) > 1e-15 {
				t.Errorf("%s with %d of %d steps of warm-up: step %d has %v, expected %v", test.kind, test.warmup, test.steps, i,
					got, 0.01*want)
			}
		}
	}
	if _, err := newSchedule("sawtooth", 1, 0, 1); err == nil {
		t.Error("an unknown schedule was taken")
	}
}
