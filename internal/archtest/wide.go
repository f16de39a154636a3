package archtest

import (
	"maps"
	"slices"
)

// What Wide makes of the cases: layers enough for rules about the first and the last sixteenth, and of each matrix no
// more rows than it takes to be one.
const (
	wideLayers = 18
	wideRows   = 2
)

// wide are sizes of rows that whole blocks of every type fit in, and those that follow from them.
var wide = map[string]int{
	"embedding_length": 256, "feed_forward_length": 512, "expert_feed_forward_length": 256,
	"expert_shared_feed_forward_length": 256, "embedding_length_per_layer_input": 256,
	"attention.q_lora_rank": 256, "attention.kv_lora_rank": 256, "attention.key_length_mla": 192,
	"attention.value_length_mla": 128, "ssm.inner_size": 512, "ssm.state_size": 64, "ssm.time_step_rank": 8,
	"attention.head_count": 8,
}

// wideRope are the sizes that RoPE turns in the cases whose heads Wide makes larger.
var wideRope = map[string]int{"rope.dimension_count": 64, "attention.key_length": 320, "attention.value_length": 256}

// Wide are the cases with rows that all types of quantization fit, with more layers, and with few rows: models to
// write in other types, not to run. Some are added: of eight experts, and of as many layers as the largest.
func Wide() []Model {
	var all []Model
	for _, m := range All() {
		all = append(all, m.wide())
	}
	add := func(from, name string, pairs ...any) {
		for _, m := range all {
			if m.Name == from {
				all = append(all, m.with(name, pairs...))
				return
			}
		}
		panic("archtest: no case " + from)
	}
	add("mixtral", "mixtral-eight", "expert_count", 8)
	add("llama", "llama-large", "block_count", 80)
	add("qwen2", "qwen2-large", "block_count", 80)
	add("olmo", "olmo-large", "block_count", 80, "attention.head_count_kv", 8)
	add("gemma4-experts", "gemma4-eight", "expert_count", 8)
	add("qwen35moe", "qwen35moe-eight", "expert_count", 8)
	add("granitehybrid-experts", "granitehybrid-eight", "expert_count", 8)
	return all
}

// with is the model with other metadata.
func (m Model) with(name string, pairs ...any) Model {
	m.Name, m.Fields = name, maps.Clone(m.Fields)
	for i := 0; i < len(pairs); i += 2 {
		m.Fields[pairs[i].(string)] = pairs[i+1]
	}
	return m
}

// Wider is the model with rows that K-quants divide.
func (m Model) Wider() Model {
	own := m.Fields["attention.head_count_kv"] == m.Fields["attention.head_count"]
	m = m.resized(func(list any) any { return list })
	if own {
		m.Fields["attention.head_count_kv"] = m.Fields["attention.head_count"]
	}
	return m
}

// wide is the model of Wide. What is listed for each layer is repeated for those that are added.
func (m Model) wide() Model {
	m = m.resized(func(list any) any {
		switch list := list.(type) {
		case []int:
			return repeat(list)
		case []bool:
			return repeat(list)
		}
		return list
	})
	m.Rows = wideRows
	drafts, _ := m.Fields["nextn_predict_layers"].(int)
	m.Fields["block_count"] = wideLayers + drafts
	return m
}

// resized is the model with other sizes; layers changes what is listed for each layer.
func (m Model) resized(layers func(list any) any) Model {
	m = m.with(m.Name)
	for key, v := range m.Fields {
		n, resized := wide[key]
		if _, latent := m.Fields["attention.kv_lora_rank"]; latent && wideRope[key] > 0 {
			n, resized = wideRope[key], true
		}
		switch x := v.(type) {
		case int:
			if resized && x > 0 {
				m.Fields[key] = n
			}
		case []int:
			if key == "rope.dimension_sections" {
				continue
			}
			list := slices.Clone(layers(x).([]int))
			for i := range list {
				if resized && list[i] > 0 {
					list[i] = n
				}
			}
			m.Fields[key] = list
		case []bool:
			m.Fields[key] = layers(x)
		}
	}
	return m
}

func repeat[T any](list []T) []T {
	out := make([]T, wideLayers)
	for i := range out {
		out[i] = list[i%len(list)]
	}
	return out
}
