package arch

// Rows is the row in Hugging Face files of each row in a GGUF file, nil where they are the same, and where Columns
// brings columns into another order.
func (t *Tensor) Rows(s *Spec, layer int) []int32 {
	switch by := t.Transform.(type) {
	case PermuteHeads:
		return permutedRows(t.Shape[0].Of(s, layer), by.Heads.Of(s, layer))
	case SplitHeads:
		return moved(splitRows(s.At(max(layer, 0)), by.Groups))
	case PickQKVZ:
		return pickedRows(&s.At(max(layer, 0)).Delta, by.Gate)
	case TileHeads:
		if !by.Columns {
			return by.order(s, layer, t.Shape[0].Of(s, layer))
		}
	}
	return nil
}

// Columns is the same for columns.
func (t *Tensor) Columns(s *Spec, layer int) []int32 {
	if by, ok := t.Transform.(TileHeads); ok && by.Columns {
		return by.order(s, layer, t.Shape[1].Of(s, layer))
	}
	return nil
}

// moved is an order, nil where all is in place.
func moved(order []int32) []int32 {
	for at, from := range order {
		if int(from) != at {
			return order
		}
	}
	return nil
}

// permutedRows is the order of PermuteHeads.
func permutedRows(rows, heads int) []int32 {
	order, size := make([]int32, rows), rows/max(heads, 1)
	for r := range order {
		head, in := r/size, r%size
		order[r] = int32(head*size + in%2*(size/2) + in/2)
	}
	return order
}

// splitRows is the order of SplitHeads.
func splitRows(l *Layer, groups bool) []int32 {
	group := 1 // query heads that stand together
	if groups {
		group = l.QueryHeads / l.KeyHeads
	}
	size := l.HeadDim
	var order []int32
	add := func(head int) {
		for i := range size {
			order = append(order, int32(head*size+i))
		}
	}
	for h := range l.QueryHeads {
		add(h/group*(group+2) + h%group)
	}
	for kind := range 2 {
		for h := range l.QueryHeads / group {
			add(h*(group+2) + group + kind)
		}
	}
	return order
}

// order is the order of n rows or columns.
func (by *TileHeads) order(s *Spec, layer, n int) []int32 {
	d := &s.At(max(layer, 0)).Delta
	skip, each := by.Skip.Of(s, layer), by.Each.Of(s, layer)
	order := make([]int32, n)
	share := d.ValueHeads / d.KeyHeads
	for r := range order {
		order[r] = int32(r)
		if r < skip {
			continue
		}
		h, in := (r-skip)/each, (r-skip)%each
		order[r] = int32(skip + (h%d.KeyHeads*share+h/d.KeyHeads)*each + in)
	}
	return order
}

// pickedRows is the order of PickQKVZ: which rows of the fused projection a tensor has.
func pickedRows(d *Delta, gate bool) []int32 {
	share := d.ValueHeads / d.KeyHeads
	group := 2*d.KeyDim + 2*share*d.ValueDim // rows of a key head
	var order []int32
	add := func(from, n int) {
		for h := range d.KeyHeads {
			for i := range n {
				order = append(order, int32(h*group+from+i))
			}
		}
	}
	if gate {
		add(2*d.KeyDim+share*d.ValueDim, share*d.ValueDim)
		return order
	}
	add(0, d.KeyDim)
	add(d.KeyDim, d.KeyDim)
	add(2*d.KeyDim, share*d.ValueDim)
	return order
}

// Inverted is the inverse of a permutation; nil of nil.
func Inverted(order []int32) []int32 {
	if order == nil {
		return nil
	}
	inverse := make([]int32, len(order))
	for i, v := range order {
		inverse[v] = int32(i)
	}
	return inverse
}
