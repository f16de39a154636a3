package attach

import (
	"github.com/peftconv/peftconv/internal/model"
)

// Permutation names a tensor whose rows or columns a base has in another order than the Hugging Face checkpoint.
type Permutation struct {
	Param       int // index in Adapter.Tensors
	model.Order     // of the tensor
	// Experts: the columns are those of a matrix for each of so many experts, one of each in turn, and a base needs the
	// matrices one after the other. 0: there are none.
	Experts int
}

// ByRow is the permutations of tensors whose rows are those of a weight: none where these are in place.
func ByRow(l *model.Linear, params ...int) (perms []Permutation) {
	if l.Rows != nil {
		for _, at := range params {
			perms = append(perms, Permutation{Param: at, Order: model.Order{Rows: l.Rows}})
		}
	}
	return perms
}

// ByCol is the same of tensors whose columns are those of a weight.
func ByCol(l *model.Linear, params ...int) (perms []Permutation) {
	if l.Cols != nil {
		for _, at := range params {
			perms = append(perms, Permutation{Param: at, Order: model.Order{Cols: l.Cols}})
		}
	}
	return perms
}

// ToBase copies tensors from the order of the Hugging Face checkpoint to that of a base.
func ToBase(dst, src []Param, perms []Permutation) {
	for i := range src {
		copy(dst[i].Data, src[i].Data)
	}
	for _, p := range perms {
		if p.Experts > 0 {
			p.each(&src[p.Param], func(inHF, inBase int) { dst[p.Param].Data[inBase] = src[p.Param].Data[inHF] })
			continue
		}
		p.eachRow(&src[p.Param], func(inHF, inBase, cols int) {
			to, from := dst[p.Param].Row(inBase, cols), src[p.Param].Row(inHF, cols)
			if p.Cols == nil {
				copy(to, from)
			}
			for c, there := range p.Cols {
				to[there] = from[c]
			}
		})
	}
}

// ToHF is the inverse of ToBase. Both need dst and src in separate memory.
func ToHF(dst, src []Param, perms []Permutation) {
	for i := range src {
		copy(dst[i].Data, src[i].Data)
	}
	for _, p := range perms {
		if p.Experts > 0 {
			p.each(&src[p.Param], func(inHF, inBase int) { dst[p.Param].Data[inHF] = src[p.Param].Data[inBase] })
			continue
		}
		p.eachRow(&src[p.Param], func(inHF, inBase, cols int) {
			to, from := dst[p.Param].Row(inHF, cols), src[p.Param].Row(inBase, cols)
			if p.Cols == nil {
				copy(to, from)
			}
			for c, there := range p.Cols {
				to[c] = from[there]
			}
		})
	}
}

// eachRow calls move for each row of a tensor, with its places in both orders.
func (p *Permutation) eachRow(of *Param, move func(inHF, inBase, cols int)) {
	for r := range of.Rows() {
		there := r
		if p.Rows != nil {
			there = int(p.Rows[r])
		}
		move(r, there, of.Cols())
	}
}

// each calls move for each value of a tensor (rows, n·Experts), with its places there and among matrices (rows, n).
func (p *Permutation) each(of *Param, move func(inHF, inBase int)) {
	rows, n := of.Rows(), of.Cols()/p.Experts
	for r := range rows {
		there := r
		if p.Rows != nil {
			there = int(p.Rows[r])
		}
		for j := range n {
			for e := range p.Experts {
				move((r*n+j)*p.Experts+e, (e*rows+there)*n+j)
			}
		}
	}
}

// Row is row r of a tensor whose rows have cols values.
func (p *Param) Row(r, cols int) []float32 { return p.Data[r*cols : (r+1)*cols] }

// Indices are the numbers of an order as ints; nil of nil.
func Indices(order []int32) []int {
	if order == nil {
		return nil
	}
	list := make([]int, len(order))
	for i, v := range order {
		list[i] = int(v)
	}
	return list
}
