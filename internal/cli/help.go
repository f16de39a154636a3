package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// Annotations of flags that help and checkRequired read.
const (
	groupKey    = "group"
	requiredKey = "required"
	detailKey   = "detail"
	topicKey    = "topic"
	choiceKey   = "choice"
)

// HelpWidth is how many columns help takes at most, and where it is not printed on a terminal.
const HelpWidth = 110

// Topic is a part of a verb's flags that help shows alone: "--help lora".
type Topic struct{ Name, Text string }

// allTopics is the topic of --help that is everything.
const allTopics = "all"

// Group adds flags under a heading of the help text.
func Group(fs *pflag.FlagSet, heading string, add func()) {
	before := map[string]bool{}
	fs.VisitAll(func(f *pflag.Flag) { before[f.Name] = true })
	add()
	fs.VisitAll(func(f *pflag.Flag) {
		if !before[f.Name] {
			annotate(f, groupKey, heading)
		}
	})
}

// Require marks flags without which a verb cannot run.
func Require(fs *pflag.FlagSet, names ...string) {
	for _, name := range names {
		annotate(fs.Lookup(name), requiredKey, "true")
	}
}

// Detail marks flags that the short help leaves out.
func Detail(fs *pflag.FlagSet, names ...string) {
	for _, name := range names {
		annotate(fs.Lookup(name), detailKey, "true")
	}
}

// InTopics says in which topics of help a flag is shown.
func InTopics(f *pflag.Flag, topics ...string) { annotate(f, topicKey, topics...) }

// ChoicesOf are the values that a flag can have, as Choices said; nil: they are not known.
func ChoicesOf(f *pflag.Flag) []string { return f.Annotations[choiceKey] }

// Choices says which values a flag can have, for completion.
func Choices(fs *pflag.FlagSet, name string, values ...string) {
	annotate(fs.Lookup(name), choiceKey, values...)
}

func annotate(f *pflag.Flag, key string, values ...string) {
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[key] = values
}

// RequireUnless marks flags without which a verb cannot run where another one is not given.
func RequireUnless(fs *pflag.FlagSet, other string, names ...string) {
	for _, name := range names {
		annotate(fs.Lookup(name), requiredKey, "true", other)
	}
}

// checkRequired names the required flags that are missing.
func checkRequired(fs *pflag.FlagSet) error {
	var missing []string
	fs.VisitAll(func(f *pflag.Flag) {
		needed := f.Annotations[requiredKey]
		if needed != nil && !f.Changed && !(len(needed) > 1 && fs.Changed(needed[1])) {
			missing = append(missing, "--"+f.Name)
		}
	})
	switch len(missing) {
	case 0:
		return nil
	case 1:
		return Usagef("missing required flag %s", missing[0])
	}
	return Usagef("missing required flags %s", strings.Join(missing, ", "))
}

// help prints a verb's reference: what is needed most, everything (all), or the flags of a topic.
func (v *Verb) help(w io.Writer, topics []string) error {
	topic := ""
	if len(topics) > 0 {
		topic = topics[0]
	}
	i := slices.IndexFunc(v.Topics, func(t Topic) bool { return t.Name == topic })
	switch {
	case topic == "" || topic == allTopics || len(v.Topics) == 0:
		v.reference(w, helpWidth(w), topic == allTopics)
	case i >= 0:
		v.topic(w, helpWidth(w), v.Topics[i])
	default:
		names := []string{allTopics}
		for _, t := range v.Topics {
			names = append(names, t.Name)
		}
		if near := Nearest(topic, names); near != "" {
			return Usagef("--help: %q is not known; did you mean %q?", topic, near)
		}
		return Usagef("--help: %q is not known, expected %s", topic, strings.Join(names, ", "))
	}
	return nil
}

// helpWidth is the number of columns for a text on w.
func helpWidth(w io.Writer) int {
	if f := Terminal(w); f != nil {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return min(max(width-1, 40), HelpWidth)
		}
	}
	return HelpWidth
}

// reference prints what a verb does and its flags, all of them or without the details.
func (v *Verb) reference(w io.Writer, width int, all bool) {
	fs := v.FlagSet(v.New())
	detailed := v.detailed(fs)
	long := strings.TrimSpace(v.Long)
	if detailed && !all {
		long, _, _ = strings.Cut(long, "\n\n")
	}
	fmt.Fprintf(w, "Usage:\n  %s\n\n%s", v.UsageLine(), Reflow(long, width))
	for _, heading := range headings(fs) {
		title := heading
		if title == "" {
			title = "Flags"
		}
		printFlags(w, width, fs, title, func(f *pflag.Flag) bool {
			return headingOf(f) == heading && (all || f.Annotations[detailKey] == nil)
		})
	}
	if len(v.Examples) > 0 {
		fmt.Fprint(w, "\nExamples:\n")
		for _, e := range v.Examples {
			fmt.Fprintf(w, "  %s\n", e)
		}
	}
	if detailed && !all {
		fmt.Fprintf(w, "\n%s", Reflow(v.more(), width))
	}
}

