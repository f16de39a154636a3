package train

import "time"

// clock measures the time that steps take, without what happens between them.
type clock struct {
	from   time.Time
	last   time.Duration // of the last step
	spent  time.Duration
	tokens int64
	steps  int
}

// start begins a step.
func (c *clock) start() { c.from = time.Now() }

// stepped ends a step and begins the next.
func (c *clock) stepped(tokens int64) {
	now := time.Now()
	c.last = now.Sub(c.from)
	c.spent += c.last
	c.from = now
	c.tokens += tokens
	c.steps++
}

// rate is tokens a second.
func (c *clock) rate() float64 {
	if c.spent <= 0 {
		return 0
	}
	return float64(c.tokens) / c.spent.Seconds()
}

// left is the time that the given steps will take.
func (c *clock) left(steps int) time.Duration {
	if c.steps == 0 {
		return 0
	}
	return c.spent / time.Duration(c.steps) * time.Duration(steps)
}

// progress is the report of the step that was just done.
func (t *trainer) progress(tokens int, loss, norm, lr float64) Progress {
	s, all := &t.state, sumCounts(t.counts)
	return Progress{
		Step: s.Step, Steps: t.schedule.steps, Epoch: float64(s.Epoch) + float64(s.Batch)/float64(max(1, len(t.batches))),
		Loss: loss, GradNorm: norm, LR: lr, Tokens: s.Tokens, TokensPerSecond: t.clock.rate(),
		StepTokens: tokens, Targets: int(all.targets), Seconds: t.clock.last.Seconds(),
		ETA: t.clock.left(t.schedule.steps - s.Step), RSS: RSS(), PeakRSS: PeakRSS(),
		Examples: int(all.sequences), RouterLoss: t.gradients.balanced, RetainLoss: t.gradients.divergence(),
	}
}
