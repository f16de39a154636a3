package kernels

// maxTrials is the most scales that are tried for a group.
const maxTrials = 32

// A Lattice is the points that the codes of Size weights can form: eight codes of three values or four of eight. A
// packed point has four bits per code, the first lowest.
type Lattice struct {
	Size, Radix int

	// Near[n], for codes that spell the number n, the first digit lowest, is 0 where they are a point. Else it is the
	// index in Lists of a count (of runs of eight) that is followed by the packed points near to them. The list is
	// filled up with its first packed point to a multiple of sixteen.
	Near, Lists []uint32
	// Short is Lists with counts of points, and with points of 16 bits: two or four of them per code.
	Short []uint16

	// Place[n] is, where they are a point, its index. Else it is -1-i, and its neighbours are at Places[i]: their count,
	// then their indexes. Points is what AddPoint made, a point after the other.
	Place  []int32
	Places []uint16
	Points []uint32
}

// AddPoint adds a packed point to Points: the offsets in bytes of the rows of errors that its error is the sum of, 16
// bits each, and itself. Of three levels, the first row stands for three weights.
func (l *Lattice) AddPoint(code uint32) {
	var terms [6]uint32
	level := func(i int) uint32 { return code >> (4 * i) & 15 }
	if l.Radix == 3 {
		terms[0] = level(0) + 3*level(1) + 9*level(2)
		for i := 3; i < l.Size; i++ {
			terms[i-2] = 27 + 3*uint32(i-3) + level(i)
		}
	} else {
		for i := range l.Size {
			terms[i] = uint32(l.Radix*i) + level(i)
		}
	}
	const bytes = 4 * maxTrials
	for i := 0; i < len(terms); i += 2 {
		l.Points = append(l.Points, bytes*(terms[i]|terms[i+1]<<16))
	}
	l.Points = append(l.Points, code)
}

// PointTrials searches the points of a group of weights for several scales at once. It is available where GroupLanes
// is not 0.
type PointTrials struct {
	Inverse, Scale [maxTrials]float32   // the scales to try; the other ones are inverse
	Codes          [8][maxTrials]uint32 // of each point, what was found with each scale
	QX, QQ         [maxTrials]float32   // Σ w·q·x and Σ w·q² of what was found, q = 2·level+1

	errors [errorRows*maxTrials + 16]float32 // memory of the assembly: errors of levels, a row each
	_      [18*16 + 2*256 + 144]float32      // and what follows them
	// memory of the assembly: errors of near points, the nearest of them, and the runs of scales
	near [3*maxNear + 16 + 4*maxTrials]float32
}

// maxNear is the most points of a lattice.
const maxNear = 1024

// errorRows is the most rows of errors of a point: 27 and 5·3, or 4·8.
const errorRows = 42

// Snap finds point number i, whose weights are x, for the first scales: the nearest codes if they are a point, else
// the first of the near points with the least Σ w·(scale·q - x)². Bit t of moved says that the nearest codes were no
// point for scale t.
func (p *PointTrials) Snap(l *Lattice, i, trials int, x, w []float32) (moved uint32) {
	if len(x) != l.Size || len(w) != l.Size || trials <= 0 || trials > maxTrials {
		panic("kernels: Snap of a part of a point or with too many trials")
	}
	return snapPoint(p, l, i, trials, x, w)
}

// Sums computes the sums over the weights x, a number of whole points of the given size, for the first scales.
func (p *PointTrials) Sums(size, trials int, x, w []float32) {
	if size%4 != 0 || len(x)%size != 0 || len(w) != len(x) || len(x)/size > len(p.Codes) || trials > maxTrials {
		panic("kernels: Sums of parts of points")
	}
	pointSums(p, size, trials, x, w)
}

// NearestPoint is the position in a list of [Lattice] of the first packed point with the least Σ w·(scale·value[code]
// - x)² over eight weights. It is available where GroupLanes is not 0.
func NearestPoint(list []uint32, value *[16]float32, x, w []float32, scale float32) int {
	if len(x) != 8 || len(w) != 8 || len(list) < 1+16 {
		panic("kernels: NearestPoint of other than eight weights")
	}
	return nearestPoint(list, value, x, w, scale)
}
