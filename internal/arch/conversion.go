package arch

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Conversion is what a conversion from Hugging Face files to a GGUF file does for an architecture beside what its table
// of tensors says.
type Conversion struct {
	// Keys sets the architecture's metadata, in the reference converter's order; nil: it cannot be converted.
	Keys  func(k *Keys)
	First func(k *Keys) // sets those that stand before all others
	// As is the name of the architecture in the GGUF file, which may be another for some models; nil: this one.
	As func(s *Spec) string

	NoFileType    bool // Keys sets no general.file_type
	DropsHead     bool // the output head is left out: the decoder uses the embedding
	DropsTiedHead bool // the same where config.json says that the two are one
	DropsDrafts   bool // layers beyond those that run are left out
	KeepsFused    bool // gates and up-projections of experts stay in one tensor
	ZeroBiases    bool // biases must be 0 and are left out
	CutsVocab     bool // the embedding has as many rows as there are tokens, Hugging Face's may have more
	Drafts        *Drafts
}

// Written is the architecture that a GGUF file of a model names.
func (a *Arch) Written(s *Spec) *Arch {
	if a.Conversion.As == nil {
		return a
	}
	return ByName(a.Conversion.As(s))
}

// Drafts is how the layers that guess further tokens are named in Hugging Face files.
type Drafts struct {
	// In is what names of their tensors begin with, before the number from 0; "": they are numbered behind the others.
	In     string
	Others map[string]string // GGUF's name, in its layer, of each tensor that no other layer has
}

// nextTokens is how DeepSeek and those after it name them.
var nextTokens = Drafts{Others: map[string]string{
	"eh_proj" + weightSuffix:          "nextn.eh_proj" + weightSuffix,
	"enorm" + weightSuffix:            "nextn.enorm" + weightSuffix,
	"hnorm" + weightSuffix:            "nextn.hnorm" + weightSuffix,
	"embed_tokens" + weightSuffix:     "nextn.embed_tokens" + weightSuffix,
	"shared_head.head" + weightSuffix: "nextn.shared_head_head" + weightSuffix,
	"shared_head.norm" + weightSuffix: "nextn.shared_head_norm" + weightSuffix,
}}

// Drafted finds a tensor of a layer that guesses further tokens, of a model in which so many layers run. It gives the
// name that such a tensor of another layer would have, or GGUF's name of one that no other layer has.
func (a *Arch) Drafted(name string, layers int) (inHF, inGGUF string) {
	const inLayers = hfPrefix + "layers."
	d := a.Conversion.Drafts
	if d == nil {
		return "", ""
	}
	if other, ok := d.Others[name]; ok && d.In != "" {
		return "", "blk." + strconv.Itoa(layers) + "." + other
	}
	in, first := d.In, layers
	if in == "" {
		in, first = inLayers, 0
	}
	rest, ok := strings.CutPrefix(name, in)
	number, rest, found := strings.Cut(rest, ".")
	i, err := strconv.Atoi(number)
	if i += first; !ok || !found || err != nil || i < layers {
		return "", ""
	}
	number = strconv.Itoa(i)
	if other, ok := d.Others[rest]; ok {
		return "", "blk." + number + "." + other
	}
	return inLayers + number + "." + rest, ""
}

// DraftInHF is the name in Hugging Face files of a tensor that only layers that guess further tokens have, of a model
// in which so many layers run.
func (a *Arch) DraftInHF(inGGUF string, layers int) (name string, ok bool) {
	rest, _ := strings.CutPrefix(inGGUF, "blk.")
	number, rest, _ := strings.Cut(rest, ".")
	d := a.Conversion.Drafts
	if d == nil || d.In != "" && number != strconv.Itoa(layers) {
		return "", false
	}
	in := ""
	if d.In == "" {
		in = hfPrefix + "layers." + number + "."
	}
	for inHF, name := range d.Others {
		if name == rest {
			return in + inHF, true
		}
	}
	return "", false
}

// InDraft is the name in Hugging Face files of a tensor of a layer that guesses further tokens, of the name that it
// would have in another.
func (a *Arch) InDraft(name string, layer, layers int) string {
	rest, ok := strings.CutPrefix(name, hfPrefix+"layers."+strconv.Itoa(layer)+".")
	if d := a.Conversion.Drafts; ok && d != nil && d.In != "" {
		return d.In + strconv.Itoa(layer-layers) + "." + rest
	}
	return name
}

// unused are endings of tensors of Hugging Face files that nothing computes with.
var unused = []string{".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq", ".attn.masked_bias"}

// Beginnings and parts of names of tensors of Hugging Face files that belong to other parts of a model than its text.
var (
	otherParts = []string{"mlp", "vit.", "vpm.", "siglip2.", "conformer.", "merger.", "resampler.", "sound_",
		"speech_embeddings."}
	otherPart = []string{"visual.", "vision.", "vision_", "audio.", "audio_", "talker.", "token2wav.", "code2wav.",
		"projector.", "pre_mm_projector_norm", "image_newline", "view_seperator", "patch_embed", "patch_merger.",
		"model.connector."}
)

// LeavesOut reports whether a tensor of Hugging Face files has no place in a GGUF file of the text model.
func (a *Arch) LeavesOut(name string) bool {
	ends := func(end string) bool { return strings.HasSuffix(name, end) }
	begins := func(start string) bool { return strings.HasPrefix(name, start) }
	holds := func(part string) bool { return strings.Contains(name, part) }
	return slices.ContainsFunc(unused, ends) || slices.ContainsFunc(otherParts, begins) ||
		slices.ContainsFunc(otherPart, holds)
}

// Unrenamed is the name in the table of a tensor that has another in files of this kind of model.
func (m *HFModel) Unrenamed(name string) string {
	if m.Head != "" && strings.HasPrefix(name, m.Head) {
		return headModule + strings.TrimPrefix(name, m.Head)
	}
	if m.In != "" && strings.HasPrefix(name, m.In) {
		return hfPrefix + strings.TrimPrefix(name, m.In)
	}
	return name
}

// Convertible are the classes of Hugging Face that can be converted, sorted.
func Convertible() []string {
	classes := map[string]bool{}
	for _, a := range table {
		for _, m := range a.HF {
			if a.Conversion.Keys != nil {
				classes[m.Class] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(classes))
}
