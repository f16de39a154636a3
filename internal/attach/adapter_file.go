package attach

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/safetensors"
)

// Names of the files of a PEFT directory.
const (
	ConfigFile  = "adapter_config.json"
	WeightsFile = "adapter_model.safetensors"
)

// Keys of the metadata of a single-file adapter. The values are text; config and training are JSON.
const (
	MetaConfig       = "adapter_config"
	metaVersion      = "peftconv.version"
	metaBase         = "peftconv.base"
	MetaBaseSHA256   = "peftconv.base_sha256"
	metaArchitecture = "peftconv.architecture"
	MetaTraining     = "peftconv.training"
	metaTemplate     = "peftconv.template"
	metaClasses      = "peftconv.classes"
	MetaQuantized    = "peftconv.qat"
	metaParameters   = "peftconv.parameters" // inputsInA: Config.InputsInA
	metaMaster       = "peftconv.latent"
	MetaCheckpoint   = "peftconv.checkpoint"
)

const inputsInA = "inputs in lora_A"

// Keys of the metadata in which a merged GGUF file records what was merged.
const (
	MergeVersion    = "peftconv.merge.version"        // of this library
	MergeBaseSHA256 = "peftconv.merge.base_sha256"    // of the file that the adapters were merged into
	MergeMethods    = "peftconv.merge.methods"        // of the adapters, in order
	MergeAdapters   = "peftconv.merge.adapter_sha256" // of their configurations and tensors
	MergeScales     = "peftconv.merge.scales"         // the factors on them
)

// Save writes the adapter as one safetensors file whose metadata carries the configuration and the origin. The
// tensors are those of PEFT's adapter_model.safetensors.
func (a *Adapter) Save(path string) error { return a.SaveWith(path, nil) }

// SaveWith is Save with small files by their paths in the same folder: all get their names, or none.
func (a *Adapter) SaveWith(path string, beside map[string][]byte) error {
	meta, err := a.Metadata()
	if err != nil {
		return err
	}
	files := []atomicfile.Content{{Path: path, Fill: func(w io.Writer) error {
		return safetensors.Write(w, meta, a.items())
	}}}
	for _, path := range slices.Sorted(maps.Keys(beside)) {
		files = append(files, atomicfile.Content{Path: path, Fill: func(w io.Writer) error {
			_, err := w.Write(beside[path])
			return err
		}})
	}
	return atomicfile.WriteAll(files...)
}

// Metadata is what Save writes beside the tensors.
func (a *Adapter) Metadata() (map[string]string, error) {
	config, err := json.Marshal(a.Config)
	if err != nil {
		return nil, err
	}
	meta := map[string]string{"format": "pt", MetaConfig: string(config)}
	if a.Config.InputsInA {
		meta[metaParameters] = inputsInA
	}
	o := &a.Origin
	for key, value := range map[string]string{
		metaVersion: o.Version, metaBase: nameOf(o.Base), MetaBaseSHA256: o.BaseSHA256, metaArchitecture: o.Architecture,
		metaTemplate: a.Config.Template, metaMaster: o.Master,
	} {
		if value != "" {
			meta[key] = value
		}
	}
	if a.Config.Classes != nil {
		classes, err := json.Marshal(a.Config.Classes)
		if err != nil {
			return nil, err
		}
		meta[metaClasses] = string(classes)
	}
	if a.Config.Quantized != nil {
		settings, err := json.Marshal(a.Config.Quantized)
		if err != nil {
			return nil, err
		}
		meta[MetaQuantized] = string(settings)
	}
	if o.Training != nil {
		training, err := json.Marshal(o.Training)
		if err != nil {
			return nil, err
		}
		meta[MetaTraining] = string(training)
	}
	return meta, nil
}

// nameOf is the name of a file without the folders of the machine that it is on. Of what is no path from a root, such
// as the name of a repository, it is all.
func nameOf(path string) string {
	if !filepath.IsAbs(path) {
		return path
	}
	return filepath.Base(path)
}

// Items are tensors ready to be written, each name with a prefix.
func Items(params []Param, prefix string) []safetensors.Item {
	out := make([]safetensors.Item, len(params))
	for i, p := range params {
		shape := make([]int64, len(p.Shape))
		for j, d := range p.Shape {
			shape[j] = int64(d)
		}
		out[i] = safetensors.Item{Name: prefix + p.Name, DType: "F32", Shape: shape, Data: floats.LittleEndian(p.Data)}
	}
	return out
}

