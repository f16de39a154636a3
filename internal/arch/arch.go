package arch

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/errkind"
)

// ErrUnsupported is wrapped by errors about files in which nothing is wrong, but which cannot be computed with here.
var ErrUnsupported = errkind.Errorf(errors.ErrUnsupported, "not supported")

// Arch is an architecture.
type Arch struct {
	Name string    // as general.architecture has it
	HF   []HFModel // the models of Hugging Face that are converted to it

	Vocabulary Vocabulary // of GGUF files that are converted from these

	// Spec reads what a model computes. Sizes that only the tensors of a GGUF file tell are filled in after it. It is nil
	// for architectures of which no more is known here than what the fields below say.
	Spec    func(f *Fields) Spec
	Tensors []Tensor // in the order in which they are listed and run

	// Ignored are endings of the names of GGUF tensors that some files have and nothing computes with.
	Ignored []string
	// AddsBiases: llama.cpp adds a bias to every linear map of a layer where the file has one, also where models of this
	// architecture have none.
	AddsBiases bool
	// FFNOnly is the architecture whose layers compute the same and may be without attention, "" where there is none.
	FFNOnly  string
	Quantize Quantize
	// Conversion is how a GGUF file is made of Hugging Face files.
	Conversion Conversion
	// PairsUnread are the roles of which llama.cpp loads a low-rank adapter and does not compute with it.
	PairsUnread []Role

	// Config fills in the config.json of a class of Hugging Face, beside what most classes have. It is nil where no
	// GGUF file is converted to one.
	Config func(c *Config)

	byRole [roles]*Tensor
}

// HFModel is a kind of model in Hugging Face's transformers.
type HFModel struct {
	Type  string // model_type in config.json
	Class string // in architectures of config.json
	// BiasFlags are the keys of config.json that say whether the linear maps of each Part have biases. "" where they
	// cannot have any that others of the kind do not have.
	BiasFlags [2]string
	// Text is the key of config.json under which the text model is described where the class has other parts too.
	Text string
	// In is what names of tensors begin with in place of "model.", "" where it is that; Head is the output head's name
	// where it is another than usual.
	In, Head string
}

// Rename is the name of a tensor of the table in the files of this kind of model.
func (m *HFModel) Rename(name string) string {
	switch {
	case m == nil:
		return name
	case m.Head != "" && strings.HasPrefix(name, headModule):
		return m.Head + strings.TrimPrefix(name, headModule)
	case m.In != "" && strings.HasPrefix(name, hfPrefix):
		return m.In + strings.TrimPrefix(name, hfPrefix)
	}
	return name
}

// What names of tensors begin with in most classes of Hugging Face, and that of the output head.
const (
	hfPrefix   = "model."
	headModule = "lm_head"
)

// Quantize is where llama-quantize treats an architecture differently from others.
type Quantize struct {
	// LargeLayers is how many layers a model has that it takes for one of 70B, whose attention values get more bits; 0
	// where none is. LargeShared: and its query heads share key heads.
	LargeLayers int
	LargeShared bool
	// OwnMixtures: what a file type that mixes types gives to a tensor is decided by rules of this architecture's own.
	OwnMixtures bool
	// StacksOthers: it stacks matrices that are no experts.
	StacksOthers bool
}

// Large reports whether a model of so many layers counts as one of 70B; shared says that query heads share key heads.
func (q *Quantize) Large(layers int, shared bool) bool {
	return q.LargeLayers > 0 && layers == q.LargeLayers && (shared || !q.LargeShared)
}

// table is all architectures that are known.
var table []*Arch

// Register adds an architecture. It panics where its name or a model type is taken, a role has two tensors, or the
// embedding is missing. It must not run beside other functions of this package.
func Register(a *Arch) {
	if a.Name == "" || ByName(a.Name) != nil {
		panic("arch: an architecture without a name of its own: " + a.Name)
	}
	for _, m := range a.HF {
		if other, _ := ByModelType(m.Type); other != nil {
			panic("arch: two architectures for model_type " + m.Type)
		}
	}
	slices.SortStableFunc(a.Tensors, func(x, y Tensor) int { return int(x.Role) - int(y.Role) })
	for i := range a.Tensors {
		t := &a.Tensors[i]
		if a.byRole[t.Role] != nil {
			panic(fmt.Sprintf("arch: two tensors of %s for the %s", a.Name, t.Role))
		}
		a.byRole[t.Role] = t
	}
	if a.Spec != nil && a.byRole[TokenEmbedding] == nil {
		panic("arch: no embedding in " + a.Name)
	}
	table = append(table, a)
}

// Tensor is the tensor of a role, nil where there is none.
func (a *Arch) Tensor(r Role) *Tensor { return a.byRole[r] }

// InGGUF finds a tensor by the name that it has in a GGUF file, and the number of its layer, -1 for one of no layer.
func (a *Arch) InGGUF(name string) (t *Tensor, layer int, ok bool) {
	for i := range a.Tensors {
		t := &a.Tensors[i]
		if layer, ok := layerOf(t.GGUF, name); ok {
			return t, layer, true
		}
	}
	return nil, 0, false
}

// IsIgnored reports whether nothing computes with a tensor of that name.
func (a *Arch) IsIgnored(name string) bool {
	return slices.ContainsFunc(a.Ignored, func(end string) bool { return strings.HasSuffix(name, end) })
}

// ByName is the architecture of that name in general.architecture, nil where it is not known.
func ByName(name string) *Arch {
	i := slices.IndexFunc(table, func(a *Arch) bool { return a.Name == name })
	if i < 0 {
		return nil
	}
	return table[i]
}

// ByModelType is the architecture, and its kind of model, for a model_type of Hugging Face; nil where it is not known.
func ByModelType(modelType string) (*Arch, *HFModel) {
	for _, a := range table {
		for i := range a.HF {
			if a.HF[i].Type == modelType {
				return a, &a.HF[i]
			}
		}
	}
	return nil, nil
}

// Names are those of the architectures that can be computed with, sorted.
func Names() []string {
	return names(func(a *Arch) []string {
		if a.Spec == nil {
			return nil
		}
		return []string{a.Name}
	})
}

// ModelTypes are the model types of Hugging Face that can be computed with, sorted.
func ModelTypes() []string {
	return names(func(a *Arch) (types []string) {
		for _, m := range a.HF {
			types = append(types, m.Type)
		}
		return types
	})
}

func names(of func(a *Arch) []string) []string {
	var all []string
	for _, a := range table {
		all = append(all, of(a)...)
	}
	slices.Sort(all)
	return all
}
