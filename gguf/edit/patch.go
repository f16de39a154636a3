package edit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/infile"
)

// journal is a change of some bytes of a file, saved on the disk beside it while the file is written in place.
type journal struct {
	size int64 // of the file
	off  int64 // offset of the bytes
	old  []byte
	new  []byte // as many
}

const journalMagic = "peftconv edit journal 1\n"

// Pending says whether an edit of the file was interrupted.
func Pending(path string) bool { return gguf.EditPending(path) }

// patch writes a journal, then the change that it describes.
func patch(f *os.File, path string, j *journal) error {
	name := gguf.EditJournal(path)
	err := atomicfile.WriteBytes(name, j.encode())
	if err != nil {
		return err
	}
	if err := j.write(f, j.new); err != nil {
		if undo := j.write(f, j.old); undo != nil {
			return fmt.Errorf("%w; and writing back what was there failed: %w; both are in %s", err, undo, name)
		}
		return errors.Join(err, os.Remove(name))
	}
	return os.Remove(name)
}

// write writes one of the two versions to the disk.
func (j *journal) write(f *os.File, data []byte) error {
	if _, err := f.WriteAt(data, j.off); err != nil {
		return err
	}
	// Readers know the change by the file's time, which systems write with a grain of some milliseconds.
	_ = os.Chtimes(f.Name(), time.Time{}, time.Now())
	return f.Sync()
}

// Recover finishes an edit that was interrupted. Without one it does nothing and returns false; an edit that another
// process is making it leaves to that.
func Recover(path string) (bool, error) {
	name := gguf.EditJournal(path)
	if !Pending(path) {
		return false, nil
	}
	f, err := lock(context.Background(), path, os.O_RDWR)
	if err != nil {
		return false, err
	}
	defer f.Close()
	data, err := infile.Read(name, infile.Held)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	j, err := decodeJournal(data)
	if err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	if err := j.belongs(f); err != nil {
		return false, fmt.Errorf("%s: %w: delete it if the file is correct", name, err)
	}
	if err := j.write(f, j.new); err != nil {
		return false, err
	}
	return true, os.Remove(name)
}

// belongs checks that the file is the one that was being changed: each byte is the old or the new one.
func (j *journal) belongs(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != j.size {
		return fmt.Errorf("belongs to a file of %d bytes, %s has %d", j.size, f.Name(), info.Size())
	}
	now := make([]byte, len(j.old))
	if _, err := f.ReadAt(now, j.off); err != nil {
		return err
	}
	for i, b := range now {
		if b != j.old[i] && b != j.new[i] {
			return fmt.Errorf("belongs to another file than %s", f.Name())
		}
	}
	return nil
}

// encode is the journal as a file: magic, three numbers, both versions of the bytes, and the SHA-256 of all that.
func (j *journal) encode() []byte {
	b := []byte(journalMagic)
	for _, n := range []int64{j.size, j.off, int64(len(j.old))} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	b = append(append(b, j.old...), j.new...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

var errJournal = errors.New("is not a journal of an edit, or is damaged")

func decodeJournal(data []byte) (*journal, error) {
	const head = len(journalMagic) + 3*8
	if len(data) < head+sha256.Size || string(data[:len(journalMagic)]) != journalMagic {
		return nil, errJournal
	}
	body, sum := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
	if want := sha256.Sum256(body); !bytes.Equal(want[:], sum) {
		return nil, errJournal
	}
	number := func(i int) int64 {
		return int64(binary.LittleEndian.Uint64(body[len(journalMagic)+8*i:]))
	}
	j := &journal{size: number(0), off: number(1)}
	n := int64(len(body)-head) / 2
	if number(2) != n || int64(len(body)-head) != 2*n || j.off < 0 || j.off > j.size-n {
		return nil, errJournal
	}
	j.old, j.new = body[head:int64(head)+n], body[int64(head)+n:]
	return j, nil
}
