package split

import (
	"context"
	"fmt"
	"slices"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/weights"
)

// Joined is the result of Join.
type Joined struct {
	Output  string   `json:"output"`
	Shards  []string `json:"shards"` // the files that were joined
	Tensors int      `json:"tensors"`
	Bytes   int64    `json:"bytes"`               // of the output
	Ignored []string `json:"ignored,omitempty"`   // metadata keys of files after the first that are not in the output
	Extra   int64    `json:"extra_bytes_dropped"` // bytes at the ends of the files that nothing describes
}

// Join writes a model that is split over several files, and was opened from any of them, as one file. A model that was
// split by llama-gguf-split or by a Plan comes out as it was before.
func Join(ctx context.Context, f *gguf.File, out string, progress Progress) (_ *Joined, err error) {
	defer mapped.Guard(&err)()
	if f.Shards == nil {
		return nil, fmt.Errorf("%s: is a whole model, expected one of the files of a model that is split", f.Path)
	}
	for _, shard := range f.Shards {
		if sameFile(out, shard) {
			return nil, fmt.Errorf("%s is a file of the model that is joined: choose another name", out)
		}
	}
	ignored, err := ownMetadata(f)
	if err != nil {
		return nil, err
	}
	j := &Joined{Output: out, Shards: f.Shards, Tensors: len(f.Tensors), Ignored: ignored, Extra: f.Extra}
	file, err := atomicfile.Create(out)
	if err != nil {
		return nil, err
	}
	defer file.Abort()
	if err := j.write(ctx, f, file, progress); err != nil {
		return nil, fmt.Errorf("write %s: %w", out, err)
	}
	return j, file.Commit()
}

// write writes the one file.
func (j *Joined) write(ctx context.Context, f *gguf.File, file *atomicfile.File, progress Progress) error {
	meta := f.Meta.Clone()
	meta.RemoveSplit()
	c := &weights.Copier{From: f, Progress: progress}
	for _, t := range f.Tensors {
		c.Size += t.Size()
	}
	w, err := gguf.NewWriterLines(file, meta, f.Lines(), gguf.Format{Version: f.Version, Order: f.Order})
	if err != nil {
		return err
	}
	j.Bytes = w.Size()
	for _, t := range f.Tensors {
		if err := c.Copy(ctx, w, t); err != nil {
			return err
		}
	}
	return w.Close()
}

// ownMetadata lists the keys of files after the first whose values differ from the first or are missing there.
func ownMetadata(f *gguf.File) ([]string, error) {
	var keys []string
	for _, path := range f.Shards[1:] {
		shard, err := gguf.OpenShard(path)
		if err != nil {
			return nil, err
		}
		shard.Meta.RemoveSplit()
		for key, v := range shard.Meta.All() {
			same, ok := f.Meta.Get(key)
			if (!ok || !same.Equal(v)) && !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
		if err := shard.Close(); err != nil {
			return nil, err
		}
	}
	return keys, nil
}
