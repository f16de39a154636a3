package quant

import (
	"sync"

	"github.com/peftconv/peftconv/kernels"
)

// Where there is assembly for it, the scales of an IQ2 or IQ3 group are tried side by side. The points near to codes
// that are not on the lattice are also compared side by side. The steps and their order are those of the plain search.

// pointTrials keeps the memory of searches.
var pointTrials = sync.Pool{New: func() any { return new(kernels.PointTrials) }}

// tryInLanes is try.
func (s *latticeSearch) tryInLanes(g *latticeGroup, p *kernels.PointTrials, scale, top float32) float32 {
	trials := 2*s.tries + 1
	for i := range trials {
		inverse := s.trial(i-s.tries, top)
		p.Inverse[i], p.Scale[i] = inverse, 1/inverse
	}
	var moved [8]uint32
	for j := range g.n / s.size {
		moved[j] = s.snapInLanes(g, p, j, trials)
	}
	p.Sums(s.size, trials, g.x[:g.n], g.w[:g.n])
	var best float32
	found := -1
	for i, qx := range p.QX[:trials] {
		if qq := p.QQ[i]; qq > 0 && qx*qx > best*qq {
			scale = qx / qq
			best = scale * qx
			found = i
		}
	}
	if found < 0 {
		return scale
	}
	for j := range g.n / s.size {
		s.take(g, p, j, found)
		g.moved[j] = moved[j]>>found&1 != 0
	}
	return scale
}

// snapInLanes is snap of point number j for several trials. Bit t says that the codes of trial t were not on the
// lattice.
func (s *latticeSearch) snapInLanes(g *latticeGroup, p *kernels.PointTrials, j, trials int) (moved uint32) {
	at := j * s.size
	return p.Snap(s.codes(), j, trials, g.x[at:][:s.size], g.root[at:][:s.size])
}

// take sets the codes of point number j to those of a trial.
func (s *latticeSearch) take(g *latticeGroup, p *kernels.PointTrials, j, trial int) {
	code := p.Codes[j][trial]
	codes := g.codes[j*s.size:][:s.size]
	for i := range codes {
		codes[i] = uint8(code & 15)
		code >>= 4
	}
}
