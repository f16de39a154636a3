package records

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Bounds of decompression. Texts become 3 to 20 times as long, records that repeat each other some hundred times.
const (
	maxWindow   = 128 << 20 // bytes that a zstd file may need in memory; its usual levels need 8 MiB
	freeBytes   = 64 << 20  // bytes that any file may become
	mostExpands = 1000      // times that a file may become as long, beyond that
)

// expanding is what a compressed file becomes. It ends with an error where that is out of all proportion: a few
// kilobytes can be made to fill a disk.
type expanding struct {
	from io.Reader
	in   *int64 // bytes of the compressed file so far
	out  int64
}

// Read implements io.Reader.
func (e *expanding) Read(p []byte) (int, error) {
	n, err := e.from.Read(p)
	e.out += int64(n)
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		err = fmt.Errorf("decompressing it takes more than %d MiB of memory (%w): unpack it yourself, and name the "+
			"unpacked file", maxWindow>>20, err)
	case e.out > freeBytes && e.out/mostExpands > *e.in:
		return 0, fmt.Errorf("%d compressed bytes became %d, more than %d times as many, which data do not: if it is "+
			"meant so, unpack it yourself, and name the unpacked file", *e.in, e.out, mostExpands)
	}
	return n, err
}

// counter counts what is read.
type counter struct {
	from io.Reader
	n    int64
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	return n, err
}
