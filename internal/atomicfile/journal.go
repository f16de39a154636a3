package atomicfile

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// journal is a change of names that is to happen whole. It is on the disk, in a temporary file, before the first name
// changes; should the process end in between, the next one finishes it.
type journal struct {
	dir     string   // of all names
	Renames []rename `json:"renames,omitempty"` // of files
	Replace string   `json:"replace,omitempty"` // the directory that the journal's own (dirOf) replaces
}

type rename struct {
	From string `json:"from"`
	To   string `json:"to"`
}

const (
	journalMagic = "peftconv commit 1\n"
	journalBytes = 16 << 20 // the most that a journal has
)

// step is called between any two changes of names; tests stop the process there.
var step = func() {}

// write puts the journal into a temporary file and flushes it.
func (j *journal) write(f *os.File) error {
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	if _, err := io.WriteString(f, journalMagic+hex.EncodeToString(sum[:])+"\n"+string(text)); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return syncDir(j.dir)
}

// readJournal is the complete journal in a file, or nil.
func readJournal(f *os.File, dir string) *journal {
	data, err := io.ReadAll(io.NewSectionReader(f, 0, journalBytes))
	text, ok := strings.CutPrefix(string(data), journalMagic)
	sum, text, found := strings.Cut(text, "\n")
	want := sha256.Sum256([]byte(text))
	if err != nil || !ok || !found || sum != hex.EncodeToString(want[:]) {
		return nil
	}
	j := &journal{dir: dir}
	if json.Unmarshal([]byte(text), j) != nil {
		return nil
	}
	return j
}

// replay makes the changes that have not been made. Own is the journal's temporary file.
func (j *journal) replay(own string) error {
	for _, r := range j.Renames {
		from := filepath.Join(j.dir, filepath.Base(r.From))
		if _, err := os.Lstat(from); err != nil {
			continue // done
		}
		step()
		if err := os.Rename(from, filepath.Join(j.dir, filepath.Base(r.To))); err != nil {
			return err
		}
	}
	if j.Replace != "" {
		if err := replaceDir(dirOf(own), filepath.Join(j.dir, filepath.Base(j.Replace)), oldOf(own)); err != nil {
			return err
		}
	}
	return syncDir(j.dir)
}

// replaceDir puts a directory in the place of another, which gets the name old. It can be called again after an
// interruption.
func replaceDir(dir, target, old string) error {
	if _, err := os.Lstat(dir); err != nil {
		return nil // done
	}
	step()
	if _, err := os.Lstat(target); err == nil {
		if err := os.Rename(target, old); err != nil {
			return err
		}
	}
	step()
	return os.Rename(dir, target)
}
