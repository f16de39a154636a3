package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/words"
)

const wordKey = "word" // the annotation of a flag that is another program's word for flags of ours

// isWord says whether a flag is another program's word, which help does not list.
func isWord(f *pflag.Flag) bool { return f.Annotations[wordKey] != nil }

// Given calls f for each flag of the verb itself that the command line or a configuration file set.
func Given(fs *pflag.FlagSet, f func(*pflag.Flag)) {
	fs.Visit(func(flag *pflag.Flag) {
		if !isWord(flag) {
			f(flag)
		}
	})
}

// wordValue is the value of a flag that stands for others.
type wordValue struct {
	fs   *pflag.FlagSet
	word *words.Word
	skip func(flag string) bool // flags that stay as they are; nil: none
	note *[]string              // what is to be said of words without effect
}

func (v *wordValue) String() string { return "" }
func (v *wordValue) Type() string {
	if v.word.Switch {
		return "bool"
	}
	return "value"
}

// errWord is a word that is refused.
type errWord struct{ text string }

func (e errWord) Error() string { return e.text }

// Set implements pflag.Value: it sets the flags that the word means.
func (v *wordValue) Set(value string) error {
	w := v.word
	if w.Switch && w.Convert == nil && (strings.EqualFold(value, "false") || value == "0") {
		return nil
	}
	switch {
	case w.Fine != "" && w.Fine == words.Normal(value):
		return nil
	case w.Instead != "":
		return errWord{w.Instead}
	case w.Note != "":
		*v.note = append(*v.note, fmt.Sprintf("--%s has no effect: %s", w.Name, w.Note))
		return nil
	}
	sets, err := w.Sets(value, func(name string) string { return v.fs.Lookup(name).Value.String() })
	if err != nil {
		return errWord{err.Error()}
	}
	for _, s := range sets {
		if v.skip != nil && v.skip(s.Flag) {
			continue
		}
		if err := v.fs.Set(s.Flag, s.Value); err != nil {
			return errWord{fmt.Sprintf("is --%s here: %v", s.Flag, cause(err))}
		}
	}
	return nil
}

// cause is what is wrong with a flag's value, without pflag's words around it.
func cause(err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) && errors.Unwrap(invalid) != nil {
		return errors.Unwrap(invalid)
	}
	return err
}

// choice is the value of a flag of ours some of whose values other programs call differently, or write in capitals and
// with underscores.
type choice struct {
	pflag.Value
	fs      *pflag.FlagSet
	words   []*words.Word
	choices []string // its own values, as far as they are known
}

// Set implements pflag.Value.
func (c *choice) Set(value string) error {
	for _, w := range c.words {
		if w.Value != words.Normal(value) {
			continue
		}
		if w.Instead != "" {
			return errWord{fmt.Sprintf("%s: %s", value, w.Instead)}
		}
		sets, err := w.Sets(value, nil)
		if err != nil {
			return err
		}
		for _, s := range sets {
			if s.Flag == w.Name {
				err = c.Value.Set(s.Value)
			} else {
				err = c.fs.Set(s.Flag, s.Value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	for _, own := range c.choices {
		if words.Normal(own) == words.Normal(value) {
			value = own
		}
	}
	return c.Value.Set(value)
}

// AddWords lets a verb's flags be called as other programs call them. What it has to say of words without effect goes
// to notes.
func AddWords(verb string, fs *pflag.FlagSet, notes *[]string) {
	fs.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(words.Normal(name))
	})
	known := words.For(verb)
	values := map[string][]*words.Word{}
	for _, w := range known {
		switch {
		case slices.ContainsFunc(w.Targets(), func(flag string) bool { return fs.Lookup(flag) == nil }):
		case w.Value != "":
			values[w.Name] = append(values[w.Name], w)
		case fs.Lookup(w.Name) == nil && (w.Means != nil || w.Verbs != nil):
			addWord(fs, w, notes)
		}
	}
	for name, list := range values {
		if f := fs.Lookup(name); f != nil {
			f.Value = &choice{f.Value, fs, list, ChoicesOf(f)}
		}
	}
}

func addWord(fs *pflag.FlagSet, w *words.Word, notes *[]string) {
	short := w.Short
	if short != "" && fs.ShorthandLookup(short) != nil {
		short = ""
	}
	f := fs.VarPF(&wordValue{fs: fs, word: w, note: notes}, w.Name, short, "`VALUE` of "+w.Here())
	f.Hidden = true
	if w.Switch {
		f.NoOptDefVal = "true"
	}
	annotate(f, wordKey, w.Name)
}

// joinSwitches joins words that need no value with the True or False that may follow them, as transformers' parser
// takes them.
func joinSwitches(fs *pflag.FlagSet, args []string) []string {
	var joined []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		name, isFlag := strings.CutPrefix(arg, "--")
		if f := fs.Lookup(name); isFlag && f != nil && isWord(f) && f.NoOptDefVal != "" && i+1 < len(args) {
			if next := words.Normal(args[i+1]); next == "true" || next == "false" {
				arg += "=" + next
				i++
			}
		}
		if arg == "--" {
			return append(joined, args[i:]...)
		}
		joined = append(joined, arg)
	}
	return joined
}

// checkWords refuses words beside flags that give them another meaning.
func checkWords(fs *pflag.FlagSet) (err error) {
	fs.Visit(func(f *pflag.Flag) {
		v, ok := f.Value.(*wordValue)
		if ok && err == nil && v.word.NotWith != "" && fs.Changed(v.word.NotWith) {
			err = Usagef("--%s: not beside --%s: %s", f.Name, v.word.NotWith, v.word.Why)
		}
	})
	return err
}
