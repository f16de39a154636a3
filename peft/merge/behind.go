package merge

import "io"

// behind is a writer that copies what it is given into buffers, which another goroutine writes while the next are
// filled. Close it to have all written.
type behind struct {
	to     io.Writer
	buffer []byte       // that is being filled
	full   chan []byte  // to be written
	free   chan written // that were; closed when the goroutine has ended
	err    error        // the first one, as far as it is known here
}

// written is a buffer that has been written, or not: err is the first error so far.
type written struct {
	buffer []byte
	err    error
}

// Buffers of a behind.
const (
	behindBytes   = 1 << 20
	behindBuffers = 3
)

// newBehind is a behind over to, which nothing else may write to until Close.
func newBehind(to io.Writer) *behind {
	b := &behind{to: to, full: make(chan []byte, behindBuffers), free: make(chan written, behindBuffers),
		buffer: make([]byte, 0, behindBytes)}
	for range behindBuffers - 1 {
		b.free <- written{buffer: make([]byte, 0, behindBytes)}
	}
	go b.write(b.full)
	return b
}

// write writes full buffers. After an error it drops them.
func (b *behind) write(full <-chan []byte) {
	defer close(b.free)
	var err error
	for buffer := range full {
		if err == nil {
			_, err = b.to.Write(buffer)
		}
		b.free <- written{buffer[:0], err}
	}
}

// Write implements io.Writer. Errors of writing may come late, from a later Write or from Close.
func (b *behind) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if len(b.buffer) == cap(b.buffer) {
			b.full <- b.buffer
			next := <-b.free
			if b.buffer, b.err = next.buffer, next.err; b.err != nil {
				return len(p) - len(rest), b.err
			}
		}
		n := min(len(rest), cap(b.buffer)-len(b.buffer))
		b.buffer = append(b.buffer, rest[:n]...)
		rest = rest[n:]
	}
	return len(p), nil
}

// Close writes what is left and waits for the goroutine to end. A second Close does nothing.
func (b *behind) Close() error {
	if b.full == nil {
		return b.err
	}
	if b.err == nil {
		b.full <- b.buffer
	}
	close(b.full)
	b.full = nil
	for last := range b.free {
		if b.err == nil {
			b.err = last.err
		}
	}
	return b.err
}
