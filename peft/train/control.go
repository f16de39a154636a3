package train

import "sync"

// Control asks a run for something while it goes on, from any goroutine. What is asked for happens after the step in
// work, and changes nothing of the result; only the run that is stopped has none yet.
type Control struct {
	mu       sync.Mutex
	stopped  bool
	evaluate bool
	prompts  []string
}

// mostPrompts is how many prompts may wait for an answer.
const mostPrompts = 16

// Stop has the run write a checkpoint and end with an *Interrupted, as if its context were cancelled, but after the
// step in work.
func (c *Control) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
}

// Evaluate has the evaluation data measured.
func (c *Control) Evaluate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.evaluate = true
}

// Sample has a prompt answered by Samples.Generate. It is false where too many wait for an answer already.
func (c *Control) Sample(prompt string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.prompts) >= mostPrompts {
		return false
	}
	c.prompts = append(c.prompts, prompt)
	return true
}

// take is what was asked for since the last call. A nil Control is asked for nothing.
func (c *Control) take() (stop, evaluate bool, prompts []string) {
	if c == nil {
		return false, false, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	stop, evaluate, prompts = c.stopped, c.evaluate, c.prompts
	c.evaluate, c.prompts = false, nil
	return stop, evaluate, prompts
}
