package export

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/lorafile"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/modelcard"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/safetensors"
)

// ConvertOptions says how ConvertAdapter writes.
type ConvertOptions struct {
	// Type of the numbers: "f32", "f16", "bf16", in a GGUF file also "q8_0" (f16 where rows do not fit). "auto" is the
	// type that all numbers of the input have, or else f32, and f32 where a scale is multiplied into B. "" is f32 in a
	// GGUF file, and auto in a PEFT directory.
	Type string
}

// Converted says what ConvertAdapter did.
type Converted struct {
	ToGGUF     bool    `json:"to_gguf"` // otherwise to PEFT
	Tensors    int     `json:"tensors"`
	Parameters int     `json:"parameters"`
	Type       string  `json:"type"`  // of the numbers, as far as rows fit
	Alpha      float64 `json:"alpha"` // adapter.lora.alpha or lora_alpha; in a GGUF file 0 where the scale is in B
	Base       string  `json:"base"`  // that was read
}

// IsAdapter reports whether a path is that of an adapter: a directory with an adapter_config.json, a safetensors file
// with one beside it or in its metadata, or a GGUF file whose general.type says so.
func IsAdapter(path string) bool {
	if attach.IsGGUF(path) {
		f, err := gguf.Open(path)
		if err != nil {
			return false
		}
		defer f.Close()
		kind, _ := f.Meta.String(lorafile.TypeKey)
		return kind == lorafile.Type
	}
	dir := path
	if info, err := os.Stat(path); err != nil {
		return false
	} else if !info.IsDir() {
		if f, err := safetensors.Open(path); err == nil {
			defer f.Close()
			if _, ok := f.Metadata[attach.MetaConfig]; ok {
				return true
			}
		}
		dir = filepath.Dir(path)
	}
	return attach.HasFile(dir, attach.ConfigFile)
}

// ConvertAdapter writes a LoRA of HF PEFT as the GGUF file that llama.cpp takes, or such a file as a PEFT directory
// (or, where out ends in .safetensors, as a file that Load reads), whichever in is not.
//
// The base, a GGUF file or a Hugging Face directory, says how modules and tensors are named and in which order rows
// stand; of a directory config.json alone is read. "" is the path that the adapter records, where there is a model.
//
// From PEFT: a file has the keys that llama.cpp's converter writes, those of the directory's model card among them, and
// where that takes the scales right its very bytes. adapter.lora.alpha is the alpha that gives every pair its scale
// over its rank; where no number does, as with the ranks of rsLoRA or alphas of single modules, it is 0 and the scales
// are in B. Of an embedding table or output head that was trained whole, or rows of it, the change is a pair; this
// takes the base's weights. What a GGUF LoRA cannot hold (DoRA, norms, biases, methods without pairs) is an error that
// names the way that works. From GGUF: pairs of stacked experts and of fused tensors become those of PEFT's modules.
// Nothing is rounded but to Type, and by such a scale.
func ConvertAdapter(ctx context.Context, in, out, base string, opt ConvertOptions) (_ *Converted, err error) {
	defer mapped.Guard(&err)()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	convert := toPEFT
	if !attach.IsGGUF(in) {
		convert = toGGUF
	}
	return convert(in, out, base, opt)
}

// converting is an error of a conversion, with its input's path.
func converting(in string, err error) error { return fmt.Errorf("convert %s: %w", in, err) }

// toGGUF writes a GGUF file.
func toGGUF(in, out, base string, opt ConvertOptions) (*Converted, error) {
	a, err := attach.Load(in)
	if err != nil {
		return nil, err
	}
	done, err := writeGGUF(a, in, out, base, opt)
	if err != nil {
		return nil, converting(in, err)
	}
	return done, nil
}

