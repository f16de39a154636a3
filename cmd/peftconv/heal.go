package main

import "github.com/peftconv/peftconv/internal/cli/healing"

func init() { register(&healing.Verb) }
