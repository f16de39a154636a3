package gguf

import (
	"encoding/binary"
	"io"
	"iter"
)

type ValueType uint32
type Value struct{ kind ValueType }

const (
	KindUint8 ValueType = iota
	KindInt8
	KindUint16
	KindInt16
	KindUint32
	KindInt32
	KindFloat32
	KindBool
	KindString
	KindArray
	KindUint64
	KindInt64
	KindFloat64
)

func ValueOf(v any) (Value, error) { return Value{}, nil }
func (v Value) Type() ValueType    { return v.kind }
func (v Value) Elem() ValueType    { return v.kind }
func (v Value) Len() int           { return 0 }
func (v Value) Any() any           { return nil }
func (v Value) String() string     { return "" }
func (v Value) Equal(o Value) bool { return false }
func (k ValueType) String() string { return "" }

type Metadata struct{}

func (m *Metadata) Len() int                            { return 0 }
func (m *Metadata) All() iter.Seq2[string, Value]       { return nil }
func (m *Metadata) Get(key string) (Value, bool)        { return Value{}, false }
func (m *Metadata) Set(key string, v any) error         { return nil }
func (m *Metadata) Delete(key string) bool              { return false }
func (m *Metadata) Clone() *Metadata                    { return nil }
func (m *Metadata) String(key string) (string, bool)    { return "", false }
func (m *Metadata) Uint(key string) (uint64, bool)      { return 0, false }
func (m *Metadata) Int(key string) (int64, bool)        { return 0, false }
func (m *Metadata) Float(key string) (float64, bool)    { return 0, false }
func (m *Metadata) Bool(key string) (bool, bool)        { return false, false }
func (m *Metadata) Strings(key string) ([]string, bool) { return nil, false }
func (m *Metadata) Ints(key string) ([]int64, bool)     { return nil, false }
func (m *Metadata) Floats(key string) ([]float32, bool) { return nil, false }
func (m *Metadata) Bools(key string) ([]bool, bool)     { return nil, false }

type Tensor struct {
	Name   string
	Shape  []int64
	Type   Type
	Offset uint64
	data   []byte
}

func (t *Tensor) Elements() int64 { return 0 }
func (t *Tensor) Size() int64     { return 0 }
func (t *Tensor) Cols() int64     { return 0 }
func (t *Tensor) Rows() int64     { return 0 }
func (t *Tensor) Bytes() []byte   { return t.data }

type File struct {
	Version    uint32
	Order      binary.ByteOrder
	Meta       *Metadata
	Tensors    []*Tensor
	Alignment  int64
	DataOffset int64
}

func Open(path string) (*File, error)      { return nil, nil }
func Parse(data []byte) (*File, error)     { return nil, nil }
func (f *File) Tensor(name string) *Tensor { return nil }
func (f *File) Close() error               { return nil }

type Writer struct{}

func NewWriter(w io.Writer, meta *Metadata, tensors []Tensor) (*Writer, error) { return nil, nil }
func (w *Writer) WriteTensor(name string, data []byte) error                   { return nil }
func (w *Writer) Begin(name string) error                                      { return nil }
func (w *Writer) Write(p []byte) (int, error)                                  { return 0, nil }
func (w *Writer) Close() error                                                 { return nil }

type FormatError struct {
	File  string
	Place string
	Off   int64
	Msg   string
	Val   any
}

func (e *FormatError) Error() string { return "" }
