// Package calibration has a text to calibrate with where no other is given.
package calibration

import (
	"strings"

	"github.com/peftconv/peftconv/docs"
	"github.com/peftconv/peftconv/internal/demo/tale"
)

// tales is how many tales and talks the text has.
const tales = 600

// Text is tales, talks and tasks in plain English, and the documentation of this program, paragraphs in turn.
func Text() string {
	var b strings.Builder
	pages := docs.Pages()
	for i := range tales {
		b.WriteString(tale.Document(1, uint64(i), false))
		b.WriteString("\n\n")
		if n := len(pages); i < n*(tales/max(n, 1)) && i%(tales/n) == 0 {
			b.WriteString(pages[i/(tales/n)])
			b.WriteString("\n\n")
		}
	}
	return b.String()
}
