// Package files has the verbs that work on files of models and compute nothing with them: split, join, verify, diff.
package files

import "github.com/peftconv/peftconv/internal/cli"

// Verbs are the verbs of this package.
var Verbs = []*cli.Verb{&splitVerb, &joinVerb, &verifyVerb, &diffVerb}