// items are the tensors of a file of the adapter, of the type Stored.
func (a *Adapter) items() []safetensors.Item {
	params := a.FileParams()
	items := Items(params, "")
	if a.Stored != gguf.F32 {
		for i, p := range params {
			items[i].DType = model.Dtypes[a.Stored]
			items[i].Data = floats.Encode(a.Stored, p.Data, len(p.Data))
		}
	}
	return append(items, a.BlockItems()...)
}

// BlockItems are the tensors of Config.Blocks.
func (a *Adapter) BlockItems() (items []safetensors.Item) {
	for _, module := range slices.Sorted(maps.Keys(a.Config.Blocks)) {
		items = append(items, a.Config.Blocks[module].Item(ParamPrefix, module))
	}
	return items
}

// SaveDir writes the adapter as a directory that PEFT loads: adapter_config.json, adapter_model.safetensors and a
// short README.md. An adapter in an existing directory is replaced whole, and what else is there stays.
func (a *Adapter) SaveDir(dir string) error {
	return a.SaveDirAs(dir, a.Config, WeightsFile, map[string]string{"README.md": a.card()})
}

// SaveDirAs writes a directory of a configuration, a file of tensors and some texts by name.
func (a *Adapter) SaveDirAs(dir string, config any, weights string, texts map[string]string) error {
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	meta, err := a.Metadata()
	if err != nil {
		return err
	}
	return atomicfile.WriteDir(dir, isPart, func(dir string) error {
		err := atomicfile.Write(filepath.Join(dir, weights), func(w io.Writer) error {
			return safetensors.Write(w, meta, a.items())
		})
		if err != nil {
			return err
		}
		for name, text := range texts {
			if err := WriteText(filepath.Join(dir, name), text); err != nil {
				return err
			}
		}
		return WriteText(filepath.Join(dir, ConfigFile), string(text)+"\n")
	})
}

// card is a short model card, with the header that the Hugging Face hub reads.
func (a *Adapter) card() string {
	var b strings.Builder
	fmt.Fprintf(&b, "---\nlibrary_name: peft\npipeline_tag: text-generation\n")
	if a.Config.BaseModel != "" {
		base, _ := json.Marshal(a.Config.BaseModel) // JSON strings are YAML strings
		fmt.Fprintf(&b, "base_model: %s\n", base)
	}
	fmt.Fprintf(&b, "tags:\n- %s\n- peftconv\n---\n\n", strings.ToLower(a.Config.Method))
	fmt.Fprintf(&b, "# %s adapter\n\n", a.Config.Method)
	fmt.Fprintf(&b, "%s, %d trained values. Made with peftconv %s.\n", a.Describe(), a.Parameters(), Version)
	if o := &a.Origin; o.BaseSHA256 != "" {
		fmt.Fprintf(&b, "\nThe base it was trained over, %s (%s), has the SHA-256 `%s`.\n", filepath.Base(o.Base),
			o.Architecture, o.BaseSHA256)
	}
	if t := a.Origin.Training; t != nil {
		fmt.Fprintf(&b, "\nTrained for %d steps on %d tokens, learning rate %g (%s), seed %d.\n", t.Steps, t.Tokens,
			t.LearningRate, t.Schedule, t.Seed)
		if t.BaseLoss != nil && t.EvalLoss != nil {
			fmt.Fprintf(&b, "Loss on the evaluation data: %.4f, before %.4f.\n", *t.EvalLoss, *t.BaseLoss)
		}
	}
	return b.String()
}

