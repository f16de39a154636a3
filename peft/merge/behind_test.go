package merge

import (
	"bytes"
	"errors"
	"testing"
)

// TestBehind writes pieces of many sizes and compares the whole.
func TestBehind(t *testing.T) {
	var got, want bytes.Buffer
	b := newBehind(&got)
	for i := range 60 {
		p := bytes.Repeat([]byte{byte(i), byte(3 * i)}, i*i*40)
		want.Write(p)
		if n, err := b.Write(p); n != len(p) || err != nil {
			t.Fatalf("piece %d: %d of %d bytes, error %v", i, n, len(p), err)
		}
	}
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("%d bytes written, %d given, or other ones", got.Len(), want.Len())
	}
}

// failing is a writer that fails after some bytes.
type failing struct {
	left int
	err  error
}

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, f.err
	}
	return len(p), nil
}

// TestBehindFails wants the error of the writer, from Write before long and from Close in any case.
func TestBehindFails(t *testing.T) {
	full := errors.New("the disk is full")
	for _, size := range []int{0, behindBytes / 2, 5 * behindBytes} {
		b := newBehind(&failing{size, full})
		var err error
		for i := 0; err == nil && i < 40; i++ {
			_, err = b.Write(make([]byte, behindBytes/2))
		}
		if !errors.Is(err, full) {
			t.Errorf("after %d bytes: Write says %v", size, err)
		}
		if err := b.Close(); !errors.Is(err, full) {
			t.Errorf("after %d bytes: Close says %v", size, err)
		}
	}
	b := newBehind(&failing{0, full})
	if _, err := b.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); !errors.Is(err, full) {
		t.Errorf("Close of a little says %v", err)
	}
}