// writeGGUF writes an adapter that is read.
func writeGGUF(a *attach.Adapter, in, out, base string, opt ConvertOptions) (*Converted, error) {
	m, ok := methods.AsLoRA(a.Method)
	if !ok {
		return nil, errkind.Errorf(errors.ErrUnsupported, "an adapter of method %s: a GGUF LoRA holds pairs of a LoRA "+
			"alone; merge it into the base, or export it as pairs that come near (form gguf) or as a model (form model)",
			a.Config.Method)
	}
	typ, err := typeNamed(opt.Type, gguf.F32, a.InFile)
	if err != nil {
		return nil, err
	}
	recorded := base == ""
	if recorded {
		if base, err = recordedBase(a, in); err != nil {
			return nil, err
		}
	}
	open := attach.OpenOutline
	if m.Extras.Whole() {
		open = attach.OpenBase
	}
	b, err := open(base)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	if recorded && b.Store != nil { // else there are no weights to compare
		if err := attach.CheckBase(a, b); err != nil {
			return nil, err
		}
	}
	card, err := cardOf(in)
	if err != nil {
		return nil, err
	}
	report, err := writeLoRA(a, b, out, LoRAOptions{Type: typ, card: card, inOrder: true,
		exact: strings.EqualFold(opt.Type, "auto")})
	if err != nil {
		return nil, err
	}
	return &Converted{ToGGUF: true, Tensors: 2 * len(report.Tensors), Parameters: a.Parameters(), Type: report.Type,
		Alpha: report.Alpha, Base: base}, nil
}

// recordedBase is the base that an adapter names, where it is here.
func recordedBase(a *attach.Adapter, path string) (string, error) {
	if a.Origin.Base != "" {
		return attach.FindBase(a, path)
	}
	name := a.Config.BaseModel
	for _, place := range []string{name, filepath.Join(path, name), filepath.Join(filepath.Dir(path), name)} {
		_, err := os.Stat(filepath.Join(place, "config.json"))
		if name != "" && (err == nil || attach.IsGGUF(place) && attach.SameFile(place, place)) {
			return place, nil
		}
	}
	return "", errkind.Errorf(peft.ErrNeedsBase, "the config.json or GGUF file of its base (%q) is needed, which says in "+
		"which order rows stand: name the base", name)
}

// cardOf is what the directory of an adapter says of it by its name and model card. A file that is no part of such a
// directory has its own name.
func cardOf(in string) (*modelcard.Card, error) {
	dir := in
	if filepath.Base(in) == attach.WeightsFile {
		dir = filepath.Dir(in)
	} else if info, err := os.Stat(in); err == nil && !info.IsDir() {
		dir = strings.TrimSuffix(in, filepath.Ext(in))
	}
	return modelcard.Read(dir, nil, modelcard.Options{})
}

// toPEFT writes a PEFT directory, or a file.
func toPEFT(in, out, base string, opt ConvertOptions) (*Converted, error) {
	if base == "" {
		return nil, converting(in, peft.ErrNeedsBase)
	}
	b, err := attach.OpenOutline(base)
	if err != nil {
		return nil, converting(in, err)
	}
	defer b.Close()
	a, err := lorafile.Load(in, b)
	if err != nil {
		return nil, err
	}
	if a.Stored, err = typeNamed(opt.Type, a.InFile, a.InFile); err == nil && a.Stored == gguf.Q8_0 {
		err = errors.New("type q8_0 is none of safetensors', expected f32, f16, bf16 or auto")
	}
	if err != nil {
		return nil, converting(in, err)
	}
	if strings.HasSuffix(out, ".safetensors") {
		err = a.Save(out)
	} else {
		err = a.SaveDir(out)
	}
	if err != nil {
		return nil, converting(in, err)
	}
	return &Converted{Tensors: len(a.Tensors), Parameters: a.Parameters(), Type: a.Stored.String(),
		Alpha: a.Config.Alpha, Base: base}, nil
}

// typeNamed is the type of numbers that an option names.
func typeNamed(name string, usual, stored gguf.Type) (gguf.Type, error) {
	switch strings.ToLower(name) {
	case "":
		return usual, nil
	case "auto":
		return stored, nil
	}
	for _, t := range loraTypes {
		if strings.EqualFold(name, t.String()) {
			return t, nil
		}
	}
	return 0, fmt.Errorf("type %q, expected f32, f16, bf16, q8_0 or auto", name)
}
