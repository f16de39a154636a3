package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/peftconv/peftconv/gguf/quantize"
	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/names"
	"github.com/peftconv/peftconv/peft"
)

func init() {
	Register(&Form{
		Place: 15, Name: "ollama", Directory: true, NoAdapter: true,
		About: "a directory with a Modelfile for \"ollama create\" and the GGUF files that it needs beside the base; with " +
			"--create a model in Ollama's own store, which \"ollama run\" finds at once. Without an adapter it is the " +
			"base alone: a merged or quantized model",
		Write: func(in Input, path string, opt Options) (*Report, error) {
			r, err := Ollama(in.Base, in.Adapters, path, opt)
			if err != nil {
				return nil, err
			}
			return &Report{Ollama: r, LoRA: r.LoRA, Note: r.Note}, nil
		},
		Use: func(_, path string, r *Report) [][]string { return r.Ollama.commands(path) },
	})
}

// OllamaOptions say how Ollama gets a model. The zero value is a directory with a Modelfile that leaves everything to
// the base.
type OllamaOptions struct {
	Create     string   // put it into Ollama's store under this name, and write no directory
	Force      bool     // replace a model of that name
	Template   string   // the text of a template in Ollama's form; "": the base's, or the chat template of the GGUF file
	System     string   // a system prompt; "": the base's
	Parameters []string // NAME=VALUE, as temperature=0.5; stop may be given several times
}

// OllamaReport says what Ollama wrote.
type OllamaReport struct {
	Name  string      `json:"name,omitempty"`  // of the model in the store
	Store string      `json:"store,omitempty"` // its folder
	Files []string    `json:"files"`           // the names of the files, in the directory or as blobs of the store
	LoRA  *LoRAReport `json:"-"`               // where the adapter is one of its own
	Note  string      `json:"-"`
}

// commands make the model that was written known to Ollama, and run it.
func (r *OllamaReport) commands(path string) [][]string {
	if r.Name != "" {
		return [][]string{{"ollama", "run", r.Name}}
	}
	name := strings.ToLower(filepath.Base(filepath.Clean(path)))
	return [][]string{{"ollama", "create", name, "-f", filepath.Join(path, modelfileName)}, {"ollama", "run", name}}
}

const modelfileName = "Modelfile"

// ErrTaken is a name in Ollama's store that OllamaOptions.Force would replace.
var ErrTaken = errors.New("there is a model of this name")

// Ollama writes a base with an adapter, or alone, for Ollama: into a directory with a Modelfile, or with
// OllamaOptions.Create into Ollama's store, its manifest last. An adapter of weights stays a GGUF LoRA beside the base;
// what else llama.cpp can express becomes a model. A base that lies in Ollama's store itself keeps the template, the
// system prompt, the parameters and the licenses that it has there. Errors: a base that is not one GGUF file, adapters
// that have neither form, a name that is taken.
func Ollama(b *peft.Base, adapters []peft.Scaled, path string, opt Options) (_ *OllamaReport, err error) {
	defer mapped.Guard(&err)()
	to := path
	if opt.Ollama.Create != "" {
		to = "ollama:" + opt.Ollama.Create
	}
	r, err := exportOllama(b, adapters, path, opt)
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", to, err)
	}
	return r, nil
}

func exportOllama(b *peft.Base, adapters []peft.Scaled, path string, opt Options) (*OllamaReport, error) {
	m, err := newOllamaModel(b, adapters, opt)
	if err != nil {
		return nil, err
	}
	if opt.Ollama.Create != "" {
		return m.create(opt.Ollama)
	}
	report := &OllamaReport{}
	return report, atomicfile.WriteDir(path, isOllamaPart, func(dir string) error {
		if err := m.write(dir, report); err != nil {
			return err
		}
		text, err := m.modelfile()
		if err != nil {
			return err
		}
		report.Files = append([]string{modelfileName}, report.Files...)
		return attach.WriteText(filepath.Join(dir, modelfileName), text)
	})
}

// isOllamaPart says whether a file belongs to what exportOllama writes.
func isOllamaPart(name string) bool { return name == modelfileName || filepath.Ext(name) == ".gguf" }

// ollamaModel is a model as Ollama has it.
type ollamaModel struct {
	base     *peft.Base
	adapter  *peft.Adapter // nil for none
	lora     LoRAOptions
	template string         // "" for none
	system   string         // "" for none
	params   map[string]any // that the Modelfile or the manifest names
	config   map[string]any // of the manifest

	// Where the base is one of Ollama's own:
	from    names.OllamaName
	store   names.OllamaStore
	kept    []names.OllamaLayer // the layers that stay: licenses, projectors, messages
	changed bool                // the template, system prompt or parameters are not those of the base

	modelFile, adapterFile string // the names of what write wrote, "" for nothing
}

