package merge

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/quant"
)

// mergeMap is the weight of a linear map that is written anew.
type mergeMap struct {
	linear      *model.Linear
	w           quant.Matrix // what the changes are added to: the base's, or what a quantization-aware adapter makes of it
	requantized bool         // w is not the base's
	to          gguf.Type
	changes     []attach.Change // none where only the type changes

	rounding   string    // how the change is rounded
	measured   bool      // that is chosen by what calibration data say
	seed       uint64    // of stochastic rounding
	importance []float32 // of the columns; nil: all alike
	ready      []byte    // the blocks of a measured one, until they are written
	readyStats mergeStats
}

// changed reports whether an adapter changes the weight.
func (c *mergeMap) changed() bool { return c.requantized || len(c.changes) > 0 }

// exact reports whether the weights that training saw are written as they are.
func (c *mergeMap) exact() bool { return c.requantized && len(c.changes) == 0 && c.to == c.w.Type }

// mergeTensor is a tensor of the file that changes: the weight of a linear map, or rows of several, of which some
// change.
type mergeTensor struct {
	w    quant.Matrix // all rows, as the base has them
	to   gguf.Type
	maps []*mergeMap // in the order of their rows; the rows between them stay
	// forms are those in which the file has the weights of maps; nil: as they are computed with
	forms map[*mergeMap]*fileForm
}

// collectTensors sorts the weights that change by the tensors of the file that they are in. Where these get another
// type, the weights beside them in their tensors are written anew, too.
func (m *merger) collectTensors() error {
	m.tensors = map[string]*mergeTensor{}
	for _, l := range m.base.Model.Matrices() {
		c := m.maps[l]
		if c == nil {
			continue
		}
		t := m.tensors[l.Tensor]
		if t == nil {
			t = &mergeTensor{to: c.to}
			m.tensors[l.Tensor] = t
		}
		if err := m.findRows(t, c); err != nil {
			return err
		}
		t.maps = append(t.maps, c)
	}
	for _, l := range m.base.Model.Matrices() {
		t := m.tensors[l.Tensor]
		if t == nil || t.to == t.w.Type || m.maps[l] != nil {
			continue
		}
		c, err := m.touch(l)
		if err == nil && t.forms != nil {
			err = m.findRows(t, c)
		}
		if err != nil {
			return err
		}
		t.maps = append(t.maps, c)
	}
	for name, t := range m.tensors {
		slices.SortFunc(t.maps, func(a, b *mergeMap) int { return cmp.Compare(a.linear.FirstRow, b.linear.FirstRow) })
		if rows := t.rows(); t.to != t.w.Type && rows != t.w.Rows {
			return fmt.Errorf("tensor %s has %d rows, of which %d are of no linear map: it cannot get the type %v", name,
				t.w.Rows, t.w.Rows-rows, t.to)
		}
	}
	return nil
}

// findRows finds the weight of a linear map in its tensor.
func (m *merger) findRows(t *mergeTensor, c *mergeMap) error {
	whole, err := m.wholeTensor(c.linear)
	if err == nil {
		err = holds(&whole, c.linear)
	}
	if err == nil {
		t.w = whole
		return nil
	}
	form, whole := m.formOf(c.linear)
	if form == nil || len(t.maps) > len(t.forms) {
		return err
	}
	if t.forms == nil {
		t.forms = map[*mergeMap]*fileForm{}
	}
	t.w, t.forms[c] = whole, form
	if m.opt.Type == "" {
		t.to, c.to = whole.Type, whole.Type
		c.rounding = m.roundingOf(c)
	}
	return nil
}

// wholeTensor is the tensor that the weight of a linear map is in, with all rows.
func (m *merger) wholeTensor(l *model.Linear) (quant.Matrix, error) {
	t, ok := m.base.Store.Tensor(l.Tensor)
	w := quant.Matrix{Type: l.W.Type, Cols: l.W.Cols, Data: t.Data}
	if size := w.RowSize(); ok && t.Type == l.W.Type && len(t.Data)%size == 0 {
		w.Rows = len(t.Data) / size
		return w, nil
	}
	return w, inAnotherForm(l)
}

