package verify

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/lorafile"
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
		r.plausibleGGUF(f)
	} else {
		r.plausibleSafetensors(f)
	}
}

func (r *Report) plausibleGGUF(f *weights.File) {
	g := f.GGUF
	r.Architecture, _ = g.Meta.String("general.architecture")
	wrong, odd := sanity.Check(g.Meta, g.Tensors)
	for _, problem := range wrong {
		r.problem("", "%s", problem)
	}
	for _, text := range odd {
		r.note("", "%s", text)
	}
	for key := range g.Meta.All() {
		if !utf8.ValidString(key) {
			r.note("", "the key %q is not UTF-8", key)
		}
	}
	if g.Extra > 0 {
		r.note("", "%d bytes after the last tensor are described by nothing", g.Extra)
	}
	switch kind := kindOf(g); kind {
	case "model":
		r.model(f, f.Path)
	case lorafile.Type:
		r.loraFile(g)
	case "imatrix":
		r.importance(f.Path)
	case "mmproj", "vocab":
		r.note("", "%s is %q, of which only the format was checked: it is no model and no adapter", lorafile.TypeKey, kind)
	default:
		r.problem("", "%s is %q, expected model, adapter, imatrix, mmproj or vocab", lorafile.TypeKey, kind)
	}
}

// kindOf is what a GGUF file says that it is.
func kindOf(g *gguf.File) string {
	if kind, ok := g.Meta.String(lorafile.TypeKey); ok {
		return kind
	}
	return "model"
}

// plausibleSafetensors checks a model or an adapter as it is loaded, by its directory or its own file, and the pairs
// of other files against each other.
func (r *Report) plausibleSafetensors(f *weights.File) {
	dir, isDir := f.Path, true
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		dir, isDir = filepath.Dir(dir), false
	}
	name := filepath.Base(f.Safetensors.Path)
	model := name == "model.safetensors" || name == attach.IndexFile
	switch _, described := f.Safetensors.Metadata[attach.MetaConfig]; {
	case described && !isDir, attach.IsWeightsFile(name):
		r.adapter(f)
	case model && (isDir || attach.HasFile(dir, "config.json")):
		r.model(f, dir)
	case isDir && attach.HasFile(dir, attach.ConfigFile):
		r.adapter(f)
	default:
		r.strangePairs(f)
	}
}

// strangePairs looks at pairs of a LoRA in a file that has no configuration.
func (r *Report) strangePairs(f *weights.File) {
	pairs := r.adapterPairs(f)
	named := false
	for _, t := range f.Tensors() {
		named = named || strings.HasPrefix(t.Name, attach.ParamPrefix)
	}
	switch {
	case named:
		r.problem("", "there is no %s in its metadata or beside it, without which no adapter is loaded", attach.ConfigFile)
	case pairs:
		r.note("", "there are pairs of a LoRA in it under other names than PEFT's, which are not loaded as an adapter")
	}
}

// adapterPairs checks that the two matrices of each low-rank pair are there and fit, and reports whether there is one.
func (r *Report) adapterPairs(f *weights.File) (pairs bool) {
	for _, t := range f.Tensors() {
		if base, ok := strings.CutSuffix(t.Name, ".lora_B.weight"); ok && f.Tensor(base+".lora_A.weight") == nil {
			r.problem(t.Name, "there is no %s.lora_A.weight", base)
		}
		base, ok := strings.CutSuffix(t.Name, ".lora_A.weight")
		if !ok {
			continue
		}
		pairs = true
		switch b := f.Tensor(base + ".lora_B.weight"); {
		case b == nil:
			r.problem(t.Name, "there is no %s.lora_B.weight", base)
		case len(t.Shape) == 2 && len(b.Shape) == 2 && t.Shape[0] != b.Shape[1]:
			r.problem(t.Name, "is of rank %d, and lora_B of rank %d", t.Shape[0], b.Shape[1])
		}
	}
	return pairs
}

// sameLayout says whether two tensors have one type and shape.
func sameLayout(a, b *weights.Tensor) bool { return a.Type == b.Type && slices.Equal(a.Shape, b.Shape) }
