package weights

import (
	"context"
	"os"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/mapped"
)

// copyBytes is how much is copied at a time.
const copyBytes = 4 << 20

// Copier copies tensors from one GGUF file to another and keeps count.
type Copier struct {
	Size     int64                                 // bytes of all tensors that are to be copied
	Progress func(done, size int64, tensor string) // may be nil

	done int64
}

// Copy writes the data of a tensor of an open file as they are, and lets go of their pages as they have been written. The
// writer should write to a file without a buffer: then the system itself reads the map, and an error of the disk is an
// error of Write.
func (c *Copier) Copy(ctx context.Context, w *gguf.Writer, t *gguf.Tensor) error {
	if err := w.Begin(t.Name); err != nil {
		return err
	}
	data := t.Bytes()
	for start := 0; start < len(data); start += copyBytes {
		if err := ctx.Err(); err != nil {
			return err
		}
		end := min(start+copyBytes, len(data))
		if _, err := w.Write(data[start:end]); err != nil {
			return err
		}
		mapped.Discard(data[max(0, start-2*os.Getpagesize()):end])
		c.done += int64(end - start)
		if c.Progress != nil {
			c.Progress(c.done, c.Size, t.Name)
		}
	}
	return nil
}