// WriteText writes a small file.
func WriteText(path, text string) error {
	return atomicfile.Write(path, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
}

// isPart says whether a file of a directory is part of an adapter, of whatever program.
func isPart(name string) bool {
	return name == ConfigFile || name == "adapter.safetensors" || strings.HasPrefix(name, "adapter_model.") ||
		strings.HasPrefix(name, "pytorch_adapter.")
}

// Load reads an adapter: a file written by Save or by a training run's checkpoint, a PEFT directory, or a directory's
// adapter_model.safetensors. Errors name the file, and what in it is not supported or does not fit together.
func Load(path string) (*Adapter, error) {
	a, err := load(path)
	if err != nil {
		return nil, fmt.Errorf("load adapter %s: %w", path, err)
	}
	return a, nil
}

func load(path string) (*Adapter, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if IsGGUF(path) {
		return nil, ErrNeedsBase
	}
	dir, file := filepath.Dir(path), path
	if info.IsDir() {
		dir = path
		if file, err = weightsIn(dir); err != nil {
			return nil, err
		}
	}
	f, err := safetensors.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	config, err := findConfig(f, dir, info.IsDir())
	if err != nil {
		return nil, err
	}
	for _, l := range layouts {
		if l.Matches(config) {
			return l.Read(f, config)
		}
	}
	return ReadAdapter(f, config)
}

// ErrNeedsBase is the error of a GGUF adapter that is loaded without its base.
var ErrNeedsBase = errors.New("the tensors of a GGUF adapter are named and ordered as its base has them: name the base")

// IsGGUF reports whether a path is that of a GGUF file, by its first bytes or, where there is no such file, its name.
func IsGGUF(path string) bool {
	head := make([]byte, 4)
	f, err := infile.Open(path)
	if err != nil {
		return strings.EqualFold(filepath.Ext(path), ".gguf")
	}
	defer f.Close()
	if _, err := io.ReadFull(f, head); err != nil {
		return false
	}
	return string(head) == "GGUF"
}

// Layout is how another program than PEFT lays out a directory of an adapter.
type Layout struct {
	Weights string                                                     // name of the file with the tensors
	Matches func(config []byte) bool                                   // whether an adapter_config.json is of this layout
	Read    func(f *safetensors.File, config []byte) (*Adapter, error) // makes the adapter
}

// layouts are all of them.
var layouts []Layout

// RegisterLayout adds one.
func RegisterLayout(l Layout) { layouts = append(layouts, l) }

// weightsIn is the file of a directory that holds the tensors.
func weightsIn(dir string) (string, error) {
	for _, l := range layouts {
		if HasFile(dir, l.Weights) {
			return filepath.Join(dir, l.Weights), nil
		}
	}
	return filepath.Join(dir, WeightsFile), checkDir(dir)
}

// IsWeightsFile reports the name of a file of a directory that holds the tensors of an adapter.
func IsWeightsFile(name string) bool {
	return name == WeightsFile || slices.ContainsFunc(layouts, func(l Layout) bool { return l.Weights == name })
}

// checkDir says what is missing in a directory that should hold an adapter.
func checkDir(dir string) error {
	has := func(name string) bool { return HasFile(dir, name) }
	switch {
	case has(WeightsFile) && has(ConfigFile):
		return nil
	case has(WeightsFile):
		return fmt.Errorf("the directory has no %s", ConfigFile)
	case has("adapter_model.bin"):
		return fmt.Errorf("adapter_model.bin is a Python pickle, which " +
			"is not read: save the adapter as safetensors (PEFT's default)")
	}
	return fmt.Errorf("the directory has no %s: not a PEFT adapter", WeightsFile)
}

// findConfig is the configuration in a file's metadata, or in adapter_config.json beside it; in a directory that file
// counts.
func findConfig(f *safetensors.File, dir string, isDir bool) ([]byte, error) {
	if config, ok := f.Metadata[MetaConfig]; ok && !isDir {
		return []byte(config), nil
	}
	config, err := infile.Read(filepath.Join(dir, ConfigFile), infile.Config)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no %s in the file's metadata and no %s beside it: not an adapter", MetaConfig, ConfigFile)
	}
	return config, err
}

// ReadAdapter makes an adapter of a file and its configuration.
func ReadAdapter(f *safetensors.File, config []byte) (*Adapter, error) {
	a := &Adapter{}
	if err := json.Unmarshal(config, &a.Config); err != nil {
		return nil, fmt.Errorf("adapter config: %w", err)
	}
	a.Config.Template = f.Metadata[metaTemplate]
	if classes, ok := f.Metadata[metaClasses]; ok {
		if err := json.Unmarshal([]byte(classes), &a.Config.Classes); err != nil {
			return nil, fmt.Errorf("metadata %s: %w", metaClasses, err)
		}
	}
	if err := a.Config.ReadQuantized(f.Metadata[MetaQuantized]); err != nil {
		return nil, err
	}
	if err := a.ReadOrigin(f.Metadata); err != nil {
		return nil, err
	}
	a.Config.InputsInA = f.Metadata[metaParameters] == inputsInA
	shapes, inFile := map[string][]int{}, map[string]string{}
	for _, t := range f.Tensors {
		if isMoment(t.Name) || a.copies.add(f, t.Name) {
			continue
		}
		stored, err := a.addBlocks(t)
		if err != nil {
			return nil, err
		}
		if stored {
			continue
		}
		name, err := a.Config.tensorName(t.Name)
		if err != nil {
			return nil, err
		}
		if other, twice := inFile[name]; twice {
			return nil, fmt.Errorf("tensors %q and %q are of the same parameter", other, t.Name)
		}
		shapes[name], inFile[name] = Ints(t.Shape), t.Name
	}
	a.Allocate(shapes)
	named := slices.Clone(a.Tensors)
	for i := range named {
		named[i].Name = inFile[named[i].Name]
	}
	if err := ReadParams(f, "", named); err != nil {
		return nil, err
	}
	a.InFile = typeOf(f)
	a.turn(a.Config.turned(shapes))
	var err error
	a.Method, err = NewMethod(&a.Config, a.Tensors)
	return a, err
}

