package malformed_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/tohf"
	"github.com/peftconv/peftconv/gguf/verify"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/hfvocab"
	"github.com/peftconv/peftconv/internal/lorafile"
	"github.com/peftconv/peftconv/internal/malformed"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/export"
	"github.com/peftconv/peftconv/peft/generate"
	"github.com/peftconv/peftconv/peft/method"
)

// everything is the environment variable that asks for all variants (1). A campaign takes a number too: so many of each
// kind; without it a few variants meet a few verbs.
const everything = "PEFTCONV_MALFORMED"

// agreement is files of one kind that verify and loading must agree on.
type agreement struct {
	name     string
	path     string // what is verified and loaded
	file     string // what is wrong of it
	variants iter.Seq[malformed.Variant]
	load     func(path string) error
	most     int // variants, where not all are asked for; 0: mostAgreed
}

// TestVerifyAgreesWithLoading verifies every variant of models and adapters and loads it: what the one takes, the
// other takes too.
func TestVerifyAgreesWithLoading(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	put := func(name string, data []byte) []byte {
		if err := os.WriteFile(at(name), data, 0o644); err != nil {
			t.Fatal(err)
		}
		return data
	}
	good := pefttest.Tiny.WriteGGUF(t)
	base := pefttest.OpenBase(t, good)
	adapter := pefttest.Trained(t, base, method.LoRA{Rank: 2, Targets: []string{"q_proj", "down_proj"}})
	if err := errors.Join(adapter.Save(at("a.safetensors")), adapter.SaveDir(at("peft")),
		lora(at("lora.gguf"), adapter, base)); err != nil {
		t.Fatal(err)
	}
	hf := pefttest.Tiny.WriteHF(t, gguf.F32, 2)
	read := func(path string) []byte { return pefttest.FileBytes(t, path) }
	whole := put("m.gguf", read(good))
	config, tensors := filepath.Join(at("peft"), attach.ConfigFile), filepath.Join(at("peft"), attach.WeightsFile)
	onBase := func(path string) error { return attaches(path, base) }
	for _, k := range []agreement{
		{"models", at("m.gguf"), at("m.gguf"), malformed.GGUF(whole), runs, 0},
		{"bytes of models", at("m.gguf"), at("m.gguf"), malformed.Bytes(whole), runs, 0},
		{"configurations of models", hf, filepath.Join(hf, "config.json"),
			malformed.JSON(read(filepath.Join(hf, "config.json")), 2), runs, 0},
		{"indices", hf, filepath.Join(hf, attach.IndexFile), malformed.JSON(read(filepath.Join(hf,
			attach.IndexFile)), 2), runs, 0},
		{"adapters", at("a.safetensors"), at("a.safetensors"),
			malformed.Safetensors(read(at("a.safetensors"))), onBase, 0},
		{"bytes of adapters", at("a.safetensors"), at("a.safetensors"),
			malformed.Bytes(read(at("a.safetensors"))), onBase, 0},
		{"configurations of adapters", at("peft"), config, malformed.JSON(read(config), 2), onBase, 0},
		{"tensors of adapters", at("peft"), tensors, malformed.Safetensors(read(tensors)), onBase, 0},
		{"GGUF LoRAs", at("lora.gguf"), at("lora.gguf"), malformed.GGUF(read(at("lora.gguf"))), onBase, 0},
	} {
		t.Run(k.name, func(t *testing.T) { k.run(t) })
	}
}

// TestVerifyAgreesOnArchitectures spoils a small model of every architecture, and computes with those that load.
func TestVerifyAgreesOnArchitectures(t *testing.T) {
	if os.Getenv(everything) == "" {
		t.Skipf("takes many minutes: set %s=1", everything)
	}
	for _, m := range archtest.All() {
		t.Run(m.Name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "m.gguf")
			m.Write(t, path)
			k := agreement{m.Name, path, path, malformed.GGUF(pefttest.FileBytes(t, path)), computes, 0}
			k.run(t)
		})
	}
}

// openWhole opens a model whose weights are finite.
func openWhole(path string) (*attach.Base, error) {
	b, err := attach.OpenBase(path)
	if err != nil {
		return nil, err
	}
	if err := attach.CheckWeights(b); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// computes opens a model and computes with it.
func computes(path string) error {
	b, err := openWhole(path)
	if err != nil {
		return err
	}
	defer b.Close()
	tokens := &batch.Batch{}
	tokens.Append([]int32{1, 0, 1, 0, 1}, nil)
	if i := floats.FirstNonFinite(pefttest.AllLogits(b, model.NoHooks{}, tokens)); i >= 0 {
		return errOverflow
	}
	return nil
}

// TestVerifyAgreesOnMethods spoils the configurations of adapters of all methods.
func TestVerifyAgreesOnMethods(t *testing.T) {
	base := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	for _, c := range pefttest.MethodCases {
		t.Run(c.Name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "peft")
			if err := pefttest.MethodNamed(t, base, c.Name).SaveDir(dir); err != nil {
				t.Fatal(err)
			}
			config := filepath.Join(dir, attach.ConfigFile)
			k := agreement{c.Name, dir, config, malformed.JSON(pefttest.FileBytes(t, config), 2),
				func(path string) error { return attaches(path, base) }, mostOfEach}
			k.run(t)
		})
	}
}

