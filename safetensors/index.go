package safetensors

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/byname"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/infile"
)

// openIndex opens a model that is spread over several files.
func openIndex(path string) (*File, error) {
	if err := atomicfile.Settle(filepath.Dir(path)); err != nil { // shards that were perhaps not all renamed
		return nil, fmt.Errorf("safetensors: %s: %w", path, err)
	}
	where, err := readIndex(path)
	if err != nil {
		return nil, err
	}
	f := &File{Path: path, names: byname.New(len(where), nameOf), Shards: shards(where)}
	for _, shard := range f.Shards {
		if err := f.add(shard, where); err != nil {
			f.Close()
			return nil, err
		}
	}
	if err := f.complete(where); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// readIndex reads the weight map of the index at path.
func readIndex(path string) (map[string]string, error) {
	data, err := readLimited(path)
	if err != nil {
		return nil, err
	}
	where, err := parseIndex(data)
	return where, named(err, path)
}

// parseIndex is the weight map of an index: the file that holds each tensor.
func parseIndex(data []byte) (map[string]string, error) {
	var where map[string]string
	p := &scanner{text: data}
	err := p.object("index", func(key string) error {
		if key != "weight_map" {
			return p.skip("index") // "metadata" holds a total that many programs write wrongly
		}
		where = map[string]string{}
		return p.object(key, func(name string) (err error) {
			where[name], err = p.shard(name)
			return err
		})
	})
	if err == nil {
		err = p.end("index")
	}
	if err == nil && where == nil {
		err = p.wrong("index", nil, `"weight_map" is missing`)
	}
	return where, err
}

// shard reads the name of the file that holds a tensor.
func (s *scanner) shard(tensor string) (string, error) {
	name, err := s.string("weight_map")
	if err == nil && (name == "" || !filepath.IsLocal(name) || filepath.Base(name) != name) {
		err = s.wrong("weight_map", name, "tensor %q is in %q, expected the name of a file beside the index", tensor, name)
	}
	return name, err
}

// readLimited reads a JSON file that should not be large.
func readLimited(path string) ([]byte, error) {
	data, err := infile.Read(path, infile.Index)
	if err == nil && !utf8.Valid(data) {
		err = errkind.Errorf(ErrFormat, "%s: not valid UTF-8", path)
	}
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	return data, nil
}

// shards is the files of a weight map, each once, in order.
func shards(where map[string]string) []string {
	var names []string
	for _, shard := range where {
		names = append(names, shard)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// add adds the tensors of a shard. A tensor that the weight map places in another shard is skipped. One that it does
// not place at all is added, as other readers do.
func (f *File) add(shard string, where map[string]string) error {
	path := filepath.Join(filepath.Dir(f.Path), shard)
	one, err := openFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return errkind.Errorf(fs.ErrNotExist, "safetensors: %s: the file %s, which it names, is missing", f.Path, shard)
	}
	if err != nil {
		return err
	}
	f.maps = append(f.maps, one.maps...)
	if f.Metadata == nil {
		f.Metadata = one.Metadata
	}
	one.home.shard = shard
	for _, t := range one.Tensors {
		if home, ok := where[t.Name]; ok && home != shard {
			continue
		}
		if other := f.names.Add(t); other != nil {
			return errkind.Errorf(ErrFormat, "safetensors: %s: tensor %q is in %s and in %s, and the index does not say which",
				f.Path, t.Name, other.Shard(), shard)
		}
		f.Tensors = append(f.Tensors, t)
	}
	return nil
}

// complete checks that every tensor of the weight map has been found.
func (f *File) complete(where map[string]string) error {
	var missing []string
	for name := range where {
		if f.names.Find(name) == nil {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	name := slices.Min(missing)
	return errkind.Errorf(ErrFormat, "safetensors: %s: tensor %q is not in %s, where the index places it (%d such)",
		f.Path, name, where[name], len(missing))
}
