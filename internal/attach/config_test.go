package attach_test

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	_ "github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/peft/method"
)

// TestConfigOfPEFT reads a file that PEFT 0.20 wrote.
func TestConfigOfPEFT(t *testing.T) {
	data, err := os.ReadFile("testdata/adapter_config.json")
	if err != nil {
		t.Fatal(err)
	}
	var c attach.Config
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	want := attach.Config{
		Method: "LORA", BaseModel: "base", Rank: 8, Alpha: 16, Init: method.InitKaiming,
		Targets: attach.Modules{Names: []string{"down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj",
			"v_proj"}},
		RankPattern:  map[string]int{"down_proj": 2, "q_proj": 4},
		AlphaPattern: map[string]float64{"q_proj": 32},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("found %+v\nexpected %+v", c, want)
	}
	for module, want := range map[string]float64{
		"model.layers.0.self_attn.q_proj": 8, "model.layers.3.mlp.down_proj": 8, "model.layers.3.mlp.up_proj": 2,
	} {
		if got := c.ScaleOf(module); got != want {
			t.Errorf("scale of %s is %v, expected %v", module, got, want)
		}
	}
}

// TestConfigRoundTrip writes and reads configurations.
func TestConfigRoundTrip(t *testing.T) {
	for _, c := range []attach.Config{
		{Method: attach.MethodLoRA, Rank: 1, Alpha: 0.5, Init: method.InitKaiming},
		{Method: attach.MethodLoRA, Rank: 8, Alpha: 16, Dropout: 0.05, RSLoRA: true, Init: method.InitGaussian,
			BaseModel: "org/name",
			Targets:   attach.Modules{Regex: `.*\.[qv]_proj`},
			Exclude:   attach.Modules{Names: []string{"layers.0.self_attn.q_proj"}}, Layers: []int{0, 3}},
		{Method: attach.MethodLoRA, Rank: 8, Alpha: 16, Init: "false", Targets: attach.Modules{Names: []string{"q_proj"}},
			RankPattern: map[string]int{"q_proj": 4}, AlphaPattern: map[string]float64{"q_proj": 1}},
		{Method: attach.MethodLoRA, Rank: 8, Alpha: 16, Init: method.InitKaiming, DoRA: true, Bias: method.BiasAll,
			ToSave: []string{"lm_head"}, TokenIDs: []int32{3, 7}},
	} {
		data, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var back attach.Config
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back, c) {
			t.Errorf("%s\nfound %+v\nexpected %+v", data, back, c)
		}
	}
}

// TestConfigRefused reads configurations that must not be taken, and looks for the reason in the error.
func TestConfigRefused(t *testing.T) {
	with := func(field string) string { return `{"peft_type": "LORA", "r": 8, ` + field + `}` }
	for _, test := range []struct{ name, json, reason string }{
		{"not JSON", `{`, "JSON"},
		{"no method", `{"r": 8}`, "no peft_type"},
		{"other method", `{"peft_type": "XLORA"}`, `peft_type "XLORA"`},
		{"other method of a number", `{"peft_type": 3}`, "no peft_type"},
		{"bias of the future", with(`"bias": "some"`), `bias = "some"`},
		{"bias of a list", with(`"bias": []`), `bias = []`},
		{"tokens of the head", with(`"trainable_token_indices": {"lm_head": [1]}`), `"lm_head"`},
		{"an init that moves the base", with(`"init_lora_weights": "pissa_niter_16"`),
			`init_lora_weights = "pissa_niter_16"`},
		{"replicated layers", with(`"layer_replication": [[0, 4], [2, 5]]`), "layer_replication = [[0,4],[2,5]]"},
		{"a field of the future", with(`"use_miracle": 1`), "use_miracle = 1"},
		{"two at once", with(`"use_qalora": true, "lora_bias": true`), "lora_bias = true, use_qalora = true"},
		{"another task", with(`"task_type": "SEQ_CLS"`), `task_type = "SEQ_CLS"`},
		{"another name of the layers", with(`"layers_pattern": "h"`), "layers_pattern"},
		{"rank 0", `{"peft_type": "LORA", "r": 0}`, "rank 0"},
		{"rank of text", `{"peft_type": "LORA", "r": "8"}`, `"r" is a string, expected int`},
		{"rank 0 of a module", with(`"rank_pattern": {"q_proj": 0}`), `"q_proj" rank 0`},
		{"dropout of 1", with(`"lora_dropout": 1`), "dropout 1"},
		{"bad expression", with(`"target_modules": "(q_proj"`), "(q_proj"},
		{"bad pattern", with(`"alpha_pattern": {"[": 3}`), `"["`},
		{"targets of a number", with(`"target_modules": 3`), "a string or a list"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var c attach.Config
			err := json.Unmarshal([]byte(test.json), &c)
			if err == nil || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("error %v, expected one with %q", err, test.reason)
			}
		})
	}
}

// TestConfigTaken reads values without a meaning or equal to the default.
func TestConfigTaken(t *testing.T) {
	for _, field := range []string{
		`"use_dora": false`, `"eva_config": null`, `"loftq_config": {}`, `"use_miracle": false`, `"layers_pattern": "layers"`,
		`"layers_pattern": ["layers"]`, `"task_type": null`, `"auto_mapping": {"base_model_class": "X"}`,
		`"layers_to_transform": 3`,
		`"init_lora_weights": "gaussian"`, `"peft_version": "0.99"`, `"megatron_core": "megatron.core"`,
	} {
		var c attach.Config
		if err := json.Unmarshal([]byte(`{"peft_type": "LORA", `+field+`}`), &c); err != nil {
			t.Errorf("%s: %v", field, err)
		}
		if c.Rank != 8 || c.Alpha != 8 {
			t.Errorf("%s: rank %d and alpha %v, expected PEFT's defaults", field, c.Rank, c.Alpha)
		}
	}
}

// FuzzConfig writes back what it could read and reads it again.
func FuzzConfig(f *testing.F) {
	data, err := os.ReadFile("testdata/adapter_config.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"peft_type": "LORA", "layers_to_transform": 1, "target_modules": "all-linear", "init_lora_weights": false}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c, back attach.Config
		if json.Unmarshal(data, &c) != nil {
			return
		}
		out, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out, &back); err != nil {
			t.Fatalf("%s\nwas written as\n%s\nwhich is refused: %v", data, out, err)
		}
		if len(c.Layers) == 0 && len(back.Layers) == 0 {
			c.Layers, back.Layers = nil, nil
		}
		if !reflect.DeepEqual(c, back) {
			t.Fatalf("%+v came back as %+v", c, back)
		}
	})
}
