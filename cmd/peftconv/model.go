package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft"
)

// modelFlags are the flags of the verbs that run a model, with adapters or without.
type modelFlags struct {
	base    string
	loras   []string
	latent  string
	threads int

	adapters []adapterFlag // loras, parsed
}

// adapterFlag is one value of --lora.
type adapterFlag struct {
	path  string
	scale float64
}

const (
	baseHelp = "the model: " + cli.ModelNames
	loraHelp = "an adapter `FILE[:SCALE]`: out.safetensors, a PEFT directory or a LoRA in GGUF, " +
		"its effect multiplied by SCALE where one is given; may be repeated"
)

func (m *modelFlags) addBase(fs *pflag.FlagSet, text string) {
	fs.StringVarP(&m.base, "base", "b", "", text)
	cli.Models(fs, "base")
}

func (m *modelFlags) addLora(fs *pflag.FlagSet) {
	fs.StringArrayVar(&m.loras, "lora", nil, loraHelp)
	m.addLatent(fs)
}

func (m *modelFlags) addLatent(fs *pflag.FlagSet) {
	fs.StringVar(&m.latent, "latent", "",
		"for an adapter that was trained with --latent: its master weights, "+
			"a `FILE`, a directory or a name (default: the path used in training)")
	cli.Models(fs, "latent")
}

func (m *modelFlags) addThreads(fs *pflag.FlagSet) {
	fs.IntVarP(&m.threads, "threads", "t", 0,
		"`N` threads to compute with; 0 is one for each processor; the results are the same for any N")
}

// check parses --lora and checks the values.
func (m *modelFlags) check() error {
	if m.threads < 0 || m.threads > 1024 {
		return fmt.Errorf("--threads: %d, expected 0 to 1024", m.threads)
	}
	m.adapters = nil
	for _, value := range m.loras {
		a, err := parseLora(value)
		if err != nil {
			return err
		}
		m.adapters = append(m.adapters, a)
	}
	if m.base == "" && len(m.adapters) == 0 {
		return errors.New("missing required flag --base (or --lora, whose file says what its base is)")
	}
	return nil
}

// parseLora reads FILE or FILE:SCALE. A colon that no number follows belongs to the file's name, and so does any colon
// where there is a file of the whole name.
func parseLora(value string) (adapterFlag, error) {
	if value == "" {
		return adapterFlag{}, errors.New("--lora: empty file name")
	}
	i := strings.LastIndexByte(value, ':')
	if i <= 0 || cli.Exists(value) {
		return adapterFlag{value, 1}, nil
	}
	scale, err := strconv.ParseFloat(value[i+1:], 64)
	if err != nil {
		return adapterFlag{value, 1}, nil
	}
	if math.IsNaN(scale) || math.IsInf(scale, 0) {
		return adapterFlag{}, fmt.Errorf("--lora: scale %s in %q, expected a finite number", value[i+1:], value)
	}
	return adapterFlag{value[:i], scale}, nil
}

// opened is a base with its adapters.
type opened struct {
	base     *peft.Base
	adapters []peft.Scaled
}

func (o *opened) Close() error { return o.base.Close() }

// open loads the adapters and the base, and checks that they fit. A base that is not named is that of the first adapter
// that says which it is, and is named on w.
func (m *modelFlags) open(w io.Writer) (*opened, error) {
	kernels.SetThreads(m.threads)
	o := &opened{adapters: make([]peft.Scaled, len(m.adapters))}
	if err := m.loadAdapters(o); err != nil {
		return nil, err
	}
	base, err := m.openBase(o, w)
	if err != nil {
		return nil, err
	}
	o.base = base
	if err := m.loadAdapters(o); err != nil {
		base.Close()
		return nil, err
	}
	if m.latent != "" {
		if err := base.OpenMaster(m.latent); err != nil {
			base.Close()
			return nil, fmt.Errorf("--latent: %w", err)
		}
	}
	for i, a := range o.adapters {
		if err := a.Adapter.CheckFit(base); err != nil {
			base.Close()
			return nil, fmt.Errorf("%s: %w", m.adapters[i].path, err)
		}
	}
	return o, nil
}

// openBase opens the base that is named, or else recorded.
func (m *modelFlags) openBase(o *opened, w io.Writer) (*peft.Base, error) {
	if m.base != "" {
		return peft.OpenBase(m.base)
	}
	i := slices.IndexFunc(o.adapters, func(a peft.Scaled) bool { return a.Adapter != nil })
	if i < 0 {
		return nil, fmt.Errorf("%s: %w", m.adapters[0].path, peft.ErrNeedsBase)
	}
	a, hash := o.adapters[i].Adapter, o.adapters[i].Adapter.Origin().BaseSHA256
	base, err := peft.OpenRecorded(a, m.adapters[i].path, cli.RecallBase(hash))
	if err != nil {
		return nil, fmt.Errorf("%w with --base", err)
	}
	note := ""
	if hash == "" {
		note = " (unchecked: the adapter does not say which weights it was trained over)"
	}
	fmt.Fprintf(w, "base: %s%s\n", cli.Printable(base.Path(), 0), note)
	return base, nil
}

// loadAdapters loads the adapters that are not loaded yet: without the base those that do not need it.
func (m *modelFlags) loadAdapters(o *opened) error {
	for i, flag := range m.adapters {
		if o.adapters[i].Adapter != nil {
			continue
		}
		a, err := peft.LoadOver(flag.path, o.base)
		if o.base == nil && errors.Is(err, peft.ErrNeedsBase) {
			continue
		}
		if err != nil {
			return err
		}
		o.adapters[i] = peft.Scaled{Adapter: a, Scale: flag.scale}
	}
	return nil
}

// warnOtherBase warns where an adapter fits the base but was trained over another.
func (m *modelFlags) warnOtherBase(o *opened, w io.Writer) {
	for i, a := range o.adapters {
		if err := peft.CheckBase(a.Adapter, o.base); err != nil {
			fmt.Fprintf(w, "warning: %s: %s\n", m.adapters[i].path, cli.ErrorText(err))
		}
	}
}
