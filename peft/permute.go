package peft

// permutation names a tensor whose rows a base stores permuted.
type permutation struct {
	param int // place in Adapter.params
	heads int
}

// permutedRow is where a GGUF file of the llama family stores row r of a query or key projection. A rotation couples
// value i of the first half of a head with value i of the second; the file has the two in neighbouring rows.
func permutedRow(r, headDim int) int {
	head, in := r/headDim, r%headDim
	half, i := in/(headDim/2), in%(headDim/2)
	return head*headDim + 2*i + half
}

// toBase copies tensors from the order of the Hugging Face checkpoint to that of a base.
func toBase(dst, src []Param, perms []permutation) {
	for i := range src {
		copy(dst[i].Data, src[i].Data)
	}
	for _, p := range perms {
		d, s := &dst[p.param], &src[p.param]
		cols, headDim := s.Cols(), s.Rows()/p.heads
		for r := range s.Rows() {
			copy(d.row(permutedRow(r, headDim), cols), s.row(r, cols))
		}
	}
}

// toHF is the inverse of toBase. Both need dst and src in separate memory.
func toHF(dst, src []Param, perms []permutation) {
	for i := range src {
		copy(dst[i].Data, src[i].Data)
	}
	for _, p := range perms {
		d, s := &dst[p.param], &src[p.param]
		cols, headDim := s.Cols(), s.Rows()/p.heads
		for r := range s.Rows() {
			copy(d.row(r, cols), s.row(permutedRow(r, headDim), cols))
		}
	}
}

func (p *Param) row(r, cols int) []float32 { return p.Data[r*cols : (r+1)*cols] }
