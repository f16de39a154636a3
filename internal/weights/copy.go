package weights

import (
	"context"

	"github.com/peftconv/peftconv/gguf"
)

// copyBytes is the number of bytes copied at a time.
const copyBytes = 4 << 20

// Copier copies tensors from one GGUF file to another and keeps count.
type Copier struct {
	From     *gguf.File
	Size     int64                                 // bytes of all tensors that are to be copied
	Progress func(done, size int64, tensor string) // may be nil

	done, released int64
}

// Copy writes the data of a tensor of From unchanged, and releases their pages once they are written. The writer
// should write to a file without a buffer: then the system itself reads the map, and a disk error is an error of
// Write.
func (c *Copier) Copy(ctx context.Context, w *gguf.Writer, t *gguf.Tensor) error {
	if err := w.Begin(t.Name); err != nil {
		return err
	}
	data := t.Bytes()
	for len(data) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(copyBytes, len(data))
		if _, err := w.Write(data[:n]); err != nil {
			return err
		}
		data = data[n:]
		c.copied(int64(n), t.Name)
	}
	return nil
}

func (c *Copier) copied(n int64, tensor string) {
	c.done += n
	if c.done-c.released >= keptBytes {
		c.From.Release()
		c.released = c.done
	}
	if c.Progress != nil {
		c.Progress(c.done, c.Size, tensor)
	}
}
