// Package words is the table of the words that users of other programs know: flags of mlx-lm, llama.cpp, PEFT and TRL,
// Axolotl and Unsloth, and keys of their configuration files, with what they are called here. Words that mean exactly
// the same are accepted, words that have no effect here are accepted and said to have none, and for all others there is
// a sentence with what to write instead. docs/coming-from.md is made from it.
package words

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Programs whose words the table has, as the documentation calls them.
const (
	MLX      = "mlx-lm"
	LlamaCpp = "llama.cpp"
	TRL      = "PEFT and TRL"
	Axolotl  = "Axolotl"
	Unsloth  = "Unsloth"
)

// Programs are all of them.
var Programs = []string{MLX, LlamaCpp, TRL, Axolotl, Unsloth}

// Word is a flag of another program, or one of its values.
type Word struct {
	Name  string   // with dashes: lora-r; keys of a section of a configuration file with a dot: lora-parameters.rank
	Value string   // not "": only this value of the flag is meant, which may be a flag of ours
	From  []string // the programs
	Verbs []string // of ours that know it; nil: all that have the flags of Means
	// Short is the letter that may stand for it, where the verb does not use it itself.
	Short string
	// Switch says that it needs no value; false is then no different from leaving it out, unless there is Convert.
	Switch bool
	// Means are the flags of ours that it sets, FLAG=VALUE; "{}" is the value that was given.
	Means []string
	// Convert makes the value for Means of the one that was given; nil: it is the same. flag tells values of other flags.
	Convert func(value string, flag func(name string) string) (string, error)
	// NotWith is a flag of ours beside which the word has another meaning, and why; "" for none.
	NotWith, Why string
	// Note says why a word is accepted and has no effect. Means is empty.
	Note string
	// Instead says what to write in place of a word that is refused. Means is empty.
	Instead string
	// Fine is a value of a refused word that asks for what is done here in any case.
	Fine string
	// Settles is a flag of ours that, where it is given beside a configuration file, takes the place of a refused key.
	Settles string
}

// Normal is a name as the table has it: in lower case, with dashes in place of underscores.
func Normal(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "-")) }

// For are the words of the table that a verb may know.
func For(verb string) []*Word {
	var all []*Word
	for i := range Table {
		if w := &Table[i]; w.Verbs == nil || slices.Contains(w.Verbs, verb) {
			all = append(all, w)
		}
	}
	return all
}

// Set is an assignment to a flag of ours.
type Set struct{ Flag, Value string }

// Sets are the flags that the word sets for a value. flag tells values of other flags.
func (w *Word) Sets(value string, flag func(name string) string) ([]Set, error) {
	if w.Convert != nil {
		var err error
		if value, err = w.Convert(value, flag); err != nil {
			return nil, err
		}
	}
	var sets []Set
	for _, means := range w.Means {
		name, to, _ := strings.Cut(means, "=")
		sets = append(sets, Set{name, strings.ReplaceAll(to, "{}", value)})
	}
	return sets, nil
}

// Targets are the flags of ours that it sets.
func (w *Word) Targets() []string {
	var names []string
	for _, means := range w.Means {
		name, _, _ := strings.Cut(means, "=")
		names = append(names, name)
	}
	return names
}

// Here is what the word is called here, as documentation and errors show it: "--rank N", "--layers last:N".
func (w *Word) Here() string {
	var parts []string
	for _, means := range w.Means {
		name, to, _ := strings.Cut(means, "=")
		switch to {
		case "true":
			parts = append(parts, "--"+name)
		case "{}":
			parts = append(parts, "--"+name)
		default:
			parts = append(parts, "--"+name+" "+strings.ReplaceAll(to, "{}", "N"))
		}
	}
	return strings.Join(parts, " ")
}

// lastLayers is the value of --layers for a number of layers from the end, -1 being all.
func lastLayers(value string, _ func(string) string) (string, error) {
	n, err := strconv.Atoi(value)
	switch {
	case err != nil || n < -1 || n == 0:
		return "", fmt.Errorf("%q, expected a number of layers, or -1 for all", value)
	case n == -1:
		return "all", nil
	}
	return fmt.Sprintf("last:%d", n), nil
}

// wholeEpochs takes 3.0 for 3.
func wholeEpochs(value string, _ func(string) string) (string, error) {
	x, err := strconv.ParseFloat(value, 64)
	if err != nil || x < 0 || x != math.Trunc(x) || x > 1e9 {
		return "", fmt.Errorf("%q, expected a whole number of epochs; --steps takes parts of one", value)
	}
	return strconv.Itoa(int(x)), nil
}

// share is a share of all, which --warmup tells from a number of steps by being below 1.
func share(value string, _ func(string) string) (string, error) {
	if x, err := strconv.ParseFloat(value, 64); err != nil || !(x >= 0 && x < 1) {
		return "", fmt.Errorf("%q, expected a share of all, below 1", value)
	}
	return value, nil
}

// either is yes for true and no for false.
func either(yes, no string) func(string, func(string) string) (string, error) {
	return func(value string, _ func(string) string) (string, error) {
		switch on, err := strconv.ParseBool(strings.ToLower(value)); {
		case err != nil:
			return "", fmt.Errorf("%q, expected true or false", value)
		case on:
			return yes, nil
		}
		return no, nil
	}
}

// stepsOrNone takes -1 for no limit, which is 0 here.
func stepsOrNone(value string, _ func(string) string) (string, error) {
	if value == "-1" {
		return "0", nil
	}
	return value, nil
}

// alphaOfScale makes alpha of a factor of the change itself: alpha is divided by the rank.
func alphaOfScale(value string, flag func(string) string) (string, error) {
	scale, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return "", fmt.Errorf("%q, expected a number", value)
	}
	rank, err := strconv.ParseFloat(flag("rank"), 64)
	if err != nil {
		return "", err
	}
	return strconv.FormatFloat(scale*rank, 'g', -1, 64), nil
}
