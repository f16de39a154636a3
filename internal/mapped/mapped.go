package mapped

import "os"

// File is a read-only map of a whole file.
type File struct{ data []byte }

// Open maps the file at path.
func Open(path string) (*File, error) {
	data, err := os.ReadFile(path)
	return &File{data}, err
}

// Bytes is the file's content; it must not be written to.
func (f *File) Bytes() []byte { return f.data }

// Close ends the map.
func (f *File) Close() error { return nil }