// newOllamaModel takes over what Ollama has with the base, and what the options say.
func newOllamaModel(b *peft.Base, adapters []peft.Scaled, opt Options) (*ollamaModel, error) {
	base := handle.Base(b)
	switch {
	case base.GGUF == nil:
		return nil, fmt.Errorf("%s is not a GGUF file: convert it first", base.Path)
	case len(base.Store.Files) > 1:
		return nil, fmt.Errorf("%s is split over %d files, of which Ollama takes one: join them first", base.Path,
			len(base.Store.Files))
	case len(adapters) > 1:
		return nil, fmt.Errorf("%d adapters, but Ollama takes one: combine them first", len(adapters))
	}
	m := &ollamaModel{base: b, lora: opt.LoRA, params: map[string]any{}, config: newConfig(base)}
	if len(adapters) == 1 {
		m.adapter = adapters[0].Adapter
		if adapters[0].Scale != 1 {
			return nil, fmt.Errorf("a scale of %v, which Ollama has no word for: combine the adapter with it first",
				adapters[0].Scale)
		}
	}
	if err := m.inherit(base.Path); err != nil {
		return nil, err
	}
	params, err := parameters(opt.Ollama.Parameters)
	if err != nil {
		return nil, err
	}
	maps.Copy(m.params, params)
	if o := opt.Ollama; o.Template != "" || o.System != "" || len(params) > 0 {
		m.changed = true
		if o.Template != "" {
			m.template = o.Template
		}
		if o.System != "" {
			m.system = o.System
		}
	}
	return m, nil
}

// newConfig is what a manifest says of a GGUF file.
func newConfig(b *attach.Base) map[string]any {
	weights := 0.0
	for _, t := range b.GGUF.Tensors {
		n := 1.0
		for _, d := range t.Shape {
			n *= float64(d)
		}
		weights += n
	}
	fileType := "unknown"
	if id, ok := b.GGUF.Meta.Uint("general.file_type"); ok {
		if t, err := quantize.ParseFileType(strconv.FormatUint(id, 10)); err == nil {
			fileType = t.Name
		}
	}
	return map[string]any{"model_format": "gguf", "model_family": b.Architecture(),
		"model_families": []string{b.Architecture()}, "model_type": roundedNumber(weights), "file_type": fileType,
		"architecture": runtime.GOARCH, "os": "linux"}
}

// roundedNumber is a number of weights as Ollama shows it: 7B, 1.2B, 12.34M, 260K.
func roundedNumber(n float64) string {
	for _, unit := range []struct {
		size   float64
		letter string
		places int
	}{{1e9, "B", 1}, {1e6, "M", 2}, {1e3, "K", 0}} {
		if x := n / unit.size; x >= 1 {
			places := unit.places
			if x == math.Floor(x) {
				places = 0
			}
			return strconv.FormatFloat(x, 'f', places, 64) + unit.letter
		}
	}
	return strconv.FormatFloat(n, 'f', 0, 64)
}

// inherit takes over what Ollama has with a base that lies in its store.
func (m *ollamaModel) inherit(path string) error {
	store, name, manifest, ok := names.OllamaModelOf(path)
	if !ok {
		return nil
	}
	m.store, m.from = store, name
	read := func(layer names.OllamaLayer) ([]byte, error) {
		blob, err := store.BlobPath(layer.Digest)
		if err != nil {
			return nil, err
		}
		return infile.Read(blob, infile.Config)
	}
	if text, err := read(manifest.Config); err == nil {
		var config map[string]any
		if err := json.Unmarshal(text, &config); err == nil {
			m.config = config
		}
	}
	for _, layer := range manifest.Layers {
		switch layer.MediaType {
		case names.OllamaTemplate, names.OllamaSystem, names.OllamaParams:
			text, err := read(layer)
			if err == nil && layer.MediaType == names.OllamaParams {
				err = json.Unmarshal(text, &m.params)
			}
			switch {
			case err != nil:
				return fmt.Errorf("%v in Ollama's store: %w", name, err)
			case layer.MediaType == names.OllamaTemplate:
				m.template = string(text)
			case layer.MediaType == names.OllamaSystem:
				m.system = string(text)
			}
		case names.OllamaModel:
		default:
			m.kept = append(m.kept, layer)
		}
	}
	return nil
}

