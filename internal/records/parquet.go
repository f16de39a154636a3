package records

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// rowsAtOnce is how many rows of a Parquet file are read at a time.
const rowsAtOnce = 64

// rows reads the rows of a Parquet file, whose columns are the fields.
func (s *Source) rows(each func(*Record) error) (err error) {
	number := 0
	inCaller := false
	defer func() {
		// the library panics on some damaged files
		if p := recover(); p != nil {
			if inCaller {
				panic(p)
			}
			err = fmt.Errorf("%s: row %d: the file is damaged: %v", s.name, number+1, p)
		}
	}()
	file, size, err := s.seekable()
	if err != nil {
		return err
	}
	if err := checkFooter(file, size); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	p, err := parquet.OpenFile(file, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true),
		parquet.ReadBufferSize(1<<18))
	if err != nil {
		return fmt.Errorf("%s: not a Parquet file that can be read: %w", s.name, err)
	}
	if err := checkPages(p, file); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	top := newColumn(p.Root())
	buffer := make([]parquet.Row, rowsAtOnce)
	values := make([][]parquet.Value, top.count)
	for _, group := range p.RowGroups() {
		rows := group.Rows()
		for {
			n, err := rows.ReadRows(buffer)
			for _, row := range buffer[:n] {
				row.Range(func(column int, v []parquet.Value) bool {
					values[column] = v
					return true
				})
				number++
				object, err := top.object(values)
				if err != nil {
					rows.Close()
					return fmt.Errorf("%s: row %d: %w", s.name, number, err)
				}
				inCaller = true
				err = each(&Record{file: s.name, number: number, object: object})
				inCaller = false
				if err != nil {
					rows.Close()
					return err
				}
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				rows.Close()
				return fmt.Errorf("%s: row %d: %w", s.name, number+1, err)
			}
		}
		if err := rows.Close(); err != nil {
			return fmt.Errorf("%s: row %d: %w", s.name, number, err)
		}
	}
	return nil
}

// seekable is the file, or a temporary one with its decompressed bytes, or with those of standard input.
func (s *Source) seekable() (io.ReaderAt, int64, error) {
	if s.file != nil {
		info, err := s.file.Stat()
		if err != nil {
			return nil, 0, err
		}
		if info.Mode().IsRegular() {
			return &countedAt{s.file, s.read}, info.Size(), nil
		}
	}
	f, err := os.CreateTemp("", "peftconv-*.parquet")
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", s.name, err)
	}
	s.closers = append(s.closers, func() {
		f.Close()
		_ = os.Remove(f.Name())
	})
	s.limit.most = 0 // a row is not a piece of this stream
	n, err := io.Copy(f, s.data)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", s.name, err)
	}
	return f, n, nil
}

// countedAt tells how many bytes are read.
type countedAt struct {
	from io.ReaderAt
	read func(n int) error // may be nil
}

// ReadAt implements io.ReaderAt.
func (c *countedAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.from.ReadAt(p, off)
	if c.read != nil {
		if stop := c.read(n); stop != nil {
			return 0, stop
		}
	}
	return n, err
}

// checkFooter checks what the library takes on trust: that there is room for the footer.
func checkFooter(file io.ReaderAt, size int64) error {
	const most = 1 << 30
	tail := make([]byte, 8)
	if size < 12 {
		return fmt.Errorf("not a Parquet file: %d bytes", size)
	}
	if _, err := file.ReadAt(tail, size-8); err != nil {
		return err
	}
	if string(tail[4:]) != "PAR1" {
		return fmt.Errorf("not a Parquet file: it ends with %q, want \"PAR1\"; it may be cut off", tail[4:])
	}
	if n := int64(binary.LittleEndian.Uint32(tail)); n > min(size-12, most) {
		return fmt.Errorf("not a Parquet file: a footer of %d bytes in %d", n, size)
	}
	return nil
}

// column is a column of a file, or a group of them.
type column struct {
	name         string
	list, dict   bool // a group that stands for a list or for a map
	leaf         bool
	repeated     bool
	defined      int // the definition level of a value that is there
	repeats      int // the repetition level of its further elements
	first, count int // its leaves
	children     []*column
	unsigned     bool
}

func newColumn(c *parquet.Column) *column {
	out := &column{
		name: c.Name(), leaf: c.Leaf(), repeated: c.Repeated(), defined: c.MaxDefinitionLevel(),
		repeats: c.MaxRepetitionLevel(), first: -1,
	}
	if out.leaf {
		out.first, out.count = c.Index(), 1
	}
	if logical := c.Type().LogicalType(); logical != nil {
		switch t := logical.Value.(type) {
		case *format.ListType:
			out.list = true
		case *format.MapType:
			out.dict = true
		case *format.IntType:
			out.unsigned = !t.IsSigned
		}
	}
	for _, child := range c.Columns() {
		d := newColumn(child)
		if out.first < 0 {
			out.first = d.first
		}
		out.count += d.count
		out.children = append(out.children, d)
	}
	return out
}

