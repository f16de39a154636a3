package gguf

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strings"

	"github.com/peftconv/peftconv/internal/byname"
	"github.com/peftconv/peftconv/internal/errkind"
)

// splitSuffix is how the name of file no of count ends; no counts from 0 here, and from 1 in the name.
func splitSuffix(no, count int) string { return fmt.Sprintf("-%05d-of-%05d.gguf", no+1, count) }

// SplitPath is the path of file no, from 0, of count files that hold a model together: PREFIX-00001-of-00003.gguf.
func SplitPath(prefix string, no, count int) string { return prefix + splitSuffix(no, count) }

// split is the split metadata: the file is number no of count. A file that is not split is 0 of 1.
func (f *File) split() (no, count int, err error) {
	if _, ok := f.Meta.Get(keySplitCount); !ok {
		return 0, 1, nil
	}
	n, ok := f.Meta.Uint(keySplitCount)
	if !ok || n > math.MaxUint16 {
		return 0, 0, f.splitError(keySplitCount, "expected a number of files up to %d", math.MaxUint16)
	}
	if n <= 1 { // 0 is what a joined file has
		return 0, 1, nil
	}
	i, ok := f.Meta.Uint(keySplitNo)
	if !ok || i >= n {
		return 0, 0, f.splitError(keySplitNo, "expected a number below %d, the number of files", n)
	}
	return int(i), int(n), nil
}

// splitError is an error about a split key.
func (f *File) splitError(key, expected string, args ...any) error {
	found := "is missing"
	if v, ok := f.Meta.Get(key); ok {
		found = fmt.Sprintf("is %v", v)
	}
	return errkind.Errorf(ErrFormat, "gguf: %s: key %q %s, %s", f.Path, key, found, fmt.Sprintf(expected, args...))
}

// openSplit opens the files that belong together with f, which is number no of count, and makes one of them. It closes
// f when it fails.
func (f *File) openSplit(no, count int) (*File, error) {
	prefix, ok := strings.CutSuffix(f.Path, splitSuffix(no, count))
	if !ok {
		defer f.Close()
		return nil, errkind.Errorf(ErrFormat,
			"gguf: %s: is file %d of %d that belong together, expected a name that ends in %s",
			f.Path, no+1, count, splitSuffix(no, count))
	}
	shards := make([]*File, count)
	shards[no] = f
	err := openShards(shards, prefix)
	var whole *File
	if err == nil {
		whole, err = join(shards)
	}
	if err != nil {
		for _, s := range shards {
			if s != nil {
				s.Close()
			}
		}
		return nil, err
	}
	whole.Path = f.Path
	return whole, nil
}

// openShards opens those files that are not open, after it has made sure that all are there.
func openShards(shards []*File, prefix string) error {
	for no := range shards {
		path := SplitPath(prefix, no, len(shards))
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return errkind.Errorf(fs.ErrNotExist, "gguf: %s: is missing: file %d of the %d that hold the model together", path,
				no+1, len(shards))
		}
	}
	for no, s := range shards {
		if s != nil {
			continue
		}
		s, err := OpenShard(SplitPath(prefix, no, len(shards)))
		if err != nil {
			return err
		}
		shards[no] = s
		if i, n, err := s.split(); err != nil {
			return err
		} else if i != no || n != len(shards) {
			return errkind.Errorf(ErrFormat, "gguf: %s: says that it is file %d of %d, expected %d of %d", s.Path, i+1, n, no+1,
				len(shards))
		}
	}
	return nil
}

// join makes one file of several. The metadata are those of the first.
func join(shards []*File) (*File, error) {
	first := shards[0]
	tensors := 0
	for _, s := range shards {
		tensors += len(s.Tensors)
	}
	whole := &File{Version: first.Version, Order: first.Order, Meta: first.Meta, Alignment: first.Alignment,
		DataOffset: first.DataOffset, Tensors: make([]*Tensor, 0, tensors),
		names: byname.New(tensors, nameOf)}
	for _, s := range shards {
		s.home.shard = s.Path
		s.names = byname.Index[Tensor]{} // those of the whole take its place
		if s.Order != first.Order {
			return nil, errkind.Errorf(ErrFormat, "gguf: %s: is %v, and %s is %v", s.Path, s.Order, first.Path, first.Order)
		}
		for _, t := range s.Tensors {
			if twin := whole.names.Add(t); twin != nil {
				return nil, errkind.Errorf(ErrFormat, "gguf: %s: tensor %q is in %s too", s.Path, t.Name, twin.Shard())
			}
		}
		whole.Tensors = append(whole.Tensors, s.Tensors...)
		whole.Shards = append(whole.Shards, s.Path)
		whole.maps = append(whole.maps, s.maps...)
		whole.Extra += s.Extra
	}
	if n, ok := first.Meta.Uint(keySplitTensors); !ok || n != uint64(len(whole.Tensors)) {
		return nil, first.splitError(keySplitTensors, "expected %d, as many as the files hold", len(whole.Tensors))
	}
	return whole, nil
}

// RemoveSplit removes the split metadata, so that a joined model can be written without them.
func (m *Metadata) RemoveSplit() {
	for _, key := range []string{keySplitNo, keySplitCount, keySplitTensors} {
		m.Delete(key)
	}
}

// SplitMetadata is the metadata of file no, from 0, of count files for a model with this number of tensors. All of
// meta goes into the first file, the others have the split keys only. The keys are in the order of llama-gguf-split.
func SplitMetadata(meta *Metadata, no, count, tensors int) (*Metadata, error) {
	if no < 0 || no >= count || count > math.MaxUint16 || tensors > math.MaxInt32 {
		return nil, fmt.Errorf("gguf: %d tensors in file %d of %d, expected at most %d files and %d tensors", tensors, no,
			count, math.MaxUint16, math.MaxInt32)
	}
	out := &Metadata{}
	if no == 0 {
		out = meta.Clone()
		out.RemoveSplit()
	}
	for _, v := range []entry{
		{keySplitNo, Value{kind: KindUint16, bits: uint64(no)}},
		{keySplitTensors, Value{kind: KindInt32, bits: uint64(tensors)}},
		{keySplitCount, Value{kind: KindUint16, bits: uint64(count)}},
	} {
		out.put(v.key, v.value)
	}
	return out, nil
}

// Split divides tensors, in their order, among files: at most maxTensors a file, and at most maxBytes of padded data, 0
// meaning no limit. A tensor larger than maxBytes gets a file of its own.
func Split(tensors []Tensor, alignment int64, maxTensors int, maxBytes int64) [][]Tensor {
	sizes := func(i int) int64 { return tensors[i].Size() }
	var files [][]Tensor
	start := 0
	for _, n := range SplitSizes(len(tensors), sizes, alignment, maxTensors, maxBytes) {
		files = append(files, tensors[start:start+n:start+n])
		start += n
	}
	return files
}

// SplitSizes is [Split] for n tensors of which only the sizes are given: the number of tensors that each file gets.
func SplitSizes(n int, size func(i int) int64, alignment int64, maxTensors int, maxBytes int64) []int {
	var counts []int
	start, bytes := 0, int64(0)
	for i := range n {
		size := size(i)
		size += pad(size, alignment)
		full := maxTensors > 0 && i-start == maxTensors || maxBytes > 0 && bytes+size > maxBytes
		if full && i > start {
			counts = append(counts, i-start)
			start, bytes = i, 0
		}
		bytes += size
	}
	return append(counts, n-start)
}
