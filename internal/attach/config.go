package attach

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/dataset"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/peft/method"
)

// BiasPart is the bias of a linear map, (out).
const BiasPart = "bias"

// Classes says that records are classified: by a head over the last token, or by the words of a label.
type Classes = dataset.Classes

// MethodLoRA is the peft_type of low-rank adapters.
const MethodLoRA = "LORA"

// Config says what an adapter is: the fields of PEFT's adapter_config.json that have a meaning here, under PEFT's
// names in JSON. Reading refuses, by name, every other field whose value would change the result.
type Config struct {
	Method       string             // peft_type: "LORA"
	BaseModel    string             // base_model_name_or_path: what PEFT loads the adapter onto
	Rank         int                // r
	Alpha        float64            // lora_alpha: the update is scaled by Alpha/rank
	RSLoRA       bool               // use_rslora: the update is scaled by Alpha/√rank
	Dropout      float64            // lora_dropout, in training
	Targets      Modules            // target_modules
	Exclude      Modules            // exclude_modules
	Layers       []int              // layers_to_transform; nil is all
	RankPattern  map[string]int     // rank_pattern: module name, suffix or regular expression -> rank
	AlphaPattern map[string]float64 // alpha_pattern, likewise
	// init_lora_weights: method.InitKaiming ("" is the same), another of method.Inits, or what a file says
	Init     string
	DoRA     bool     // use_dora: magnitudes of the rows beside the pairs
	FanInOut bool     // fan_in_fan_out: Hugging Face's files have the weights as (in, out)
	Bias     string   // bias: method.BiasNone ("" is the same), method.BiasLoRA or method.BiasAll
	ToSave   []string // modules_to_save: what is trained whole, by the last parts of names
	TokenIDs []int32  // trainable_token_indices of the embedding table

	// Invocation is alora_invocation_tokens: the adapter acts from these tokens on, which is not computed here (Attach
	// refuses it), only kept and converted.
	Invocation []int32

	// Parameters is target_parameters: those that have a matrix for each expert, by the last parts of their names.
	Parameters []string
	// InputsInA says that the parameters of experts among them surely have A (experts·rank, in) and B (out,
	// rank·experts): files of PEFT may have both the other way round (turned). Kept like Template.
	InputsInA bool

	// Template says where virtual tokens stand among the fields of a record (ParseTemplate); "": before the text. It is
	// not part of adapter_config.json, where PEFT has no place for it, but of the metadata of the tensors' file.
	Template string
	// Classes are what the adapter classifies into, nil where it does not; kept like Template.
	Classes *Classes

	// Quantized says that the adapter is quantization-aware; nil where it is not. Kept like Template.
	Quantized *Quantized

	// Blocks are requantized blocks by module. Where they have tensors beside them these change the blocks further; else
	// they are all that the adapter has of the weight. They are tensors of their own in a file.
	Blocks map[string]requant.Packed

	Settings Settings // what the method is configured by, where it is not LoRA; the fields from Rank on are LoRA's
}

// Settings are the fields of adapter_config.json that one method has, beside those that all have; its type is a struct
// whose JSON is these fields.
type Settings interface {
	// Check reports values that the method cannot have.
	Check() error
}

// configFields are the fields of adapter_config.json that Config holds.
type configFields struct {
	Invocation   []int32            `json:"alora_invocation_tokens,omitempty"`
	AlphaPattern map[string]float64 `json:"alpha_pattern"`
	BaseModel    *string            `json:"base_model_name_or_path"`
	Bias         string             `json:"bias"`
	Exclude      *Modules           `json:"exclude_modules"`
	FanInFanOut  bool               `json:"fan_in_fan_out"`
	Inference    bool               `json:"inference_mode"`
	Init         any                `json:"init_lora_weights"`
	Layers       LayerList          `json:"layers_to_transform"`
	Parameters   []string           `json:"target_parameters,omitempty"`
	Pattern      any                `json:"layers_pattern"`
	Alpha        float64            `json:"lora_alpha"`
	Dropout      float64            `json:"lora_dropout"`
	ToSave       []string           `json:"modules_to_save"`
	Tokens       tokenList          `json:"trainable_token_indices,omitzero"`
	Method       string             `json:"peft_type"`
	Version      string             `json:"peft_version"`
	Rank         int                `json:"r"`
	RankPattern  map[string]int     `json:"rank_pattern"`
	Targets      *Modules           `json:"target_modules"`
	Task         string             `json:"task_type"`
	DoRA         bool               `json:"use_dora"`
	RSLoRA       bool               `json:"use_rslora"`
}