// object is the fields of a group.
func (c *column) object(values [][]parquet.Value) (*Object, error) {
	object := &Object{make([]Field, 0, len(c.children))}
	for _, child := range c.children {
		value, err := child.field(values)
		if err != nil {
			return nil, err
		}
		object.set(child.name, value)
	}
	return object, nil
}

// field is the value of a column in a record or in a group. values are those of all leaves of the file.
func (c *column) field(values [][]parquet.Value) (any, error) {
	if c.repeated {
		return c.elements(values, c.value)
	}
	return c.value(values)
}

// there says whether a column, which may be repeated, has a value.
func (c *column) there(values [][]parquet.Value) bool {
	return c.count > 0 && len(values[c.first]) > 0 && values[c.first][0].DefinitionLevel() >= c.defined
}

// value is a single value of a column.
func (c *column) value(values [][]parquet.Value) (any, error) {
	switch {
	case !c.there(values):
		return nil, nil
	case c.leaf:
		return c.scalar(values[c.first][0])
	case (c.list || c.dict) && len(c.children) == 1 && c.children[0].repeated:
		inner := c.children[0]
		switch {
		case c.dict && len(inner.children) == 2:
			return c.pairs(values)
		case c.list && len(inner.children) == 1 && inner.name != "array" && inner.name != c.name+"_tuple":
			return inner.elements(values, inner.children[0].field)
		}
		return inner.field(values)
	}
	return c.object(values)
}

// elements are the values of a repeated column, each made by one.
func (c *column) elements(values [][]parquet.Value, one func([][]parquet.Value) (any, error)) (any, error) {
	list := []any{}
	if !c.there(values) {
		return list, nil
	}
	rest := make([][]parquet.Value, len(values))
	piece := make([][]parquet.Value, len(values))
	copy(rest, values)
	for len(rest[c.first]) > 0 {
		for leaf := c.first; leaf < c.first+c.count; leaf++ {
			n := min(1, len(rest[leaf]))
			for n < len(rest[leaf]) && rest[leaf][n].RepetitionLevel() > c.repeats {
				n++
			}
			piece[leaf], rest[leaf] = rest[leaf][:n], rest[leaf][n:]
		}
		value, err := one(piece)
		if err != nil {
			return nil, err
		}
		list = append(list, value)
	}
	return list, nil
}

// pairs is a map as an object.
func (c *column) pairs(values [][]parquet.Value) (any, error) {
	list, err := c.children[0].field(values)
	if err != nil {
		return nil, err
	}
	object := &Object{}
	for _, pair := range list.([]any) {
		fields := pair.(*Object).fields
		if len(fields) != 2 {
			return nil, fmt.Errorf("field %q: a map whose key and value have one name", c.name)
		}
		name, ok := fields[0].Value.(string)
		if !ok {
			return nil, fmt.Errorf("field %q: a key that is %s, want a string", c.name, Describe(fields[0].Value))
		}
		object.set(name, fields[1].Value)
	}
	return object, nil
}

// scalar is a value of a leaf.
func (c *column) scalar(v parquet.Value) (any, error) {
	switch v.Kind() {
	case parquet.Boolean:
		return v.Boolean(), nil
	case parquet.Int32:
		if c.unsigned {
			return json.Number(strconv.FormatUint(uint64(v.Uint32()), 10)), nil
		}
		return json.Number(strconv.FormatInt(int64(v.Int32()), 10)), nil
	case parquet.Int64:
		if c.unsigned {
			return json.Number(strconv.FormatUint(v.Uint64(), 10)), nil
		}
		return json.Number(strconv.FormatInt(v.Int64(), 10)), nil
	case parquet.Float:
		return number(float64(v.Float()), 32)
	case parquet.Double:
		return number(v.Double(), 64)
	case parquet.ByteArray, parquet.FixedLenByteArray:
		bytes := v.ByteArray()
		if at := invalidUTF8(bytes); at >= 0 {
			return nil, fmt.Errorf("field %q: byte %d of the value (%#02x) is not UTF-8", c.name, at+1, bytes[at])
		}
		return string(bytes), nil
	}
	return nil, fmt.Errorf("field %q: a value of the kind %v, want texts, numbers and truth values", c.name, v.Kind())
}

// errNotFinite is of numbers that JSON does not have.
var errNotFinite = errors.New("want a finite number")

func number(v float64, bits int) (any, error) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil, fmt.Errorf("%v: %w", v, errNotFinite)
	}
	return json.Number(strconv.FormatFloat(v, 'g', -1, bits)), nil
}
