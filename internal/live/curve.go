package live

import "encoding/json"

// point is some steps after one another, of which the curves show one value. It has its JSON form for the page, which
// adds to it in the same way: see the fields' order in page/app.js.
type point [13]float64

// Places in a point.
const (
	atStep    = iota // the last step
	atSteps          // how many steps
	atTokens         // sum
	atTargets        // sum
	atSeconds        // sum
	atLoss           // mean
	atLossMin        // least
	atLossMax        // greatest
	atLR             // of the last step
	atNorm           // mean
	atNormMax        // greatest
	atMemory         // greatest
	atEpoch          // of the last step
)

// add adds the steps of another point, which come later.
func (p *point) add(q *point) {
	n, m := p[atSteps], q[atSteps]
	mean := func(at int) { p[at] = (n*p[at] + m*q[at]) / (n + m) }
	mean(atLoss)
	mean(atNorm)
	for _, at := range []int{atSteps, atTokens, atTargets, atSeconds} {
		p[at] += q[at]
	}
	p[atLossMin] = min(p[atLossMin], q[atLossMin])
	for _, at := range []int{atLossMax, atNormMax, atMemory} {
		p[at] = max(p[at], q[at])
	}
	for _, at := range []int{atStep, atLR, atEpoch} {
		p[at] = q[at]
	}
}

// mostPoints is how many points a curve has at most. When there would be more, pairs become one.
const mostPoints = 2000

// curve is all steps of a run, in at most mostPoints points.
type curve struct {
	Stride int     `json:"stride"` // steps of a point: those of which (step-1)/stride is the same
	Points []point `json:"points"`
}

// add adds a step.
func (c *curve) add(p point) {
	if c.Stride == 0 {
		c.Stride = 1
	}
	c.put(p)
	if len(c.Points) <= mostPoints {
		return
	}
	all := c.Points
	c.Points, c.Stride = nil, 2*c.Stride
	for _, p := range all {
		c.put(p)
	}
}

// put adds a point after the last, or to it.
func (c *curve) put(p point) {
	if last := len(c.Points) - 1; last >= 0 && c.place(&c.Points[last]) == c.place(&p) {
		c.Points[last].add(&p)
		return
	}
	c.Points = append(c.Points, p)
}

// place is where a point stands.
func (c *curve) place(p *point) int { return (int(p[atStep]) - 1) / c.Stride }

// stepLine is what a point is made of, of a line of the log.
type stepLine struct {
	Step           float64 `json:"step"`
	Epoch          float64 `json:"epoch"`
	Loss           float64 `json:"loss"`
	LR             float64 `json:"lr"`
	GradNorm       float64 `json:"grad_norm"`
	Tokens         float64 `json:"tokens"`
	TokensWithLoss float64 `json:"tokens_with_loss"`
	Seconds        float64 `json:"seconds"`
	Memory         float64 `json:"memory"`
}

// pointOf is the point of a step's line.
func pointOf(line []byte) (p point, ok bool) {
	var s stepLine
	if json.Unmarshal(line, &s) != nil || s.Step < 1 {
		return p, false
	}
	return point{
		s.Step, 1, s.Tokens, s.TokensWithLoss, s.Seconds, s.Loss, s.Loss, s.Loss, s.LR, s.GradNorm, s.GradNorm, s.Memory,
		s.Epoch,
	}, true
}
