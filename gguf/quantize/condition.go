package quantize

// place is the position of a tensor in the model.
type place struct {
	*traits
	i, n  int  // its index among n: of the attention values, else of the layers
	stack bool // it is several matrices, one for each expert
}

// condition is a condition of a rule on a place.
type condition func(p *place) bool

func not(c condition) condition { return func(p *place) bool { return !c(p) } }

// The first and the last layers are more important than those between.

func firstEighth(p *place) bool    { return p.i < p.n/8 }
func firstSixteenth(p *place) bool { return p.i < p.n/16 }
func firstTwo(p *place) bool       { return p.i < 2 }
func firstFour(p *place) bool      { return p.i < 4 }
func middle(p *place) bool         { return p.i >= p.n/8 && p.i < 7*p.n/8 }

// moreBits holds for the first and the last eighth and for every third between.
func moreBits(p *place) bool {
	return p.i < p.n/8 || p.i >= 7*p.n/8 || (p.i-p.n/8)%3 == 2
}

// shared holds where four or more query heads share keys and values, so that these are small and important.
func shared(p *place) bool          { return p.sharing >= 4 }
func sharedOrExperts(p *place) bool { return p.sharing >= 4 || p.experts >= 4 }
func eightExperts(p *place) bool    { return p.experts == 8 }
func stacked(p *place) bool         { return p.stack }

func weighted(p *place) bool   { return p.imatrix }
func unweighted(p *place) bool { return !p.imatrix }

func falcon(p *place) bool     { return p.rules.OwnMixtures }
func notFalcon(p *place) bool  { return !p.rules.OwnMixtures }
func bailingMoE(p *place) bool { return p.rules.StacksOthers }

// holds says whether all conditions of a rule hold.
func (r *rule) holds(p *place) bool {
	for _, c := range r.when {
		if !c(p) {
			return false
		}
	}
	return true
}
