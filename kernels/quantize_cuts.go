package kernels

import "math"

// CutLanes is the number of groups that Cuts takes.
const CutLanes = 8

// Cuts are groups of sorted weights, side by side, that are cut into three runs of one code each: -1, 0 and 1, raised
// or lowered by 1/8. It is available where GroupLanes is not 0.
type Cuts struct {
	// Σ w·x and Σ w of the first weights in order, in Apart of those among them that belong to a half: (half, number of
	// weights, group).
	X, W [2][maxGroup + 1][CutLanes]float32

	found [3][CutLanes]float32 // score, scale, cut
}

// A Cut is how a group is cut: weights up to First in order have the lowest code, those up to Second the middle one.
// Found is false if the error weights allow no cut.
type Cut struct {
	Found         bool
	First, Second int
	Low           [2]bool // whether the halves of the group are lowered
	Scale         float32
}

// Together finds the cuts of groups of n weights with the least error, where all weights of a group are raised or
// lowered. Of several equally good ones it takes the first, in the order of First, Second and Low.
func (c *Cuts) Together(n int) {
	c.begin()
	cutsTogether(n, c)
}

// Apart is Together where each half of a group is raised or lowered on its own.
func (c *Cuts) Apart(n int) {
	c.begin()
	cutsApart(n, c)
}

func (c *Cuts) begin() {
	for i := range CutLanes {
		c.found[0][i], c.found[2][i] = -math.MaxFloat32, math.Float32frombits(noCut)
	}
}

// noCut marks a group without a cut.
const noCut = 1 << 31

// Cut is the result for a group.
func (c *Cuts) Cut(group int) Cut {
	bits := math.Float32bits(c.found[2][group])
	if bits == noCut {
		return Cut{}
	}
	return Cut{true, int(bits >> 8 & 255), int(bits & 255), [2]bool{bits>>16&1 != 0, bits>>17&1 != 0}, c.found[1][group]}
}
