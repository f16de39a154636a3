package methods

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/peft"
)

// Variant is one of the --methods: a method with its defaults, or with other values of its flags.
type Variant struct {
	Text        string // as it was given: "lora:dora=true,rank=4"
	Method      Flags
	LR, LRRatio float64
	OfAll       bool // "all" stands for it: it is left out where a base does not allow it
}

// AllName stands for every method that a base allows, with its defaults.
const AllName = "all"

// Trainable are the names of the methods that train: all but the search for words.
func Trainable() (names []string) {
	for _, m := range All() {
		if m.adapter != nil {
			names = append(names, m.name)
		}
	}
	return names
}

// ParseVariants reads --methods, whose values were separated at commas: "lora:dora=true", "rank=4", "adapter". A value
// that was quoted holds commas of its own, which separate flags or, where no flag follows, the values of one.
func ParseVariants(values []string, classes func() *peft.Classes) ([]*Variant, error) {
	var texts []string
	all := map[string]bool{}
	for _, value := range values {
		name, _, _ := strings.Cut(value, ":")
		switch {
		case value == AllName:
			for _, name := range Trainable() {
				texts, all[name] = append(texts, name), true
			}
		case strings.Contains(name, "=") && len(texts) > 0 && strings.Contains(texts[len(texts)-1], ":"):
			texts[len(texts)-1] += "," + value
		default:
			texts = append(texts, value)
		}
	}
	var variants []*Variant
	for i, text := range texts {
		if slices.Contains(texts[:i], text) {
			return nil, fmt.Errorf("--methods: %s is given twice", text)
		}
		v, err := parseVariant(text, classes)
		if err != nil {
			return nil, fmt.Errorf("--methods: %s: %w", text, err)
		}
		v.OfAll = all[text]
		variants = append(variants, v)
	}
	if len(variants) == 0 {
		return nil, fmt.Errorf("--methods: none is given")
	}
	return variants, nil
}

// parseVariant reads NAME or NAME:FLAG=VALUE,… .
func parseVariant(text string, classes func() *peft.Classes) (*Variant, error) {
	v := &Variant{Text: text}
	fs := pflag.NewFlagSet(text, pflag.ContinueOnError)
	v.Method.Classes = classes
	v.Method.Add(fs)
	fs.Float64Var(&v.LR, "lr", 0, "")
	fs.Float64Var(&v.LRRatio, "lr-ratio", 0, "")
	var notes []string
	cli.AddWords("train", fs, &notes)
	name, flags, _ := strings.Cut(text, ":")
	if err := fs.Set("method", name); err != nil {
		return nil, err
	}
	if names := Trainable(); !slices.Contains(names, v.Method.method) {
		if near := cli.Nearest(name, names); near != "" {
			return nil, fmt.Errorf("there is no method %q to compare; did you mean %q?", name, near)
		}
		return nil, fmt.Errorf("there is no method %q to compare, expected %s", name, strings.Join(names, ", "))
	}
	if err := v.set(fs, flags); err != nil {
		return nil, err
	}
	switch {
	case !(v.LR >= 0) || !cli.IsFinite(v.LR):
		return nil, fmt.Errorf("lr: %v, expected more than 0, or 0 to have it chosen", v.LR)
	case !(v.LRRatio >= 0) || !cli.IsFinite(v.LRRatio):
		return nil, fmt.Errorf("lr-ratio: %v, expected 0 or more", v.LRRatio)
	}
	return v, v.Method.Validate()
}

// set gives the flags of "FLAG=VALUE,FLAG=VALUE" their values. A part without "=" is one more value of the flag before
// it, or else a flag that needs none.
func (v *Variant) set(fs *pflag.FlagSet, flags string) error {
	var names, values []string
	for part := range strings.SplitSeq(flags, ",") {
		name, value, has := strings.Cut(part, "=")
		switch flag := fs.Lookup(name); {
		case part == "":
		case !has && len(names) > 0 && flag == nil:
			values[len(values)-1] += "," + part
		case flag == nil, name == "method":
			return unknownFlag(fs, name)
		case !has && flag.NoOptDefVal == "":
			return fmt.Errorf("%s needs a value, as in %s=…", name, name)
		case !has:
			names, values = append(names, name), append(values, flag.NoOptDefVal)
		default:
			names, values = append(names, name), append(values, value)
		}
	}
	for i, name := range names {
		if err := fs.Set(name, values[i]); err != nil {
			return fmt.Errorf("%s: %q is no value of it", name, values[i])
		}
	}
	return nil
}

func unknownFlag(fs *pflag.FlagSet, name string) error {
	var names []string
	fs.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := cli.Nearest(name, names); near != "" {
		return fmt.Errorf("methods have no flag %q; did you mean %q?", name, near)
	}
	return fmt.Errorf("methods have no flag %q", name)
}
