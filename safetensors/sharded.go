package safetensors

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/peftconv/peftconv/internal/atomicfile"
)

// ShardedWriter writes a model over as many files as a size limit needs, and the index that names them. The files are
// temporary until Close gives them their names, the index last.
type ShardedWriter struct {
	path   string
	meta   map[string]string
	shards []*shard
	now    int // the shard that is being written
	ended  bool
}

// shard is one of the files.
type shard struct {
	path    string
	tensors []Tensor
	file    *atomicfile.File // nil until it is begun
	buf     *bufio.Writer
	w       *Writer
}

// NewShardedWriter begins a model at path, which ends in .safetensors. Tensors are divided among files in the given
// order, so that no file has more than limit bytes of data, except for a tensor that is larger alone; 0 means no
// limit. If one file is enough, it is written at path. Otherwise path, say model.safetensors, becomes
// model-00001-of-00003.safetensors and so on with model.safetensors.index.json, and a file at path itself is removed,
// because it would be taken for the model. The tensors' data follow in the order of Tensors.
//
//	w, err := safetensors.NewShardedWriter(path, meta, tensors, 5e9)
//	if err != nil {
//		return err
//	}
//	defer w.Abort() // does nothing once closed
//	for _, t := range w.Tensors() {
//		... w.WriteTensor(t.Name, data) ...
//	}
//	return w.Close()
func NewShardedWriter(path string, meta map[string]string, tensors []Tensor, limit int64) (*ShardedWriter, error) {
	if !strings.HasSuffix(path, fileSuffix) {
		return nil, fmt.Errorf("safetensors: %s: expected a name that ends in %s", path, fileSuffix)
	}
	if _, err := arrange(tensors); err != nil { // of all together: a name may not be in two files either
		return nil, err
	}
	w := &ShardedWriter{path: path, meta: meta}
	groups := divide(tensors, limit)
	for i, group := range groups {
		group, err := arrange(group)
		if err != nil {
			return nil, err
		}
		w.shards = append(w.shards, &shard{path: shardPath(path, i, len(groups)), tensors: group})
	}
	return w, w.shards[0].begin(meta)
}

// divide groups tensors, in their order, to at most limit bytes a group.
func divide(tensors []Tensor, limit int64) [][]Tensor {
	var groups [][]Tensor
	start, bytes := 0, int64(0)
	for i := range tensors {
		size := tensors[i].Size()
		if limit > 0 && size > limit-bytes && i > start {
			groups = append(groups, tensors[start:i])
			start, bytes = i, 0
		}
		bytes += size
	}
	return append(groups, tensors[start:])
}

// shardPath is the path of file i, from 0, of n: model.safetensors, or model-00001-of-00003.safetensors.
func shardPath(path string, i, n int) string {
	if n == 1 {
		return path
	}
	return fmt.Sprintf("%s-%05d-of-%05d%s", strings.TrimSuffix(path, fileSuffix), i+1, n, fileSuffix)
}

// begin creates the file and writes its header.
func (s *shard) begin(meta map[string]string) (err error) {
	if s.file, err = atomicfile.Create(s.path); err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	s.buf = bufio.NewWriterSize(s.file, 1<<20)
	s.w, err = NewWriter(s.buf, meta, s.tensors)
	return err
}

// end checks that the file is complete.
func (s *shard) end() error {
	if err := s.w.Close(); err != nil {
		return err
	}
	return s.buf.Flush()
}

// Tensors is the tensors in the order in which their data are to be written.
func (w *ShardedWriter) Tensors() []Tensor {
	var all []Tensor
	for _, s := range w.shards {
		all = append(all, s.tensors...)
	}
	return all
}

// Files is the paths of the files, without the index.
func (w *ShardedWriter) Files() []string {
	var paths []string
	for _, s := range w.shards {
		paths = append(paths, s.path)
	}
	return paths
}

// WriteTensor writes the data of the next tensor, which must be the one of that name.
func (w *ShardedWriter) WriteTensor(name string, data []byte) error {
	if err := w.advance(); err != nil {
		return err
	}
	return w.shards[w.now].w.WriteTensor(name, data)
}

// Begin begins the next tensor, which must be the one of that name. Write then writes its pieces.
func (w *ShardedWriter) Begin(name string) error {
	if err := w.advance(); err != nil {
		return err
	}
	return w.shards[w.now].w.Begin(name)
}

// Write implements io.Writer: it writes the next piece of the tensor that has been begun.
func (w *ShardedWriter) Write(p []byte) (int, error) {
	if w.ended {
		return 0, errEnded
	}
	return w.shards[w.now].w.Write(p)
}

var errEnded = errors.New("safetensors: the model is closed or aborted")

// advance goes on to the next file when this one is complete.
func (w *ShardedWriter) advance() error {
	if w.ended {
		return errEnded
	}
	s := w.shards[w.now]
	if w.now+1 == len(w.shards) || s.w.next < len(s.tensors) {
		return nil
	}
	if err := s.end(); err != nil {
		return err
	}
	w.now++
	return w.shards[w.now].begin(w.meta)
}

// Close checks that all tensors have been written whole and gives the files their names. If it fails, nothing is left.
func (w *ShardedWriter) Close() error {
	if w.ended {
		return errEnded
	}
	defer w.Abort()
	s := w.shards[w.now]
	if err := s.end(); err != nil {
		return err
	}
	if w.now+1 < len(w.shards) {
		next := w.shards[w.now+1].tensors[0].Name
		return fmt.Errorf("safetensors: tensor %q has not been written", next)
	}
	var files []*atomicfile.File
	for _, s := range w.shards {
		files = append(files, s.file)
	}
	if len(w.shards) > 1 {
		index, err := w.index()
		if err != nil {
			return fmt.Errorf("safetensors: %w", err)
		}
		files = append(files, index)
	}
	if err := atomicfile.CommitAll(files...); err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	if len(w.shards) == 1 {
		return nil
	}
	// A file of the whole model would be taken for it before the index.
	if err := os.Remove(w.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("safetensors: %w", err)
	}
	return nil
}

// Abort removes what has been written. After Close it does nothing.
func (w *ShardedWriter) Abort() {
	w.ended = true
	for _, s := range w.shards {
		if s.file != nil {
			s.file.Abort()
		}
	}
}

// index makes the index, which has not its name yet.
func (w *ShardedWriter) index() (*atomicfile.File, error) {
	f, err := atomicfile.Create(strings.TrimSuffix(w.path, fileSuffix) + indexSuffix)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(w.encodeIndex()); err != nil {
		f.Abort()
		return nil, err
	}
	return f, nil
}

// encodeIndex makes the index, with names in order.
func (w *ShardedWriter) encodeIndex() []byte {
	total, where := int64(0), map[string]string{}
	var names []string
	for _, s := range w.shards {
		for i := range s.tensors {
			t := &s.tensors[i]
			total += t.Size()
			where[t.Name] = filepath.Base(s.path)
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	b := []byte("{\n  \"metadata\": {\n    \"total_size\": ")
	b = strconv.AppendInt(b, total, 10)
	b = append(b, "\n  },\n  \"weight_map\": {"...)
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(append(b, "\n    "...), name), ": "...)
		b = appendString(b, where[name])
	}
	return append(b, "\n  }\n}\n"...)
}
