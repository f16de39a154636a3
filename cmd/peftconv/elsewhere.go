package main

import (
	"github.com/peftconv/peftconv/internal/cli/healing"
	"github.com/peftconv/peftconv/internal/cli/reporting"
)

func init() {
	register(&healing.Verb)
	register(&reporting.Verb)
}
