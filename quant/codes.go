package quant

import "github.com/peftconv/peftconv/gguf"

// HasIntegerCodes says whether weights of type t have codes with scales: all types that HasCodes but the floats.
func HasIntegerCodes(t gguf.Type) bool { return HasCodes(t) && !isFloat(t) }

// Codes are the codes of a row of blocks. They can be changed one by one, where SetCodes changes a whole row at once.
// Scales and offsets stay the same.
type Codes struct {
	layout        *layout
	format        *format
	base          []byte
	codes         []uint8   // of each weight
	scale, offset []float32 // of each group
}

// Load reads the codes of a row of blocks of a type that HasIntegerCodes. The row must not change before Store.
func (l *Codes) Load(t gguf.Type, row []byte) {
	if !HasIntegerCodes(t) {
		panic("quant: Codes of a type whose weights have no code of their own")
	}
	l.layout, l.format, l.base = layoutOf(t), mustLookup(t), row
	l.codes, l.scale, l.offset = l.codes[:0], l.scale[:0], l.offset[:0]
	work := blockWorks.Get().(*blockWork)
	defer blockWorks.Put(work)
	groups := l.format.weights / l.layout.group
	for ; len(row) > 0; row = row[l.format.bytes:] {
		b := row[:l.format.bytes]
		l.layout.load(b, &work.have)
		l.layout.unpack(&work.codes, b)
		l.codes = append(l.codes, work.codes[:l.format.weights]...)
		l.scale = append(l.scale, work.have.scale[:groups]...)
		l.offset = append(l.offset, work.have.offset[:groups]...)
	}
}

// Round rounds aim to a code for weight i and returns the new weight. It rounds up when at most the fraction up of a
// step is missing (see Rounding.Stochastic). A weight whose scale is 0 stays.
func (l *Codes) Round(i int, aim, up float32) float32 {
	group := i / l.layout.group
	scale, offset := l.scale[group], l.offset[group]
	rank := l.layout.rank(l.codes[i])
	if scale != 0 && scale-scale == 0 {
		if to := l.layout.nearest(rank, (aim-offset)/scale, up); to != rank {
			l.codes[i] = l.layout.code(to)
			rank = to
		}
	}
	return float32(scale*l.layout.values[rank]) + offset
}

// Store writes the row with its current codes to dst.
func (l *Codes) Store(dst []byte) {
	if len(dst) != len(l.base) {
		panic("quant: Codes stored in more or fewer bytes than they were loaded from")
	}
	copy(dst, l.base)
	work := blockWorks.Get().(*blockWork)
	defer blockWorks.Put(work)
	for codes := l.codes; len(dst) > 0; dst = dst[l.format.bytes:] {
		copy(work.codes[:], codes[:l.format.weights])
		l.layout.pack(dst[:l.format.bytes], &work.codes)
		codes = codes[l.format.weights:]
	}
}
