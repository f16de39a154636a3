package healing

import (
	"strings"

	"github.com/peftconv/peftconv/docs"
	"github.com/peftconv/peftconv/internal/demo/tale"
)

// tales is how many tales and talks the text has.
const tales = 600

// ownText is a text to calibrate with where no other is given: tales, talks and tasks in plain English, and between
// them the pages of this program's documentation.
func ownText() string {
	var b strings.Builder
	pages := docs.Pages()
	each := tales / len(pages)
	for i := range tales {
		b.WriteString(tale.Document(1, uint64(i), false) + "\n\n")
		if i%each == each-1 && i/each < len(pages) {
			b.WriteString(pages[i/each] + "\n\n")
		}
	}
	return b.String()
}
