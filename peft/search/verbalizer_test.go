package search

import (
	"strings"
	"testing"
)

func TestVerbalizer(t *testing.T) {
	v, err := ParseVerbalizer([]string{"good", " bad"}, []string{"bad=awful| poor"})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(v.Words(), ","); got != "good,awful,poor" {
		t.Errorf("words %q", got)
	}
	if v.Index(" bad ") != 1 || v.Index("none") != -1 {
		t.Error("Index finds the wrong label")
	}
	for _, c := range []struct {
		labels, items []string
		want          string
	}{
		{[]string{"a"}, nil, "1 labels, expected two or more"},
		{[]string{"a", "a"}, nil, `"a" is empty or occurs twice`},
		{[]string{"a", "b"}, []string{"c=x"}, `"c" is none of the labels`},
		{[]string{"a", "b"}, []string{"a"}, "expected LABEL=WORD|WORD"},
		{[]string{"a", "b"}, []string{"a=x", "a=y"}, `two items for the label "a"`},
		{[]string{"a", "b"}, []string{"a=b"}, `the word "b" of "b" is empty or stands for "a" too`},
		{[]string{"a", "b"}, []string{"a=x|"}, "is empty"},
	} {
		if _, err := ParseVerbalizer(c.labels, c.items); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q %q: error %v, want %q in it", c.labels, c.items, err, c.want)
		}
	}
}