// peftVersion is the version of PEFT whose configurations ours are like.
const peftVersion = "0.20.0"

// MarshalJSON writes an adapter_config.json that PEFT loads. But for peft_version only fields that PEFT has had for
// years are written, so that older versions, which leave out or refuse fields they do not know, load it too.
func (c Config) MarshalJSON() ([]byte, error) {
	if c.Settings != nil {
		return c.marshalSettings()
	}
	f := configFields{
		AlphaPattern: c.AlphaPattern, Bias: "none", Inference: true, Init: true, Layers: c.Layers,
		Alpha: c.Alpha, Dropout: c.Dropout, Method: c.Method, Version: peftVersion, Rank: c.Rank, RankPattern: c.RankPattern,
		Task: "CAUSAL_LM", RSLoRA: c.RSLoRA, DoRA: c.DoRA, ToSave: c.ToSave, Tokens: c.TokenIDs,
		Parameters: c.Parameters, Invocation: c.Invocation, FanInFanOut: c.FanInOut,
	}
	if c.Bias != "" {
		f.Bias = c.Bias
	}
	if c.BaseModel != "" {
		f.BaseModel = &c.BaseModel
	}
	if !c.Targets.Empty() {
		f.Targets = &c.Targets
	}
	if !c.Exclude.Empty() {
		f.Exclude = &c.Exclude
	}
	if f.AlphaPattern == nil {
		f.AlphaPattern = map[string]float64{}
	}
	if f.RankPattern == nil {
		f.RankPattern = map[string]int{}
	}
	switch c.Init {
	case "", method.InitKaiming, method.InitLoftQ: // which PEFT would do again when it loads the adapter
	case "false":
		f.Init = false
	default:
		f.Init = c.Init
	}
	return json.Marshal(f)
}

// UnmarshalJSON reads an adapter_config.json. A method that is not known, a field that is not supported and a value
// that makes no sense are errors that name it.
func (c *Config) UnmarshalJSON(data []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	fam, err := methodIn(fields["peft_type"])
	if err != nil {
		return err
	}
	if fam.Settings != nil {
		return c.unmarshalSettings(fam, data, fields)
	}
	if err := checkFields(fields, fam.Allowed); err != nil {
		return err
	}
	f := configFields{Rank: 8, Alpha: 8} // PEFT's defaults
	if err := json.Unmarshal(data, &f); err != nil {
		return FieldError(err)
	}
	*c = Config{
		Method: f.Method, Rank: f.Rank, Alpha: f.Alpha, RSLoRA: f.RSLoRA, Dropout: f.Dropout, Layers: f.Layers,
		RankPattern: NonEmpty(f.RankPattern), AlphaPattern: NonEmpty(f.AlphaPattern), Init: initName(f.Init), DoRA: f.DoRA,
		ToSave: f.ToSave, TokenIDs: f.Tokens, Parameters: f.Parameters, Invocation: f.Invocation, FanInOut: f.FanInFanOut,
	}
	if f.Bias != method.BiasNone {
		c.Bias = f.Bias
	}
	if f.BaseModel != nil {
		c.BaseModel = *f.BaseModel
	}
	if f.Targets != nil {
		c.Targets = *f.Targets
	}
	if f.Exclude != nil {
		c.Exclude = *f.Exclude
	}
	return c.Check()
}

// FieldError says which field has a value of the wrong kind.
func FieldError(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("field %q is a %s, expected %v", wrong.Field, wrong.Value, wrong.Type)
	}
	return err
}

// NonEmpty turns an empty map into nil.
func NonEmpty[V any](m map[string]V) map[string]V {
	if len(m) == 0 {
		return nil
	}
	return m
}

// initName is Config.Init for a value of init_lora_weights that LoRAFields allows.
func initName(v any) string {
	switch v := v.(type) {
	case bool:
		if !v {
			return "false"
		}
	case string:
		return v
	}
	return method.InitKaiming
}

