package verify

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/sanity"
	"github.com/peftconv/peftconv/internal/weights"
)

// plausible checks what the format does not define.
func (r *Report) plausible(f *weights.File) {
	for _, t := range f.Tensors() {
		if !utf8.ValidString(t.Name) {
			r.note(t.Name, "the name is not UTF-8")
		}
	}
	if f.GGUF != nil {
		r.plausibleGGUF(f.GGUF)
	} else {
		r.plausibleSafetensors(f)
	}
}

func (r *Report) plausibleGGUF(g *gguf.File) {
	r.Architecture, _ = g.Meta.String("general.architecture")
	for _, problem := range sanity.CheckFile(g.Meta, g.Tensors) {
		r.problem("", "%s", problem)
	}
	for key := range g.Meta.All() {
		if !utf8.ValidString(key) {
			r.note("", "the key %q is not UTF-8", key)
		}
	}
	if g.Extra > 0 {
		r.note("", "%d bytes after the last tensor are described by nothing", g.Extra)
	}
	kind, ok := g.Meta.String("general.type")
	if len(g.Tensors) == 0 || ok && kind != "model" {
		return
	}
	_, err := model.FromGGUF(g)
	r.computable(err)
}

// computable reports errors of loading the file as a model.
func (r *Report) computable(err error) {
	switch {
	case errors.Is(err, model.ErrUnsupported):
		r.note("", "shapes were not checked against the architecture: %v", err)
	case err != nil:
		r.problem("", "%v", err)
	}
}

// plausibleSafetensors checks a model against the config.json beside it, and an adapter's pairs against each other.
func (r *Report) plausibleSafetensors(f *weights.File) {
	r.adapterPairs(f)
	dir := f.Path
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		if base := filepath.Base(dir); base != "model.safetensors" && base != "model.safetensors.index.json" {
			return
		}
		dir = filepath.Dir(dir)
	}
	if _, err := os.Stat(filepath.Join(dir, "config.json")); err != nil {
		return
	}
	m, closer, err := model.FromHF(dir)
	r.computable(err)
	if err == nil {
		r.Architecture = m.Spec.Architecture
		closer.Close()
	}
}

// adapterPairs checks that the two matrices of each low-rank pair are there and fit.
func (r *Report) adapterPairs(f *weights.File) {
	for _, t := range f.Tensors() {
		if base, ok := strings.CutSuffix(t.Name, ".lora_B.weight"); ok && f.Tensor(base+".lora_A.weight") == nil {
			r.problem(t.Name, "there is no %s.lora_A.weight", base)
		}
		base, ok := strings.CutSuffix(t.Name, ".lora_A.weight")
		if !ok {
			continue
		}
		switch b := f.Tensor(base + ".lora_B.weight"); {
		case b == nil:
			r.problem(t.Name, "there is no %s.lora_B.weight", base)
		case len(t.Shape) == 2 && len(b.Shape) == 2 && t.Shape[0] != b.Shape[1]:
			r.problem(t.Name, "is of rank %d, and lora_B of rank %d", t.Shape[0], b.Shape[1])
		}
	}
}

// sameLayout says whether two tensors have one type and shape.
func sameLayout(a, b *weights.Tensor) bool { return a.Type == b.Type && slices.Equal(a.Shape, b.Shape) }
