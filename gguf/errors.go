package gguf

import (
	"errors"
	"fmt"
	"strings"
)

// ErrFormat is what errors.Is finds in an error about bytes that break the rules of the format, and in one about files
// that do not belong together. What is well formed but not handled, a version, an older format, a type, is
// errors.ErrUnsupported instead. A file that is missing is fs.ErrNotExist.
var ErrFormat = errors.New("gguf: malformed file")

// A FormatError describes invalid bytes in a file.
type FormatError struct {
	File  string // path of the file; "" when its bytes came from memory
	Place string // what is at Off: `tensor "blk.0.attn_q.weight"`, `key "general.name"`, "header"
	Off   int64  // offset in bytes from the start of the file
	Msg   string // what was found and what was expected
	Val   any    // the value found, nil when there is none to show

	unsupported bool // well formed, but nothing that is read here
}

// Is says whether target is the error's kind: ErrFormat, or errors.ErrUnsupported of versions and formats that are not
// read.
func (e *FormatError) Is(target error) bool {
	if e.unsupported {
		return target == errors.ErrUnsupported
	}
	return target == ErrFormat
}

// Error is a sentence: gguf: FILE: PLACE at byte 0xOFF: MSG.
func (e *FormatError) Error() string {
	var b strings.Builder
	b.WriteString("gguf: ")
	if e.File != "" {
		b.WriteString(e.File + ": ")
	}
	fmt.Fprintf(&b, "%s at byte 0x%x: %s", e.Place, e.Off, e.Msg)
	return b.String()
}