// detailed says whether there is more to say than the short help does.
func (v *Verb) detailed(fs *pflag.FlagSet) (detailed bool) {
	fs.VisitAll(func(f *pflag.Flag) { detailed = detailed || f.Annotations[detailKey] != nil })
	return detailed
}

// more says how to see the rest.
func (v *Verb) more() string {
	text := fmt.Sprintf("\"peftconv %s --help all\" says the rest, with all flags", v.Name)
	if len(v.Topics) == 0 {
		return text + "."
	}
	names := make([]string, len(v.Topics))
	for i, t := range v.Topics {
		names[i] = t.Name
	}
	return text + fmt.Sprintf("; --help METHOD those of a method: %s.", strings.Join(names, ", "))
}

// topic prints the flags of a topic.
func (v *Verb) topic(w io.Writer, width int, t Topic) {
	fmt.Fprintf(w, "Usage:\n  %s\n\n%s", v.UsageLine(), Reflow(t.Name+": "+t.Text, width))
	fs := v.FlagSet(v.New())
	printFlags(w, width, fs, "Flags", func(f *pflag.Flag) bool { return slices.Contains(f.Annotations[topicKey], t.Name) })
	fmt.Fprintf(w, "\n%s", Reflow(fmt.Sprintf("\"peftconv %s --help\" lists the flags that do not depend on the method.",
		v.Name), width))
}

// UsageLine is the verb with its arguments and the flags that it needs.
func (v *Verb) UsageLine() string {
	line := "peftconv " + v.Name
	if v.Args != "" {
		line += " " + v.Args
	}
	v.FlagSet(v.New()).VisitAll(func(f *pflag.Flag) {
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
		if h := headingOf(f); !seen[h] {
			seen[h] = true
			all = append(all, h)
		}
	})
	return all
}

func headingOf(f *pflag.Flag) string {
	if h := f.Annotations[groupKey]; len(h) > 0 {
		return h[0]
	}
	return ""
}

// printFlags lists the flags that are chosen, under a title, their texts aligned and wrapped.
func printFlags(w io.Writer, width int, fs *pflag.FlagSet, title string, chosen func(*pflag.Flag) bool) {
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || !chosen(f) {
			return
		}
		if title != "" {
			fmt.Fprintf(w, "\n%s:\n", title)
			title = ""
		}
		left, text := FlagTexts(f)
		printAside(w, 28, width, left, text)
	})
}

// printAside prints a text in a column of its own beside its name, or below a name that is too long.
func printAside(w io.Writer, indent, width int, name, text string) {
	if len(name) > indent-2 {
		fmt.Fprintf(w, "%s\n%*s", name, indent, "")
	} else {
		fmt.Fprintf(w, "%-*s", indent, name)
	}
	fmt.Fprintln(w, strings.Join(Wrap(text, max(width-indent, 10)), "\n"+strings.Repeat(" ", indent)))
}

// FlagTexts are the two columns of a flag's line: its name with its unit, and what it means with its default.
func FlagTexts(f *pflag.Flag) (left, text string) {
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

// Wrap breaks a text into lines of at most width columns, at blanks.
func Wrap(text string, width int) []string {
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

// Reflow breaks paragraphs anew so that no line has more than width columns. Lines that are indented stay lines of
// their own. The text ends in a new line.
func Reflow(text string, width int) string {
	var out strings.Builder
	var paragraph []string
	flush := func() {
		if len(paragraph) > 0 {
			out.WriteString(strings.Join(Wrap(strings.Join(paragraph, " "), width), "\n") + "\n")
			paragraph = nil
		}
	}
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		line = strings.TrimRight(line, "\n")
		indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
		switch {
		case indent == "" && line != "":
			paragraph = append(paragraph, line)
			continue
		case len(line) > width:
			flush()
			line = indent + strings.Join(Wrap(line, width-len(indent)-2), "\n  "+indent)
		}
		flush()
		out.WriteString(line + "\n")
	}
	flush()
	return out.String()
}