// addBlocks takes a tensor that holds blocks, and reports whether it does.
func (a *Adapter) addBlocks(t *safetensors.Tensor) (bool, error) {
	p, module, ok, err := requant.ReadPacked(t, ParamPrefix)
	if ok && err == nil {
		if a.Config.Blocks == nil {
			a.Config.Blocks = map[string]requant.Packed{}
		}
		a.Config.Blocks[module] = p
	}
	return ok, err
}

// typeOf is Adapter.InFile of a file.
func typeOf(f *safetensors.File) gguf.Type {
	for t, name := range model.Dtypes {
		if !slices.ContainsFunc(f.Tensors, func(x *safetensors.Tensor) bool { return x.DType != name }) {
			return t
		}
	}
	return gguf.F32
}

// Ints is a shape in ints.
func Ints(shape []int64) []int {
	out := make([]int, len(shape))
	for i, d := range shape {
		out[i] = int(d)
	}
	return out
}

// ReadParams fills tensors from those of a file whose names have a prefix. A value that is not finite is an error.
func ReadParams(f *safetensors.File, prefix string, params []Param) error {
	for _, p := range params {
		t := f.Tensor(prefix + p.Name)
		if t == nil || !equalShape(t.Shape, p.Shape) {
			return fmt.Errorf("tensor %q is missing or not of shape %v", prefix+p.Name, p.Shape)
		}
		x, err := t.Float32s()
		if err != nil {
			return fmt.Errorf("tensor %q: %w", prefix+p.Name, err)
		}
		if i := floats.FirstNonFinite(x); i >= 0 {
			return fmt.Errorf("tensor %q: value %d is %v", prefix+p.Name, i, x[i])
		}
		copy(p.Data, x)
	}
	return nil
}

func equalShape(a []int64, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != int64(b[i]) {
			return false
		}
	}
	return true
}

// ReadOrigin reads what Save writes of the origin; files of other programs have none of it.
func (a *Adapter) ReadOrigin(meta map[string]string) error {
	a.Origin = Origin{
		Base: meta[metaBase], BaseSHA256: meta[MetaBaseSHA256],
		Architecture: meta[metaArchitecture], Version: meta[metaVersion], Master: meta[metaMaster],
	}
	if training, ok := meta[MetaTraining]; ok {
		if err := json.Unmarshal([]byte(training), &a.Origin.Training); err != nil {
			return fmt.Errorf("metadata %s: %w", MetaTraining, err)
		}
	}
	return nil
}

// A checkpoint is an adapter's file with two more tensors for each, the moments of AdamW, and with the run's state
// and options in its metadata. Rows are in the order of the Hugging Face checkpoint, as in every adapter file.
const (
	FirstMoment  = "optimizer.m."
	SecondMoment = "optimizer.v."
	MethodState  = "optimizer.state." // of the method, where it has any
	// of a run that keeps the best adapter of its evaluations: its values, and the method's state with it
	BestValues = "optimizer.best."
	BestState  = "optimizer.best_state."
)

// isMoment reports whether a tensor of a checkpoint belongs to the optimizer or is the method's state.
func isMoment(name string) bool {
	return strings.HasPrefix(name, FirstMoment) || strings.HasPrefix(name, SecondMoment) ||
		strings.HasPrefix(name, MethodState) || strings.HasPrefix(name, BestValues) || strings.HasPrefix(name, BestState)
}

// HashAdapter is a hash of an adapter's configuration and tensors, by which a merged file says what is in it.
func HashAdapter(a *Adapter) (string, error) {
	config, err := a.Config.MarshalJSON()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	h.Write(config)
	if a.Config.Quantized != nil {
		settings, err := json.Marshal(a.Config.Quantized)
		if err != nil {
			return "", err
		}
		h.Write(settings)
	}
	for _, p := range a.Tensors {
		fmt.Fprintf(h, "\n%s %v\n", p.Name, p.Shape)
		h.Write(floats.LittleEndian(p.Data))
	}
	for _, item := range a.BlockItems() {
		fmt.Fprintf(h, "\n%s %v\n", item.Name, item.Shape)
		h.Write(item.Data)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
