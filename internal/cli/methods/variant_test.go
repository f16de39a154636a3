package methods

import (
	"slices"
	"testing"
)

func TestVariants(t *testing.T) {
	variants, err := ParseVariants([]string{"lora:dora=true", "rank=4", "adapter:placement=serial-pfeiffer",
		"lora:targets=q_proj,v_proj,lr=1e-4"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, v := range variants {
		texts = append(texts, v.Text)
	}
	if want := []string{"lora:dora=true,rank=4", "adapter:placement=serial-pfeiffer",
		"lora:targets=q_proj,v_proj,lr=1e-4"}; !slices.Equal(texts, want) {
		t.Errorf("variants %q, want %q", texts, want)
	}
	if m := variants[0].Method; m.rank != 4 {
		t.Errorf("rank %d, want 4", m.rank)
	}
	if v := variants[2]; !slices.Equal(v.Method.targets, []string{"q_proj", "v_proj"}) || v.LR != 1e-4 {
		t.Errorf("targets %q and rate %v", v.Method.targets, v.LR)
	}
	all, err := ParseVariants([]string{"all"}, nil)
	if err != nil || len(all) != len(Trainable()) {
		t.Errorf("all: %d methods, want %d: %v", len(all), len(Trainable()), err)
	}
}
