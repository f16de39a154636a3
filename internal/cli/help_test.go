package cli

import (
	"context"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/pflag"
)

type helped struct{ rank, many int }

func (h *helped) Flags(fs *pflag.FlagSet) {
	fs.IntVar(&h.rank, "rank", 8, "`RANK` of the change of each weight, which is a number of one or more")
	fs.IntVar(&h.many, "many", 0, "a detail, `N`")
	Detail(fs, "many")
	InTopics(fs.Lookup("many"), "lora")
}
func (h *helped) Validate([]string) error            { return nil }
func (h *helped) Run(context.Context, Streams) error { return nil }

func TestHelp(t *testing.T) {
	v := Verb{Name: "probe", Long: "Probes something that takes a long sentence to say.\n\nThe rest.",
		Topics: []Topic{{"lora", "thin matrices"}}, New: func() Command { return new(helped) }}
	for _, width := range []int{50, 80, HelpWidth} {
		var short, all strings.Builder
		v.reference(&short, width, false)
		v.reference(&all, width, true)
		for line := range strings.Lines(short.String() + all.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("%d columns on a terminal of %d: %s", n, width, line)
			}
		}
		for part, inShort := range map[string]bool{"--rank RANK": true, "--many": false, "The rest.": false,
			"--help all": true} {
			if strings.Contains(short.String(), part) != inShort {
				t.Errorf("%q in the short help is %v, want %v:\n%s", part, !inShort, inShort, short.String())
			}
			if part != "--help all" && !strings.Contains(all.String(), part) {
				t.Errorf("no %q in the whole help:\n%s", part, all.String())
			}
		}
	}
	var topic strings.Builder
	if err := v.help(&topic, []string{"lora"}); err != nil || !strings.Contains(topic.String(), "--many") ||
		strings.Contains(topic.String(), "--rank") {
		t.Errorf("%v: %s", err, topic.String())
	}
	if err := v.help(&topic, []string{"lorra"}); err == nil || !strings.Contains(err.Error(), `"lora"`) {
		t.Errorf("an unknown topic: %v", err)
	}
}

func TestQuiet(t *testing.T) {
	var out strings.Builder
	w := &quietWriter{w: &out}
	for _, text := range []string{"progress\nwarn", "ing: x is", " y\nmore\n"} {
		if n, err := w.Write([]byte(text)); n != len(text) || err != nil {
			t.Fatal(n, err)
		}
	}
	if out.String() != "warning: x is y\n" {
		t.Errorf("got %q", out.String())
	}
}