// holds reports a linear map whose rows are not, as they are, some of a tensor.
func holds(w *quant.Matrix, l *model.Linear) error {
	size, end := w.RowSize(), l.FirstRow+l.W.Rows
	if end > w.Rows || l.W.Type != w.Type || l.W.Cols != w.Cols || &w.Data[l.FirstRow*size] != &l.W.Data[0] {
		return inAnotherForm(l)
	}
	return nil
}

// inAnotherForm is the error of a weight that cannot be written back.
func inAnotherForm(l *model.Linear) error {
	return fmt.Errorf("tensor %s has the weight of %s in another form than it is computed with: changing it there is %w; "+
		"convert the base to a GGUF file", l.Tensor, l.Module, model.ErrUnsupported)
}

// rows is the number of rows that are written anew.
func (t *mergeTensor) rows() (n int) {
	for _, c := range t.maps {
		n += c.linear.W.Rows
	}
	return n
}

// writeMerged writes a tensor that changes through write, some rows at a time.
func (m *merger) writeMerged(name string, t *mergeTensor, write func([]byte) error) error {
	r := Tensor{Name: name, Type: t.to.String(), BitExact: true}
	var roundings []string
	var all mergeStats
	next, size := 0, t.w.RowSize()
	var whole []byte // of a tensor that has weights in another form
	if t.forms != nil {
		whole = make([]byte, t.w.Rows*t.w.Cols*t.to.BlockSize())
		if t.to == t.w.Type {
			copy(whole, t.w.Data)
		}
	}
	for _, c := range t.maps {
		first := c.linear.FirstRow
		var made []byte
		out := write
		if whole != nil {
			out = func(p []byte) error {
				made = append(made, p...)
				return nil
			}
		} else if err := copied(t.w.Data[next*size:first*size], write); err != nil {
			return err
		}
		stats, err := m.writeMap(c, out)
		if err != nil {
			return err
		}
		if whole != nil {
			t.forms[c].put(whole, made, t.to.BlockSize())
		}
		next = first + c.linear.W.Rows
		if !c.changed() {
			continue
		}
		all.add(stats)
		if !c.exact() {
			r.BitExact = false
			if !slices.Contains(roundings, c.rounding) {
				roundings = append(roundings, c.rounding)
			}
		}
	}
	rest := whole
	if whole == nil {
		rest = t.w.Data[next*size:]
	}
	if err := copied(rest, write); err != nil {
		return err
	}
	r.Rounding = strings.Join(roundings, ", ")
	r.Recovery, r.Noise = all.recovery(), all.noise()
	r.Little = r.Recovery < littleRecovery && !slices.Contains(roundings, RoundDescent)
	m.total.add(all)
	m.report.BitExact = m.report.BitExact && r.BitExact
	m.report.Tensors = append(m.report.Tensors, r)
	return nil
}

// copied writes rows that stay.
func copied(rows []byte, write func([]byte) error) error {
	if len(rows) == 0 {
		return nil
	}
	return write(rows)
}

// writeMap writes the weight of a linear map.
func (m *merger) writeMap(c *mergeMap, write func([]byte) error) (stats mergeStats, err error) {
	place := c.linear.Place()
	if err := attach.CheckMatrix(place, c.w); err != nil {
		return stats, err
	}
	if c.measured {
		if err := m.prepare(c); err != nil {
			return stats, err
		}
	}
	if stats, err = c.merge(m.ctx, &m.room, write); err != nil {
		return stats, err
	}
	if !floats.Finite(stats.want) || !floats.Finite(stats.got) {
		return stats, fmt.Errorf("tensor %s: the adapter's change is not finite", place)
	}
	return stats, nil
}
