package convert

import (
	"encoding/binary"
	"math"
	"sync"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/quant"
)

// output is a tensor of the GGUF file.
type output struct {
	gguf.Tensor
	views  []view          // one below the other
	rows   int64           // of each view
	change func([]float32) // of the values; nil: none
	floats []float32       // the values, where they come from no tensor
	blocks *packedBlocks   // the blocks, where the source has some
}

// reader gives the data of outputs to package quantize.
type reader struct {
	outputs map[*gguf.Tensor]*output
	release func()
	memory  sync.Pool // of *memory
}

// memory is that of one Read.
type memory struct{ values, scratch []float32 }

// Release implements quantize.Reader.
func (r *reader) Release() { r.release() }

// Read implements quantize.Reader.
func (r *reader) Read(t *gguf.Tensor, from, to int64, buffer *[]byte) ([]byte, error) {
	out := r.outputs[t]
	size := t.Size() / t.Rows() // of a row
	first, n := from/size, (to-from)/size
	switch {
	case out.blocks != nil:
		return out.blocks.read(from, to, buffer), nil
	case out.floats != nil:
		*buffer = (*buffer)[:0]
		for _, x := range out.floats[from/4 : to/4] {
			*buffer = binary.LittleEndian.AppendUint32(*buffer, math.Float32bits(x))
		}
		return *buffer, nil
	}
	if src := out.bytes(first, n, size, buffer); src != nil {
		return src, nil
	}
	m, _ := r.memory.Get().(*memory)
	if m == nil {
		m = new(memory)
	}
	defer r.memory.Put(m)
	cols := t.Cols()
	m.values = resize(m.values, int(n*cols))
	for done := int64(0); done < n; {
		v, row := &out.views[(first+done)/out.rows], (first+done)%out.rows
		some := min(n-done, out.rows-row)
		if err := v.floats(m.values[done*cols:], row, some, cols, &m.scratch); err != nil {
			return nil, err
		}
		done += some
	}
	if out.change != nil {
		out.change(m.values)
	}
	*buffer = resize(*buffer, int(to-from))
	quant.Quantize(t.Type, *buffer, m.values, int(cols), nil)
	return *buffer, nil
}

// bytes are n rows as they lie in the source, nil where these are not the output's.
func (o *output) bytes(first, n, size int64, buffer *[]byte) []byte {
	v := &o.views[first/o.rows]
	row, cols := first%o.rows, o.Cols()
	t, ok := types[v.source.tensor.DType]
	if !ok || t != o.Type || o.change != nil || v.source.scale != nil || v.colStride != 1 || v.columns != nil ||
		row+n > o.rows {
		return nil
	}
	data, width := v.source.tensor.Bytes(), int64(t.BlockSize())
	if v.whole(cols) {
		at := (v.first + row*cols) * width
		return data[at : at+n*size]
	}
	*buffer = (*buffer)[:0]
	for i := range n {
		at := v.row(row+i) * width
		*buffer = append(*buffer, data[at:at+size]...)
	}
	return *buffer
}

// packedBlocks are blocks of MXFP4 of which codes and scales are two tensors. Row r of the output is row first +
// r·every of so many rows of each expert there.
type packedBlocks struct {
	codes, scales       []byte
	rowsOut, rowsIn     int64 // of an expert
	first, every, width int64 // width: blocks of a row
}

// read is bytes from to to of the output, whole rows.
func (p *packedBlocks) read(from, to int64, buffer *[]byte) []byte {
	*buffer = (*buffer)[:0]
	size := p.width * (1 + quant.MXCodes)
	for r := from / size; r < to/size; r++ {
		at := (r/p.rowsOut*p.rowsIn + r%p.rowsOut*p.every + p.first) * p.width
		*buffer = quant.AppendMXFP4(*buffer, p.scales[at:at+p.width], p.codes[at*quant.MXCodes:(at+p.width)*quant.MXCodes])
	}
	return *buffer
}
