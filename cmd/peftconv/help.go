package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
)

// Annotations of flags that help and checkRequired read.
const (
	groupKey    = "group"
	requiredKey = "required"
)

const helpWidth = 110 // columns

// group adds flags under a heading of the help text.
func group(fs *pflag.FlagSet, heading string, add func()) {
	before := map[string]bool{}
	fs.VisitAll(func(f *pflag.Flag) { before[f.Name] = true })
	add()
	fs.VisitAll(func(f *pflag.Flag) {
		if !before[f.Name] {
			annotate(f, groupKey, heading)
		}
	})
}

// require marks required flags.
func require(fs *pflag.FlagSet, names ...string) {
	for _, name := range names {
		annotate(fs.Lookup(name), requiredKey, "true")
	}
}

func annotate(f *pflag.Flag, key, value string) {
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[key] = []string{value}
}

// checkRequired names the required flags that are missing.
func checkRequired(fs *pflag.FlagSet) error {
	var missing []string
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Annotations[requiredKey] != nil && !f.Changed {
			missing = append(missing, "--"+f.Name)
		}
	})
	switch len(missing) {
	case 0:
		return nil
	case 1:
		return usagef("missing required flag %s", missing[0])
	}
	return usagef("missing required flags %s", strings.Join(missing, ", "))
}

// help prints a verb's reference.
func (v *verb) help(w io.Writer) {
	fmt.Fprintf(w, "Usage:\n  %s\n\n%s\n", v.usageLine(), strings.TrimSpace(v.long))
	fs := v.flagSet(v.new())
	for _, heading := range headings(fs) {
		title := heading
		if title == "" {
			title = "Flags"
		}
		fmt.Fprintf(w, "\n%s:\n", title)
		printFlags(w, fs, heading)
	}
	if len(v.examples) > 0 {
		fmt.Fprint(w, "\nExamples:\n")
		for _, e := range v.examples {
			fmt.Fprintf(w, "  %s\n", e)
		}
	}
}

func (v *verb) usageLine() string {
	line := "peftconv " + v.name
	if v.args != "" {
		line += " " + v.args
	}
	v.flagSet(v.new()).VisitAll(func(f *pflag.Flag) {
		if f.Annotations[requiredKey] != nil {
			unit, _ := pflag.UnquoteUsage(f)
			line += fmt.Sprintf(" --%s %s", f.Name, unit)
		}
	})
	return line + " [flags]"
}

func headings(fs *pflag.FlagSet) []string {
	var all []string
	seen := map[string]bool{}
	fs.VisitAll(func(f *pflag.Flag) {
		if h := heading(f); !seen[h] {
			seen[h] = true
			all = append(all, h)
		}
	})
	return all
}

func heading(f *pflag.Flag) string {
	if h := f.Annotations[groupKey]; len(h) > 0 {
		return h[0]
	}
	return ""
}

// printFlags lists the flags under one heading, their texts aligned and wrapped.
func printFlags(w io.Writer, fs *pflag.FlagSet, under string) {
	const indent = 28
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || heading(f) != under {
			return
		}
		left, text := flagTexts(f)
		if len(left) > indent-2 {
			fmt.Fprintf(w, "%s\n%*s", left, indent, "")
		} else {
			fmt.Fprintf(w, "%-*s", indent, left)
		}
		fmt.Fprintln(w, strings.Join(wrap(text, helpWidth-indent), "\n"+strings.Repeat(" ", indent)))
	})
}

// flagTexts are the two columns of a flag's line: its name with its unit, and what it means with its default.
func flagTexts(f *pflag.Flag) (left, text string) {
	unit, text := pflag.UnquoteUsage(f)
	left = "      --" + f.Name
	if f.Shorthand != "" {
		left = "  -" + f.Shorthand + ", --" + f.Name
	}
	if unit != "" {
		left += " " + unit
	}
	switch {
	case f.Annotations[requiredKey] != nil:
		text += " (required)"
	case f.DefValue != "" && f.DefValue != "[]" && f.Value.Type() != "bool":
		text += " (default " + f.DefValue + ")"
	}
	return left, text
}

// wrap breaks a text into lines of at most width columns, at blanks.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}
