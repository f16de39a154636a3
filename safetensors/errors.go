package safetensors

import (
	"errors"
	"fmt"
	"strings"
)

// ErrFormat is what errors.Is finds in an error about bytes that break the rules of the format, and in one about files
// that do not belong together. What is well formed but not handled is errors.ErrUnsupported; a file that is missing is
// fs.ErrNotExist.
var ErrFormat = errors.New("safetensors: malformed file")

// A FormatError says what is wrong with the bytes of a file.
type FormatError struct {
	File  string // path of the file; "" when its bytes came from memory
	Place string // what is at Off: `tensor "lm_head.weight"`, "header"
	Off   int64  // offset in bytes from the start of the file
	Msg   string // what was found and what was expected
	Val   any    // the value found, nil when there is none to show
}

// Error is a sentence: safetensors: FILE: PLACE at byte 0xOFF: MSG.
func (e *FormatError) Error() string {
	var b strings.Builder
	b.WriteString("safetensors: ")
	if e.File != "" {
		b.WriteString(e.File + ": ")
	}
	fmt.Fprintf(&b, "%s at byte 0x%x: %s", e.Place, e.Off, e.Msg)
	return b.String()
}

// Is says whether target is ErrFormat, the kind of all format errors.
func (e *FormatError) Is(target error) bool { return target == ErrFormat }

// named puts a file's path into a format error.
func named(err error, path string) error {
	var fe *FormatError
	if errors.As(err, &fe) {
		fe.File = path
	}
	return err
}
