package dist

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/peftconv/peftconv/internal/infile"
)

// pieceBytes is how much of a file is sent at once.
const pieceBytes = 16 << 20

// File has all ranks read a file that rank 0 has: the others get a copy. It gives the path of the file or of the copy,
// and a function that removes a copy.
func File(ctx context.Context, c Comm, path string) (_ string, remove func(), err error) {
	switch {
	case c.Size() == 1:
		return path, func() {}, nil
	case c.Rank() == 0:
		return path, func() {}, sendFile(ctx, c, path)
	}
	f, err := os.CreateTemp("", "peftconv-*.safetensors")
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	remove = func() { os.Remove(f.Name()) }
	if err := receiveFile(ctx, c, f); err != nil {
		remove()
		return "", nil, fmt.Errorf("the copy of %s on rank 0: %w", path, err)
	}
	return f.Name(), remove, nil
}

func sendFile(ctx context.Context, c Comm, path string) error {
	f, err := infile.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return pieces(ctx, c, info.Size(), func(piece []byte) error {
		_, err := io.ReadFull(f, piece)
		return err
	}, nil)
}

func receiveFile(ctx context.Context, c Comm, f *os.File) error {
	return pieces(ctx, c, 0, nil, func(piece []byte) error {
		_, err := f.Write(piece)
		return err
	})
}

// pieces broadcasts size bytes of rank 0. Where they are not nil, before is called with a piece before it is sent, and
// after when it is there.
func pieces(ctx context.Context, c Comm, size int64, before, after func(piece []byte) error) error {
	sizes := []int64{size}
	if err := c.Broadcast(AsBytes(sizes)).Wait(ctx); err != nil {
		return err
	}
	piece := make([]byte, min(pieceBytes, sizes[0]))
	for left := sizes[0]; left > 0; left -= int64(len(piece)) {
		piece = piece[:min(int64(len(piece)), left)]
		if before != nil {
			if err := before(piece); err != nil {
				return err
			}
		}
		if err := c.Broadcast(piece).Wait(ctx); err != nil {
			return err
		}
		if after != nil {
			if err := after(piece); err != nil {
				return err
			}
		}
	}
	return nil
}
