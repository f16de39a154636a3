package modelcard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/infile"
)

// Options are what a user says about a model.
type Options struct {
	Metadata string // a JSON file of keys, named as in a GGUF file, and their values; "": none
	Name     string // general.name; "": it is found
	ID       string // "owner/name", read in place of the directory's name where that says nothing, as in a cache
}

// Card is what a directory and its user say about a model.
type Card struct {
	id         string // of the directory
	configID   string // _name_or_path of config.json, "" where it names no model
	readme     *frontMatter
	generation map[string]any
	override   map[string]any
	overridden string // the file of override
	options    Options
	notes      []string
}

// Read reads what a model directory says. config is its config.json as it stands in the file.
func Read(dir string, config map[string]any, o Options) (*Card, error) {
	c := &Card{options: o, id: o.ID}
	if c.id == "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		c.id = filepath.Base(abs)
	}
	if id, ok := config["_name_or_path"].(string); ok && strings.Count(id, "/") <= 1 {
		c.configID = id // otherwise it is a folder of another machine
	}
	var err error
	if c.readme, err = readFrontMatter(dir); err != nil {
		return nil, err
	}
	if err := c.readGeneration(filepath.Join(dir, "generation_config.json")); err != nil {
		return nil, err
	}
	return c, c.readOverride()
}

// Notes say what was left out, and why.
func (c *Card) Notes() []string { return c.notes }

// readGeneration reads generation_config.json where it is there. One that is no JSON is left out, as llama.cpp's
// converter does: such files exist.
func (c *Card) readGeneration(path string) error {
	data, err := infile.Read(path, infile.Config)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := decode(data, &c.generation); err != nil {
		c.notes = append(c.notes, fmt.Sprintf("%s is no JSON object and was left out: %v", path, err))
		c.generation = nil
	}
	return nil
}

// decode reads JSON and keeps numbers as they are written.
func decode(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(into)
}

// readOverride reads the user's file.
func (c *Card) readOverride() error {
	c.overridden = c.options.Metadata
	if c.overridden == "" {
		return nil
	}
	data, err := infile.ReadStream(c.overridden, infile.Config)
	if err != nil {
		return fmt.Errorf("--metadata: %w", err)
	}
	if err := decode(data, &c.override); err != nil {
		return fmt.Errorf("--metadata: %s: expected a JSON object of keys and values: %w", c.overridden, err)
	}
	var unknown []string
	for key := range c.override {
		if !slices.ContainsFunc(overridable(), func(k string) bool { return k == key }) {
			unknown = append(unknown, key)
		}
	}
	slices.Sort(unknown)
	for _, key := range unknown {
		c.notes = append(c.notes, fmt.Sprintf("%s: %q is no key that can be set so and was left out; keys are %s",
			c.overridden, key, strings.Join(overridable(), ", ")))
	}
	return nil
}

// sampling are the keys below general.sampling, the type of each, and where they are in generation_config.json.
var sampling = []struct {
	key  string
	set  func(meta *gguf.Metadata, key string, v any) error
	from []string
}{
	{"sequence", setText, []string{"sequence"}},
	{"top_k", setInt, []string{"top_k"}},
	{"top_p", setFloat, []string{"top_p"}},
	{"min_p", setFloat, []string{"min_p"}},
	{"xtc_probability", setFloat, []string{"xtc_probability"}},
	{"xtc_threshold", setFloat, []string{"xtc_threshold"}},
	{"temp", setFloat, []string{"temperature"}},
	{"penalty_last_n", setInt, []string{"penalty_last_n"}},
	{"penalty_repeat", setFloat, []string{"penalty_repeat", "repetition_penalty"}},
	{"mirostat", setInt, []string{"mirostat"}},
	{"mirostat_tau", setFloat, []string{"mirostat_tau"}},
	{"mirostat_eta", setFloat, []string{"mirostat_eta"}},
}

// Generation goes through the settings of sampling that a GGUF file recommends, under the names that
// generation_config.json has for them: numbers and texts.
func Generation(meta *gguf.Metadata) iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for _, s := range sampling {
			value, ok := meta.Get(general + "sampling." + s.key)
			if ok && !yield(s.from[len(s.from)-1], value.Any()) {
				return
			}
		}
	}
}

