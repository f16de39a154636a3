package peft_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
)

// TestErrorKinds: errors that a program has to tell apart are of one kind each.
func TestErrorKinds(t *testing.T) {
	wide := pefttest.Tiny
	wide.Width *= 2
	open := func(m pefttest.TinyModel) *peft.Base { return pefttest.Base(pefttest.OpenBase(t, m.WriteGGUF(t))) }
	base, other := open(pefttest.Tiny), open(wide)
	adapter, err := peft.New(base, method.LoRA{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, cut := filepath.Join(dir, "a.safetensors"), filepath.Join(dir, "cut.safetensors")
	if err := adapter.Save(file); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cut, data[:len(data)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	_, damaged := peft.Load(cut)
	_, missing := peft.Load(filepath.Join(dir, "none"))
	_, noModel := peft.OpenBase(cut)
	kinds := []error{peft.ErrUnsupported, peft.ErrWrongBase, peft.ErrNoMaster, peft.ErrBadFile, fs.ErrNotExist}
	for _, c := range []struct {
		name string
		err  error
		kind error
	}{
		{"other weights", peft.CheckBase(adapter, other), peft.ErrWrongBase},
		{"other shapes", adapter.CheckFit(other), peft.ErrWrongBase},
		{"half a file", damaged, peft.ErrBadFile},
		{"no file", missing, fs.ErrNotExist},
		{"an adapter in the place of a model", noModel, peft.ErrBadFile},
	} {
		for _, kind := range kinds {
			if got := errors.Is(c.err, kind); got != (kind == c.kind) {
				t.Errorf("%s: %v is %q: %v", c.name, c.err, kind, got)
			}
		}
	}
	if err := adapter.CheckFit(base); err != nil {
		t.Error(err)
	}
}

// pretended are options that claim to be of a method.
type pretended string

func (p pretended) Method() string { return string(p) }

func TestNewRefuses(t *testing.T) {
	base := pefttest.Base(pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t)))
	for want, opt := range map[string]method.Options{
		"no options":                  nil,
		`method "magic" is not known`: pretended("magic"),
		"expected method.LoRA":        pretended("lora"),
		"rank -1":                     method.LoRA{Rank: -1},
		"init \"zero\" is not known":  &method.LoRA{Init: "zero"},
	} {
		if _, err := peft.New(base, opt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, expected %q", opt, err, want)
		}
	}
	if err := peft.CheckOptions(method.PTuning{Encoder: "gru"}); err == nil {
		t.Error("an encoder that there is not is not reported")
	}
	if err := peft.CheckOptions(&method.PTuning{}); err != nil {
		t.Error(err)
	}
}