// TestVerifyAgreesOnTokenizers spoils the files of the tokenizer of a Hugging Face directory.
func TestVerifyAgreesOnTokenizers(t *testing.T) {
	f, err := gguf.Open(pefttest.Tiny.WriteGGUF(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := filepath.Join(t.TempDir(), "hf")
	tokenizer := func(create func(name string, data []byte) error) error {
		_, err := hfvocab.WriteHF(f.Meta, create)
		return err
	}
	if _, err := tohf.Write(t.Context(), f, dir, tohf.Options{Files: tokenizer}, nil); err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
		"generation_config.json"} {
		good := pefttest.FileBytes(t, file(name))
		for what, all := range map[string]iter.Seq[malformed.Variant]{name: malformed.JSON(good, 3),
			"text of " + name: malformed.Texts(good)} {
			t.Run(what, func(t *testing.T) { (&agreement{what, dir, file(name), all, runs, 0}).run(t) })
		}
	}
	if err := os.Remove(file("tokenizer.json")); err != nil {
		t.Fatal(err)
	}
	spm := file("tokenizer.model")
	k := agreement{"tokenizer.model", dir, spm, malformed.Bytes(pefttest.FileBytes(t, spm)), runs, 0}
	t.Run(k.name, func(t *testing.T) { k.run(t) })
}

// lora writes a GGUF LoRA.
func lora(path string, a *attach.Adapter, b *attach.Base) error {
	in := export.Input{Base: pefttest.Base(b), Adapters: pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}})}
	_, err := export.To("gguf", in, path, export.Options{})
	return err
}

// Where not all variants are asked for (see everything), so many of a kind are looked at, and of each method.
const (
	mostAgreed = 60
	mostOfEach = 3
)

func (k *agreement) run(t *testing.T) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	good := pefttest.FileBytes(t, k.file)
	if problem, loads := k.both(t); problem != "" || loads != nil {
		t.Fatalf("the good file: problem %q, loading: %v", problem, loads)
	}
	files, taken, variants := 0, 0, k.variants
	if os.Getenv(everything) == "" {
		variants = malformed.Sample(variants, cmp.Or(k.most, mostAgreed))
	}
	for v := range variants {
		if err := os.WriteFile(k.file, v.Data, 0o644); err != nil {
			t.Fatal(err)
		}
		files++
		problem, err := k.both(t)
		switch {
		case errors.Is(err, errors.ErrUnsupported) || errors.Is(err, attach.ErrWrongBase) || overflows(err):
			// which says nothing against the file
		case problem == "" && err != nil:
			t.Errorf("%s: verify takes it, loading: %.300v", v.Lie, err)
		case problem != "" && err == nil:
			t.Errorf("%s: it loads, verify: %.300s", v.Lie, problem)
		case err == nil:
			taken++
		}
	}
	if err := os.WriteFile(k.file, good, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d files, of which %d are taken", files, taken)
}

var errOverflow = errors.New("a logit is not finite: are all weights finite?")

// overflows reports the error of a model whose weights are finite, and what it computes is not.
func overflows(err error) bool {
	return err != nil && strings.Contains(err.Error(), "are all weights finite?")
}

// both are the first problem that verify has with the file, and the error of loading it.
func (k *agreement) both(t *testing.T) (problem string, err error) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	r, err := verify.File(t.Context(), k.path, verify.Options{})
	switch {
	case err != nil:
		problem = err.Error()
	case !r.OK():
		problem = r.Problems[0].String()
	case slices.ContainsFunc(r.Notes, func(n verify.Finding) bool {
		return strings.Contains(n.Text,
			"only the format")
	}):
		return "", nil
	}
	return problem, k.load(k.path)
}

// runs opens a model and has it continue a text.
func runs(path string) error {
	b, err := openWhole(path)
	if err != nil {
		return err
	}
	defer b.Close()
	if b.Tokenizer == nil {
		return nil
	}
	_, err = generate.Run(context.Background(), pefttest.Base(b), nil, "the", generate.Options{N: 1,
		Context: 64}, nil)
	return err
}

// attaches loads an adapter and attaches it to a base.
func attaches(path string, b *attach.Base) error {
	if attach.IsGGUF(path) {
		a, err := lorafile.Load(path, b)
		if err != nil {
			return err
		}
		_, err = a.Bind(b)
		return err
	}
	a, err := peft.Load(path)
	if err != nil {
		return err
	}
	return a.CheckFit(pefttest.Base(b))
}