// texts are the keys of general.* with a text, in the order of the file, and where they are in the front matter. Lists
// of works stand behind them.
var texts = []struct {
	key  string
	from []string
}{
	{"name", []string{"name", "model_name"}},
	{"author", []string{"author", "model_author", "model_creator"}},
	{"version", []string{"version", "model_version"}},
	{"organization", []string{"organization", "model_organization"}},
	{"finetune", []string{"finetune", "model_finetune"}},
	{"basename", []string{"basename", "model_basename", "model_type"}},
	{"description", []string{"description", "model_description"}},
	{"quantized_by", nil},
	{"size_label", []string{"size_label", "model_size_label"}},
	{"license", []string{"license"}},
	{"license.name", []string{"license_name"}},
	{"license.link", []string{"license_link"}},
	{"url", nil},
	{"doi", nil},
	{"uuid", nil},
	{"repo_url", nil},
	{"source.url", []string{"url", "model_url"}},
	{"source.doi", []string{"doi", "model_doi"}},
	{"source.uuid", []string{"uuid", "model_uuid"}},
	{"source.repo_url", []string{"repo_url", "model_repo_url"}},
}

// lists are the keys of general.* with a list of texts.
var lists = []struct {
	key  string
	from []string
}{
	{"tags", []string{"tags", "pipeline_tag"}},
	{"languages", []string{"languages", "language"}},
}

// origins are the works that a model was made from: the key in the file, that of the user's file, and those in the
// front matter.
var origins = []struct {
	key, override string
	from          []string
}{
	{"base_model", "general.base_models", []string{"base_model", "base_models", "base_model_sources"}},
	{"dataset", "general.datasets", []string{"datasets", "dataset", "dataset_sources"}},
}

// workKeys are the keys of a work, in the order of the file.
var workKeys = []string{"name", "author", "version", "organization", "description", "url", "doi", "uuid", "repo_url"}

// general begins all keys here.
const general = "general."

// overridable are the keys that a user's file can have.
func overridable() []string {
	var keys []string
	for _, s := range sampling {
		keys = append(keys, general+"sampling."+s.key)
	}
	for _, t := range texts {
		keys = append(keys, general+t.key)
	}
	for _, o := range origins {
		keys = append(keys, o.override)
	}
	for _, l := range lists {
		keys = append(keys, general+l.key)
	}
	return keys
}

func setText(meta *gguf.Metadata, key string, v any) error {
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("is %v, expected a text", v)
	}
	if s == "" {
		return nil
	}
	return meta.Set(key, s)
}

func setInt(meta *gguf.Metadata, key string, v any) error {
	f, ok := number(v)
	if !ok || f != math.Trunc(f) || math.Abs(f) > math.MaxInt32 {
		return fmt.Errorf("is %v, expected a whole number", v)
	}
	return meta.Set(key, int32(f))
}

func setFloat(meta *gguf.Metadata, key string, v any) error {
	f, ok := number(v)
	if !ok {
		return fmt.Errorf("is %v, expected a number", v)
	}
	return meta.Set(key, float32(f))
}

func number(v any) (float64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	f, err := n.Float64()
	return f, err == nil
}

// Set writes the keys of general.* from general.sampling to general.languages, in this order.
func (c *Card) Set(meta *gguf.Metadata, p Parameters) error {
	if err := c.setSampling(meta); err != nil {
		return err
	}
	values, err := c.texts(p)
	if err != nil {
		return err
	}
	for i, t := range texts {
		if values[i] == "" {
			continue
		}
		if err := meta.Set(general+t.key, values[i]); err != nil {
			return err
		}
	}
	for i := range origins {
		if err := c.setOrigin(meta, i, p); err != nil {
			return err
		}
	}
	return c.setLists(meta)
}

func (c *Card) setSampling(meta *gguf.Metadata) error {
	for _, s := range sampling {
		key := general + "sampling." + s.key
		value, where := any(nil), "generation_config.json: "
		for _, from := range s.from {
			if v := c.generation[from]; value == nil && v != nil {
				value, where = v, where+from
			}
		}
		if v, ok := c.override[key]; ok {
			value, where = v, c.overridden+": "+key
		}
		if value == nil {
			continue
		}
		if err := s.set(meta, key, value); err != nil {
			return fmt.Errorf("%s %w", where, err)
		}
	}
	return nil
}

// texts are the values of texts, "" for those that nothing says.
func (c *Card) texts(p Parameters) ([]string, error) {
	fallback := map[string]string{}
	for _, id := range []string{c.id, c.configID} {
		for key, value := range cutName(id, p.Total).keys() {
			if value != "" {
				fallback[key] = value
			}
		}
	}
	values := make([]string, len(texts))
	for i, t := range texts {
		var given bool
		var err error
		if values[i], given, err = c.text(t.key, t.from); err != nil {
			return nil, err
		}
		if t.key == "name" && c.options.Name != "" {
			values[i] = c.options.Name
		}
		if values[i] == "" && !given {
			values[i] = fallback[t.key]
		}
		if t.key == "name" && values[i] == "" {
			values[i] = c.id
		}
		if t.key == "size_label" && values[i] == "" && p.Total > 0 {
			values[i] = p.label()
		}
	}
	return values, nil
}

