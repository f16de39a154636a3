package gguf

import (
	"fmt"
	"strings"
)

// A FormatError describes invalid bytes in a file.
type FormatError struct {
	File  string // path of the file; "" when its bytes came from memory
	Place string // what is at Off: `tensor "blk.0.attn_q.weight"`, `key "general.name"`, "header"
	Off   int64  // offset in bytes from the start of the file
	Msg   string // what was found and what was expected
	Val   any    // the value found, nil when there is none to show
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