// parameters reads NAME=VALUE: values are numbers or truth values where they look so, and lists where a name stands
// several times or is stop.
func parameters(texts []string) (map[string]any, error) {
	params := map[string]any{}
	for _, text := range texts {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("parameter %q, expected NAME=VALUE", text)
		}
		var parsed any = value
		if i, err := strconv.ParseInt(value, 10, 64); err == nil {
			parsed = i
		} else if x, err := strconv.ParseFloat(value, 64); err == nil && !math.IsNaN(x) && !math.IsInf(x, 0) {
			parsed = x
		} else if t, err := strconv.ParseBool(value); err == nil {
			parsed = t
		}
		if name == "stop" {
			list, _ := params[name].([]any)
			params[name] = append(list, value)
			continue
		}
		if _, twice := params[name]; twice {
			return nil, fmt.Errorf("parameter %s is given twice", name)
		}
		params[name] = parsed
	}
	return params, nil
}

// write writes the adapter, or the model with it, into a directory.
func (m *ollamaModel) write(dir string, r *OllamaReport) error {
	if m.adapter == nil {
		return nil
	}
	const modelName, adapterName = "model.gguf", "adapter.gguf"
	model, err := Model(m.adapter, m.base, filepath.Join(dir, modelName))
	switch {
	case err == nil:
		m.modelFile, r.Note = modelName, model.Note
		if err := m.prefixTemplate(r); err != nil {
			return err
		}
	case errors.Is(err, ErrOnlyWeights):
		if r.LoRA, err = LoRA(m.adapter, m.base, filepath.Join(dir, adapterName), m.lora); err != nil {
			return err
		}
		m.adapterFile = adapterName
	default:
		return err
	}
	r.Files = append(r.Files, m.modelFile+m.adapterFile)
	return nil
}

// prefixTemplate puts the virtual tokens of a model before Ollama's own template, which is used in place of the model's
// chat template.
func (m *ollamaModel) prefixTemplate(r *OllamaReport) error {
	a := handle.Adapter(m.adapter)
	n := a.VirtualTokens()
	if n == 0 {
		return nil
	}
	if m.template != "" && a.Config.Template != "" {
		return errors.New("the virtual tokens stand among the fields of a template, which Ollama's template does not " +
			"have: export the adapter as a model and give that one a template of its own")
	}
	list, err := virtualNames(handle.Base(m.base), n)
	if err != nil {
		return err
	}
	tokens := strings.Join(list, "")
	if m.template != "" {
		m.template = tokens + m.template
		return nil
	}
	r.Note = strings.TrimPrefix(r.Note+"; ", "; ") + "the chat template of the model puts its virtual tokens before " +
		"every chat; an Ollama that does not use it needs a template that begins with " + tokens
	return nil
}

// modelfile is the text of a Modelfile beside what write wrote.
func (m *ollamaModel) modelfile() (string, error) {
	var out strings.Builder
	var failed error
	line := func(words, value string) {
		if strings.Contains(value, `"""`) {
			failed = fmt.Errorf(`%s has """, which no Modelfile can hold`, words)
		}
		if strings.ContainsAny(value, "\n") || strings.TrimSpace(value) != value || strings.HasPrefix(value, `"`) {
			value = `"""` + value + `"""`
		}
		fmt.Fprintf(&out, "%s %s\n", words, value)
	}
	inherits := m.from.Model != "" && m.modelFile == ""
	switch {
	case inherits:
		line("FROM", m.from.String())
	case m.modelFile != "":
		line("FROM", "./"+m.modelFile)
	default:
		line("FROM", attach.Absolute(m.base.Path()))
	}
	if m.adapterFile != "" {
		line("ADAPTER", "./"+m.adapterFile)
	}
	if inherits && !m.changed {
		return out.String(), failed
	}
	if m.template != "" {
		line("TEMPLATE", m.template)
	}
	if m.system != "" {
		line("SYSTEM", m.system)
	}
	for _, name := range slices.Sorted(maps.Keys(m.params)) {
		values, isList := m.params[name].([]any)
		if !isList {
			values = []any{m.params[name]}
		}
		for _, v := range values {
			line("PARAMETER "+name, parameterText(v))
		}
	}
	return out.String(), failed
}

// parameterText is a parameter's value as a Modelfile has it.
func parameterText(v any) string {
	if x, ok := v.(float64); ok {
		return strconv.FormatFloat(x, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}
