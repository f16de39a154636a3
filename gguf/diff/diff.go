package diff

import (
	"context"
	"slices"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/weights"
)

// Result is the differences of B from A.
type Result struct {
	A        string         `json:"a"` // paths
	B        string         `json:"b"`
	Metadata []ValueChange  `json:"metadata"` // in A's order, then what is only in B in its order
	Tensors  []TensorChange `json:"tensors"`  // likewise
	Equal    int            `json:"equal"`    // tensors of the same name, type, shape and bytes
	Together *Together      `json:"together"` // nil where no numbers were compared
	Quick    bool           `json:"quick"`    // data were not compared: Equal tensors may have other bytes
}

// Same says whether no difference was found.
func (r *Result) Same() bool { return len(r.Metadata) == 0 && len(r.Tensors) == 0 }

// ValueChange is a metadata value that is added, removed or changed.
type ValueChange struct {
	Key string      `json:"key"`
	Old *gguf.Value `json:"old"` // nil: added
	New *gguf.Value `json:"new"` // nil: removed
}

// TensorChange is a tensor that is added, removed or changed.
type TensorChange struct {
	Name string  `json:"name"`
	Old  *Layout `json:"old"`  // nil: added
	New  *Layout `json:"new"`  // nil: removed
	Diff *Norms  `json:"diff"` // nil where the numbers were not compared: different shapes, or an unknown type
}

// Together is the distance of all compared tensors, as if they were one.
type Together struct {
	Tensors  int      `json:"tensors"`
	Relative *float64 `json:"relative"` // as in Norms
	MaxAbs   float64  `json:"max_abs"`
	Cosine   *float64 `json:"cosine"`
}

// Layout is a tensor's type and shape.
type Layout struct {
	Type  string  `json:"type"`
	Shape []int64 `json:"shape"` // in the order of the file
}

// Options says how to compare.
type Options struct {
	Quick    bool                                  // types and shapes only
	Progress func(done, size int64, tensor string) // of bytes of A and B
}

// Metadata compares the metadata of two GGUF files. Space that an edit left in the header is no difference.
func Metadata(a, b *gguf.Metadata) []ValueChange { return values(weights.Values(a), weights.Values(b)) }

func values(a, b []weights.Value) []ValueChange {
	changes := []ValueChange{}
	inB := map[string]*gguf.Value{}
	for i := range b {
		inB[b[i].Key] = &b[i].Value
	}
	inA := map[string]bool{}
	inA[weights.PadKey] = true
	for i := range a {
		if a[i].Key == weights.PadKey {
			continue
		}
		inA[a[i].Key] = true
		if other := inB[a[i].Key]; other == nil || !other.Equal(a[i].Value) {
			changes = append(changes, ValueChange{a[i].Key, &a[i].Value, other})
		}
	}
	for i := range b {
		if !inA[b[i].Key] {
			changes = append(changes, ValueChange{b[i].Key, nil, &b[i].Value})
		}
	}
	return changes
}

// Files compares two models or adapters: each path is a .gguf file, alone or one of several, a .safetensors file, an
// index of such files, or a directory that holds either.
func Files(ctx context.Context, a, b string, opt Options) (_ *Result, err error) {
	defer mapped.Guard(&err)()
	x, err := weights.Open(a)
	if err != nil {
		return nil, err
	}
	defer x.Close()
	y, err := weights.Open(b)
	if err != nil {
		return nil, err
	}
	defer y.Close()
	return compareFiles(ctx, x, y, opt)
}

func compareFiles(ctx context.Context, a, b *weights.File, opt Options) (*Result, error) {
	r := &Result{A: a.Path, B: b.Path, Metadata: values(a.Metadata(), b.Metadata()), Tensors: []TensorChange{},
		Quick: opt.Quick}
	c := &comparison{ctx: ctx, progress: opt.Progress, size: commonSize(a, b), turned: a.Format != b.Format}
	for _, t := range a.Tensors() {
		other := b.Tensor(t.Name)
		if other == nil {
			r.Tensors = append(r.Tensors, TensorChange{Name: t.Name, Old: layout(t)})
			continue
		}
		change, err := c.tensor(t, other, opt.Quick)
		if err != nil {
			return nil, err
		}
		if change == nil {
			r.Equal++
		} else {
			r.Tensors = append(r.Tensors, *change)
		}
	}
	for _, t := range b.Tensors() {
		if a.Tensor(t.Name) == nil {
			r.Tensors = append(r.Tensors, TensorChange{Name: t.Name, New: layout(t)})
		}
	}
	if c.compared > 0 {
		r.Together = &Together{c.compared, c.all.relative(), c.all.max, c.all.cosine()}
	}
	return r, nil
}

// commonSize is the bytes of the tensors that are in both.
func commonSize(a, b *weights.File) int64 {
	n := int64(0)
	for _, t := range a.Tensors() {
		if other := b.Tensor(t.Name); other != nil {
			n += t.Size() + other.Size()
		}
	}
	return n
}

func layout(t *weights.Tensor) *Layout { return &Layout{t.Type, t.Shape} }

// comparison is the work on the tensors.
type comparison struct {
	ctx        context.Context
	turned     bool // the two formats have the dimensions in opposite orders
	all        sums // over all tensors whose numbers were compared
	compared   int
	done, size int64
	progress   func(done, size int64, tensor string)
}

// tensor compares two tensors of a name; nil when they are the same.
func (c *comparison) tensor(a, b *weights.Tensor, quick bool) (*TensorChange, error) {
	change := &TensorChange{Name: a.Name, Old: layout(a), New: layout(b)}
	alike := a.Type == b.Type && c.sameShape(a, b)
	switch {
	case quick && alike:
		return nil, nil
	case quick || !c.sameShape(a, b):
		return change, nil
	}
	if alike {
		equal, err := sameBytes(c.ctx, a, b)
		if err != nil || equal {
			c.count(a, b)
			return nil, err
		}
	}
	defer c.count(a, b)
	if !a.Readable() || !b.Readable() {
		return change, nil
	}
	s, err := compareNumbers(c.ctx, a, b)
	if err != nil {
		return nil, err
	}
	c.all.add(s)
	c.compared++
	change.Diff = s.norms(a.Elements(), a.Cols)
	return change, nil
}

// sameShape compares shapes, those of safetensors from the other end.
func (c *comparison) sameShape(a, b *weights.Tensor) bool {
	shape := b.Shape
	if c.turned {
		shape = slices.Clone(shape)
		slices.Reverse(shape)
	}
	return slices.Equal(a.Shape, shape)
}

func (c *comparison) count(a, b *weights.Tensor) {
	c.done += a.Size() + b.Size()
	if c.progress != nil {
		c.progress(c.done, c.size, a.Name)
	}
}
