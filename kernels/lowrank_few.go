package kernels

import "github.com/peftconv/peftconv/internal/freelist"

// Maps of low rank of few rows. Both products are dot products of rows as they lie: nothing is packed but u.

// addRowDotsGeneric is
//
//	for j := range n { y[j] += dot(b[j*ld:][:k], u[:k]) }
func addRowDotsGeneric(n, k int, y, u, b []float32, ld int) {
	for j := range n {
		y[j] += dotGeneric(u[:k], b[j*ld:][:k])
	}
}

// fewLow is such a map at work.
type fewLow struct {
	LowRank
	x, y       []float32
	t          int       // rows of x and y
	rows, cols int       // of the map
	u          []float32 // (t, round16(Rank)) Scale·x·Aᵀ, with zeros behind

	downTask, upTask func(i int) // the methods, bound once
}

var fewLows freelist.List[fewLow]

const (
	downRanks = 4   // of a task of u
	upRows    = 512 // of a task of y
)

// set prepares a map of t rows.
func (l *fewLow) set(low LowRank, x, y []float32, t int) {
	l.LowRank, l.x, l.y, l.t = low, x, y, t
	l.rows, l.cols = len(low.B)/low.Rank, len(low.A)/low.Rank
	grow(&l.u, t*round16(low.Rank))
	clear(l.u)
}

// drop forgets what set was given.
func (l *fewLow) drop() { l.LowRank, l.x, l.y = LowRank{}, nil, nil }

// downs is the number of tasks of u.
func (l *fewLow) downs() int { return ceilDiv(l.Rank, downRanks) }

// down computes some ranks of u.
func (l *fewLow) down(task int) {
	ld := round16(l.Rank)
	for r := task * downRanks; r < min(l.Rank, (task+1)*downRanks); r++ {
		a := l.A[r*l.cols : (r+1)*l.cols]
		for i := range l.t {
			l.u[i*ld+r] = l.Scale * Dot(l.x[i*l.cols:(i+1)*l.cols], a)
		}
	}
}

// add adds u·Bᵀ to columns j0 to j1-1 of y.
func (l *fewLow) add(j0, j1 int) {
	ld := round16(l.Rank)
	for i := range l.t {
		u, y := l.u[i*ld:(i+1)*ld], l.y[i*l.rows:(i+1)*l.rows]
		j := j0
		// rows of B are read up to a whole vector: what follows them is multiplied with zeros
		n := min(j1-j0, max(0, (len(l.B)-ld)/l.Rank+1-j0)) &^ 15
		if n > 0 && addRowDots(n, ld, y[j0:], u, l.B[j0*l.Rank:], l.Rank) {
			j += n
		}
		for ; j+4 <= j1 && (j+3)*l.Rank+ld <= len(l.B); j += 4 {
			var sums [16]float32
			dots(ld, u, 0, l.B[j*l.Rank:], l.Rank, &sums)
			y[j] += sums[0]
			y[j+1] += sums[4]
			y[j+2] += sums[8]
			y[j+3] += sums[12]
		}
		for ; j < j1; j++ {
			addRowDotsGeneric(1, l.Rank, y[j:], u, l.B[j*l.Rank:], l.Rank)
		}
	}
}

// addFewLow is AddLowRank of few rows. u gets x·Aᵀ.
func addFewLow(y, x []float32, t int, low LowRank, u []float32) {
	l := fewLows.Get()
	if l.downTask == nil {
		l.downTask = l.down
		l.upTask = func(i int) { l.add(i*upRows, min(l.rows, (i+1)*upRows)) }
	}
	scale := low.Scale
	low.Scale = 1
	l.set(low, x, y, t)
	share(t*low.Rank*l.cols, l.downs(), l.downTask)
	ld := round16(low.Rank)
	for i := range t {
		row := l.u[i*ld : i*ld+low.Rank]
		copy(u[i*low.Rank:], row)
		Scale(scale, row)
	}
	share(4*t*low.Rank*l.rows, ceilDiv(l.rows, upRows), l.upTask)
	l.drop()
	fewLows.Put(l)
}
