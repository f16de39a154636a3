package quant

import "github.com/peftconv/peftconv/gguf"

// HasGrid says whether weights of type t have codes with scales: all types that HasLevels but the floats.
func HasGrid(t gguf.Type) bool { return HasLevels(t) && !isFloat(t) }

// Levels are the codes of a row of blocks. They can be changed one by one, where Recode changes a whole row at once.
// Scales and offsets stay the same.
type Levels struct {
	grid          *grid
	format        *format
	base          []byte
	level         []uint8   // of each weight
	scale, offset []float32 // of each group
}

// Load reads the codes of a row of blocks of a type that HasGrid. The row must not change before Store.
func (l *Levels) Load(t gguf.Type, row []byte) {
	if !HasGrid(t) {
		panic("quant: Levels of a type whose weights have no code of their own")
	}
	l.grid, l.format, l.base = gridOf(t), mustLookup(t), row
	l.level, l.scale, l.offset = l.level[:0], l.scale[:0], l.offset[:0]
	work := snapWorks.Get().(*snapWork)
	defer snapWorks.Put(work)
	groups := l.format.weights / l.grid.group
	for ; len(row) > 0; row = row[l.format.bytes:] {
		b := row[:l.format.bytes]
		l.grid.load(b, &work.have)
		l.grid.unpack(&work.level, b)
		l.level = append(l.level, work.level[:l.format.weights]...)
		l.scale = append(l.scale, work.have.scale[:groups]...)
		l.offset = append(l.offset, work.have.offset[:groups]...)
	}
}

// Move rounds aim to a code for weight i and returns the new weight. It rounds up when at most the fraction up of a
// step is missing (see Rounding.Dither). A weight whose scale is 0 stays.
func (l *Levels) Move(i int, aim, up float32) float32 {
	group := i / l.grid.group
	scale, offset := l.scale[group], l.offset[group]
	rank := l.grid.rank(l.level[i])
	if scale != 0 && scale-scale == 0 {
		if to := l.grid.nearest(rank, (aim-offset)/scale, up); to != rank {
			l.level[i] = l.grid.level(to)
			rank = to
		}
	}
	return float32(scale*l.grid.values[rank]) + offset
}

// Store writes the row with its current codes to dst.
func (l *Levels) Store(dst []byte) {
	if len(dst) != len(l.base) {
		panic("quant: Levels stored in more or fewer bytes than they were loaded from")
	}
	copy(dst, l.base)
	work := snapWorks.Get().(*snapWork)
	defer snapWorks.Put(work)
	for level := l.level; len(dst) > 0; dst = dst[l.format.bytes:] {
		copy(work.level[:], level[:l.format.weights])
		l.grid.pack(dst[:l.format.bytes], &work.level)
		level = level[l.format.weights:]
	}
}
