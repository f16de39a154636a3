// Package look is the style that the pages of the program have in common: colours for light and for dark, text, tables,
// boxes.
package look

import _ "embed"

// CSS is the style.
//
//go:embed look.css
var CSS string
