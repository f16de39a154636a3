package shards

import (
	"context"
	"os"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/mapped"
)

// pieceBytes is how much is copied at a time.
const pieceBytes = 4 << 20

// copier copies tensors and keeps count.
type copier struct {
	ctx        context.Context
	done, size int64
	progress   Progress
}

// copy writes a tensor of an open file, and lets go of its pages as they have been written. The writer must write to a
// file without a buffer: the system then reads the map itself, and an error of the disk is an error of Write.
func (c *copier) copy(w *gguf.Writer, t *gguf.Tensor) error {
	if err := w.Begin(t.Name); err != nil {
		return err
	}
	data := t.Bytes()
	for start := 0; start < len(data); start += pieceBytes {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		end := min(start+pieceBytes, len(data))
		if _, err := w.Write(data[start:end]); err != nil {
			return err
		}
		mapped.Discard(data[max(0, start-2*os.Getpagesize()):end])
		c.done += int64(end - start)
		if c.progress != nil {
			c.progress(c.done, c.size, t.Name)
		}
	}
	return nil
}
