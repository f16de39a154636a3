package attach

import (
	"reflect"
	"strings"
	"testing"
)

func TestModulesMatch(t *testing.T) {
	const q3 = "model.layers.3.self_attn.q_proj"
	for _, test := range []struct {
		modules Modules
		module  string
		want    bool
	}{
		{Modules{Names: []string{"q_proj"}}, q3, true},
		{Modules{Names: []string{"proj"}}, q3, false},
		{Modules{Names: []string{"self_attn.q_proj"}}, q3, true},
		{Modules{Names: []string{q3}}, q3, true},
		{Modules{Names: []string{"v_proj", "q_proj"}}, q3, true},
		{Modules{Names: []string{"v_proj"}}, q3, false},
		{Modules{Regex: `.*\.q_proj`}, q3, true},
		{Modules{Regex: `q_proj`}, q3, false},
		{Modules{Regex: `model\.layers\.[0-2]\..*`}, q3, false},
		{Modules{Regex: `.*\.[0-2]\..*|.*q_proj`}, q3, true},
		{Modules{Regex: `(?!.*vision).*(?:q|v)_proj`}, q3, true},
		{Modules{Regex: "all-linear"}, q3, true},
		{Modules{}, q3, false},
	} {
		if got := test.modules.Match(test.module); got != test.want {
			t.Errorf("%+v on %s is %v", test.modules, test.module, got)
		}
	}
}

func TestLookupPattern(t *testing.T) {
	patterns := map[string]int{"q_proj": 1, `layers\.[01]\.mlp\..*`: 2, "a.b": 3, "up_proj": 4}
	for module, want := range map[string]int{
		"model.layers.5.self_attn.q_proj": 1, "model.layers.1.mlp.up_proj": 2, "model.layers.2.mlp.up_proj": 4,
		"x.a.b": 3, "axb": 3, "q_proj": 1, "model.layers.5.self_attn.xq_proj": 0, "q_proj.k": 0,
	} {
		got, ok := LookupPattern(patterns, module)
		if got != want || ok != (want != 0) {
			t.Errorf("%s has %d, %v, expected %d", module, got, ok, want)
		}
	}
}

func TestParseLayers(t *testing.T) {
	for spec, want := range map[string][]int{
		"": nil, "all": nil, "0-9": nil, "first:10": nil, "first:2": {0, 1}, "last:3": {7, 8, 9}, "3-5,9": {3, 4, 5, 9},
		"4": {4}, "5,5,1-2,2": {1, 2, 5}, " 1 , 3 - 4 ": {1, 3, 4}, "first:1,last:1": {0, 9},
	} {
		got, err := ParseLayers(spec, 10)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q is %v, %v, expected %v", spec, got, err, want)
		}
	}
	for spec, reason := range map[string]string{
		"10": "out of range", "-1": "not a number", "last:11": "out of range", "last:0": "out of range", "3-1": "ends before",
		"x": "not a number", "1,,2": "not a number", "first:": "not a number", "0-10": "out of range",
	} {
		if got, err := ParseLayers(spec, 10); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%q is %v, %v, expected an error with %q", spec, got, err, reason)
		}
	}
}
