package attach

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
)

// commonSettings are the fields of adapter_config.json that every method has.
type commonSettings struct {
	BaseModel *string `json:"base_model_name_or_path"`
	Inference bool    `json:"inference_mode"`
	Method    string  `json:"peft_type"`
	Version   string  `json:"peft_version"`
	Task      string  `json:"task_type"`
}

// marshalSettings writes an adapter_config.json of what all methods have and of the settings, which may say another
// task.
func (c Config) marshalSettings() ([]byte, error) {
	common := commonSettings{Inference: true, Method: c.Method, Version: peftVersion, Task: "CAUSAL_LM"}
	if c.BaseModel != "" {
		common.BaseModel = &c.BaseModel
	}
	fields := map[string]json.RawMessage{}
	for _, part := range []any{common, c.Settings} {
		data, err := json.Marshal(part)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(data, &fields); err != nil { // adds to what is there
			return nil, err
		}
	}
	return json.Marshal(fields)
}

// unmarshalSettings reads an adapter_config.json of a method that has settings.
func (c *Config) unmarshalSettings(f *Family, data []byte, fields map[string]json.RawMessage) error {
	settings := f.Settings()
	allowed := maps.Clone(f.Allowed)
	if allowed == nil {
		allowed = map[string]func(v any) bool{}
	}
	for _, name := range jsonNames(settings) {
		if allowed[name] == nil {
			allowed[name] = AnyValue
		}
	}
	if err := checkFields(fields, allowed); err != nil {
		return err
	}
	var common commonSettings
	for _, part := range []any{&common, settings} {
		if err := json.Unmarshal(data, part); err != nil {
			return FieldError(err)
		}
	}
	*c = Config{Method: f.PeftType, Settings: settings}
	if common.BaseModel != nil {
		c.BaseModel = *common.BaseModel
	}
	return c.Check()
}

// jsonNames are the names that the fields of a struct, or of one pointed to, have in JSON.
func jsonNames(v any) []string {
	t := reflect.Indirect(reflect.ValueOf(v)).Type()
	var names []string
	for _, field := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}