// MaxRank is more than the rank of any change of a weight.
const MaxRank = 1 << 24

// IsSingle reports a number that a float32 can be.
func IsSingle(x float64) bool { return math.Abs(x) <= math.MaxFloat32 }

// CheckSizes reports ranks and alphas of modules that no adapter can have.
func CheckSizes(ranks map[string]int, alphas map[string]float64) error {
	for key, r := range ranks {
		if r < 1 || r > MaxRank {
			return fmt.Errorf("rank_pattern gives %q rank %d, expected 1 to %d", key, r, MaxRank)
		}
	}
	for key, alpha := range alphas {
		if !IsSingle(alpha) {
			return fmt.Errorf("alpha_pattern gives %q alpha %v, expected a finite number", key, alpha)
		}
	}
	return nil
}

// Check reports values that an adapter of its method cannot have.
func (c *Config) Check() error {
	if c.Settings != nil {
		return c.Settings.Check()
	}
	switch {
	case c.Rank < 1 || c.Rank > MaxRank:
		return fmt.Errorf("rank %d, expected 1 to %d", c.Rank, MaxRank)
	case c.Dropout < 0 || c.Dropout >= 1 || math.IsNaN(c.Dropout):
		return fmt.Errorf("dropout %v, expected 0 or more and less than 1", c.Dropout)
	case !IsSingle(c.Alpha):
		return fmt.Errorf("alpha %v, expected a finite number", c.Alpha)
	}
	return errors.Join(CheckSizes(c.RankPattern, c.AlphaPattern), CheckPatterns(c.RankPattern),
		CheckPatterns(c.AlphaPattern), c.Targets.Check(), c.Exclude.Check())
}

// methodIn is the family that a peft_type names; one that is missing or not supported is an error.
func methodIn(raw json.RawMessage) (*Family, error) {
	var method string
	if err := json.Unmarshal(raw, &method); err != nil || method == "" {
		return nil, errors.New("no peft_type: not a PEFT adapter_config.json")
	}
	return familyOf(method)
}

// commonFields says of the fields that all methods have which values can be taken.
var commonFields = map[string]func(v any) bool{
	"peft_type": AnyValue, "base_model_name_or_path": AnyValue, "task_type": oneOf(nil, "CAUSAL_LM"),
	// These say nothing about the weights.
	"auto_mapping": AnyValue, "inference_mode": AnyValue, "peft_version": AnyValue, "revision": AnyValue,
}

// LoRAFields says the same of LoRA's.
var LoRAFields = map[string]func(v any) bool{
	"r": AnyValue, "lora_alpha": AnyValue, "lora_dropout": AnyValue,
	"fan_in_fan_out": AnyValue, // how the base stores weights
	"target_modules": AnyValue, "target_parameters": AnyValue, "exclude_modules": AnyValue,
	"layers_to_transform": AnyValue,
	"rank_pattern":        AnyValue, "alpha_pattern": AnyValue,
	"use_rslora": AnyValue, "use_dora": AnyValue, "modules_to_save": AnyValue,
	"trainable_token_indices": AnyValue, "alora_invocation_tokens": AnyValue,

	// These say something only together with a field that is refused.
	"megatron_core": AnyValue, "qalora_group_size": AnyValue,

	"bias":           oneOf("none", "all", "lora_only"),
	"layers_pattern": func(v any) bool { return IsOff(v) || oneOf("layers")(v) || isList(v, "layers") },
	"init_lora_weights": oneOf(nil, true, false, method.InitGaussian, "orthogonal", method.InitPiSSA, method.InitOLoRA,
		method.InitLoftQ), // of ours; PEFT has a loftq_config beside it, and takes it away from the base
}

// AnyValue allows every value of a field.
func AnyValue(any) bool { return true }

func oneOf(allowed ...any) func(any) bool {
	return func(v any) bool {
		switch v.(type) {
		case nil, bool, string, float64:
			return slices.Contains(allowed, v)
		}
		return false
	}
}

// isList reports whether v is a list of the one string.
func isList(v any, s string) bool {
	list, ok := v.([]any)
	return ok && len(list) == 1 && list[0] == any(s)
}

