// Package docs is the documentation of peftconv.
package docs

import (
	"embed"
	"io/fs"
)

//go:embed *.md
var files embed.FS

// Pages are the texts of all pages, in the order of their names.
func Pages() (pages []string) {
	names, err := fs.Glob(files, "*.md")
	if err != nil {
		panic(err) // a bad pattern
	}
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			panic(err) // of a file that was embedded
		}
		pages = append(pages, string(text))
	}
	return pages
}