// keys are the parts by the keys of general.* that they fill.
func (p parts) keys() map[string]string {
	return map[string]string{"name": title(p.name), "organization": title(p.organization), "basename": p.basename,
		"finetune": p.finetune, "version": p.version, "size_label": p.sizeLabel}
}

// text is a value that the user's file or else the front matter has. given: it is from the former, which may take a
// value away with null.
func (c *Card) text(key string, from []string) (value string, given bool, err error) {
	if v, ok := c.override[general+key]; ok {
		value, isText := v.(string)
		if !isText && v != nil {
			return "", true, fmt.Errorf("%s: %s%s is %v, expected a text", c.overridden, general, key, v)
		}
		return value, true, nil
	}
	for _, name := range from {
		if key == "license" { // the one that may be a list
			values, _, err := c.readme.list(name)
			return strings.Join(values, ","), false, err
		}
		value, ok, err := c.readme.text(name)
		if ok || err != nil {
			return value, false, err
		}
	}
	return "", false, nil
}

// setOrigin writes how many works of a kind there are, and what is known of each.
func (c *Card) setOrigin(meta *gguf.Metadata, i int, p Parameters) error {
	o := origins[i]
	works, ok, err := c.readme.works(p.Total, o.from...)
	if err != nil {
		return err
	}
	if given, has := c.override[o.override]; has {
		if works, err = givenWorks(given); err != nil {
			return fmt.Errorf("%s: %s: %w", c.overridden, o.override, err)
		}
		ok = given != nil
	}
	if !ok {
		return nil
	}
	if err := meta.Set(general+o.key+".count", uint32(len(works))); err != nil {
		return err
	}
	for n, w := range works {
		for _, key := range workKeys {
			if w[key] == "" {
				continue
			}
			if err := meta.Set(fmt.Sprintf("%s%s.%d.%s", general, o.key, n, key), w[key]); err != nil {
				return err
			}
		}
	}
	return nil
}

// givenWorks are the works that a user's file lists.
func givenWorks(given any) ([]work, error) {
	if given == nil {
		return nil, nil
	}
	list, ok := given.([]any)
	if !ok {
		return nil, fmt.Errorf("is %v, expected a list of objects", given)
	}
	var all []work
	for n, item := range list {
		object, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("number %d is %v, expected an object", n, item)
		}
		w := work{}
		for key, value := range object {
			text, ok := value.(string)
			if !ok || !slices.Contains(workKeys, key) {
				return nil, fmt.Errorf("number %d has %q: %v, expected texts under %s", n, key, value,
					strings.Join(workKeys, ", "))
			}
			w[key] = text
		}
		all = append(all, w)
	}
	return all, nil
}

func (c *Card) setLists(meta *gguf.Metadata) error {
	for _, l := range lists {
		var values []string
		for _, from := range l.from {
			more, _, err := c.readme.list(from)
			if err != nil {
				return err
			}
			values = append(values, more...)
		}
		if given, ok := c.override[general+l.key]; ok {
			var err error
			if values, err = givenTexts(given); err != nil {
				return fmt.Errorf("%s: %s%s: %w", c.overridden, general, l.key, err)
			}
		}
		if len(values) == 0 {
			continue
		}
		if err := meta.Set(general+l.key, values); err != nil {
			return err
		}
	}
	return nil
}

func givenTexts(given any) ([]string, error) {
	if given == nil {
		return nil, nil
	}
	list, ok := given.([]any)
	if !ok {
		return nil, fmt.Errorf("is %v, expected a list of texts", given)
	}
	var all []string
	for n, item := range list {
		text, ok := item.(string)
		if !ok {
			return nil, fmt.Errorf("number %d is %v, expected a text", n, item)
		}
		all = append(all, text)
	}
	return all, nil
}

// FileName is the name that a GGUF file has by convention, with the ending .gguf: the basename or else the name, size,
// finetune, version and encoding ("F16", "Q4_K_M"). An empty encoding stands for a vocabulary alone.
func (c *Card) FileName(p Parameters, encoding string) (string, error) {
	values, err := c.texts(p)
	if err != nil {
		return "", err
	}
	value := func(key string) string {
		for i, t := range texts {
			if t.key == key {
				return strings.ReplaceAll(strings.TrimSpace(values[i]), " ", "-")
			}
		}
		return ""
	}
	name := value("basename")
	if name == "" {
		name = value("name")
	}
	all := []string{strings.ReplaceAll(name, "/", "-"), value("size_label"), value("finetune"), value("version"),
		strings.ToUpper(encoding), ""}
	switch {
	case encoding == "":
		all[1], all[4] = "", "vocab"
	case p.Total < 0:
		all[5] = "LoRA"
	}
	all = slices.DeleteFunc(all, func(s string) bool { return s == "" })
	return strings.NewReplacer("/", "-", string(filepath.Separator), "-").Replace(strings.Join(all, "-")) + ".gguf", nil
}