// IsOff reports whether a value is one at which a feature of PEFT is off.
func IsOff(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// checkFields refuses every field that asks for something this package does not do, all of them in one error. allowed
// are the rules of the method.
func checkFields(fields map[string]json.RawMessage, allowed map[string]func(v any) bool) error {
	var refused []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		var v any
		if err := json.Unmarshal(fields[name], &v); err != nil {
			return fmt.Errorf("field %q: %w", name, err)
		}
		takes, ok := allowed[name]
		if !ok {
			takes, ok = commonFields[name]
		}
		if !ok {
			takes = IsOff
		}
		if !takes(v) {
			refused = append(refused, fmt.Sprintf("%s = %s", name, compact(fields[name])))
		}
	}
	if refused != nil {
		return errkind.Errorf(errors.ErrUnsupported, "not supported: %s", strings.Join(refused, ", "))
	}
	return nil
}

// compact is JSON on one line.
func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return string(raw)
	}
	return b.String()
}

// tokenList reads trainable_token_indices: a list, or an object that names the embedding table.
type tokenList []int32

// UnmarshalJSON reads null, a list of numbers, or {"embed_tokens": list}.
func (l *tokenList) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, (*[]int32)(l)) == nil {
		return nil
	}
	var byModule map[string][]int32
	if err := json.Unmarshal(data, &byModule); err != nil {
		return err
	}
	for name, ids := range byModule {
		if len(byModule) > 1 || arch.IsHead(name) {
			return fmt.Errorf("trainable_token_indices names %q, expected the embedding table alone", name)
		}
		*l = ids
	}
	return nil
}

// LayerList reads layers_to_transform: null, one number or a list.
type LayerList []int

// UnmarshalJSON reads null, a number or a list of numbers.
func (l *LayerList) UnmarshalJSON(data []byte) error {
	var one int
	if err := json.Unmarshal(data, &one); err == nil && string(data) != "null" {
		*l = LayerList{one}
		return nil
	}
	return json.Unmarshal(data, (*[]int)(l))
}

// RankOf is the rank that the configuration gives a module.
func (c *Config) RankOf(module string) int {
	if r, ok := LookupPattern(c.RankPattern, c.key(module)); ok {
		return r
	}
	return c.Rank
}

// ScaleOf is the factor of B·A in a module.
func (c *Config) ScaleOf(module string) float64 {
	alpha := c.Alpha
	if a, ok := LookupPattern(c.AlphaPattern, c.key(module)); ok {
		alpha = a
	}
	if c.RSLoRA {
		return alpha / math.Sqrt(float64(c.RankOf(module)))
	}
	return alpha / float64(c.RankOf(module))
}

// ParamPrefix is what PEFT puts before the name of a module.
const ParamPrefix = "base_model.model."

// LoRAName is PEFT's name of a module's A or B.
func LoRAName(module, which string) string {
	return ParamPrefix + module + ".lora_" + which + ".weight"
}

// ParseLoRAName takes a tensor's name apart.
func ParseLoRAName(name string) (module, which string, ok bool) {
	module, ok = strings.CutPrefix(name, ParamPrefix)
	for _, which := range []string{"A", "B"} {
		if module, found := strings.CutSuffix(module, ".lora_"+which+".weight"); ok && found {
			return module, which, true
		}
	}
	return "", "", false
}

// TiedNote says why a base has no output head.
func TiedNote(b *Base) string {
	if b.Model.Spec.Tied {
		return ", and its output head is the embedding table"
	}
	return ""
}

// HasSuffix reports whether name is the module or its last dotted parts.
func HasSuffix(module, name string) bool {
	return module == name || strings.HasSuffix(module, "."+name)
}

// PartName is the name of a tensor.
func PartName(module, part string) string { return ParamPrefix + module + "." + part }

// DoubleRank doubles all ranks and leaves all scales.
func (c *Config) DoubleRank() {
	grow := 2.0
	if c.RSLoRA {
		grow = math.Sqrt2
	}
	c.Rank, c.Alpha, c.Init = 2*c.Rank, grow*c.Alpha, method.InitKaiming
	for key := range c.RankPattern {
		c.RankPattern[key] *= 2
	}
	for key := range c.AlphaPattern {
		c.AlphaPattern[key] *= grow
	}
}
