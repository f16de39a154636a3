// Package files has the verbs that work on a model's file and compute nothing with the model: split, join, verify, diff.
package files

import "github.com/peftconv/peftconv/internal/cli"

// Verbs are the verbs of this package.
var Verbs = []*cli.Verb{&splitVerb, &joinVerb, &verifyVerb, &diffVerb}
