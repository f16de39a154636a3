package vocab

import (
	"reflect"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	for line, want := range map[string][]string{
		"":                  nil,
		"The red kite.":     {"The", "▁red", "▁kite", "."},
		`"No," said Anna.`:  {`"`, "No", ",", `"`, "▁said", "▁Anna", "."},
		`met: "It is`:       {"met", ":", `▁"`, "It", "▁is"},
		"two  spaces":       {"two", "▁", "▁spaces"},
		"Q: Who?":           {"Q", ":", "▁Who", "?"},
		"naïve":             {"na", "ï", "ve"},
		" leading and end ": {"▁leading", "▁and", "▁end", "▁"},
	} {
		if got := split(line); !reflect.DeepEqual(got, want) {
			t.Errorf("split(%q) = %q, expected %q", line, got, want)
		}
	}
}

func TestTrainFindsTheMergesInOrder(t *testing.T) {
	v, err := Train("aa ab\naa aa ab", 259+5+3)
	if err != nil {
		t.Fatal(err)
	}
	// The words are "aa" twice, "▁aa" once and "▁ab" twice: (a,a) and (▁,a) occur three times each, the first in order
	// wins; then (a,b) and (▁,a) twice each; then (▁,ab).
	want := []string{"aa", "ab", "▁ab", "a", "b", "▁"}
	if got := v.Tokens[259:]; !reflect.DeepEqual(got, want) {
		t.Errorf("pieces %q, expected %q", got, want)
	}
	for i := 260; i < len(v.Tokens); i++ {
		if v.Scores[i] >= v.Scores[i-1] {
			t.Errorf("score of %q is %g, not below %g of the piece before it", v.Tokens[i], v.Scores[i], v.Scores[i-1])
		}
	}
}

func TestTrainBeginsWithTheFixedTokens(t *testing.T) {
	v, err := Train("to be or not to be", 300)
	if err != nil {
		t.Fatal(err)
	}
	if v.Tokens[UNK] != "<unk>" || v.Tokens[BOS] != "<s>" || v.Tokens[EOS] != "</s>" || v.Tokens[3] != "<0x00>" ||
		v.Tokens[258] != "<0xFF>" {
		t.Errorf("fixed tokens are %q … %q", v.Tokens[:4], v.Tokens[258])
	}
	if v.Types[UNK] != Unknown || v.Types[BOS] != Control || v.Types[100] != Byte || v.Types[259] != Normal {
		t.Errorf("types %v", v.Types[:4])
	}
	if len(v.Scores) != len(v.Tokens) || len(v.Types) != len(v.Tokens) {
		t.Errorf("%d tokens, %d scores, %d types", len(v.Tokens), len(v.Scores), len(v.Types))
	}
}

func TestTrainIsRepeatable(t *testing.T) {
	text := strings.Repeat("the cat sat on the mat and the dog on the log\n", 3)
	a, _ := Train(text, 320)
	for range 10 {
		if b, _ := Train(text, 320); !reflect.DeepEqual(a, b) {
			t.Fatal("two trainings on one text differ")
		}
	}
}

func TestTrainRefusesTooSmallASize(t *testing.T) {
	if _, err := Train("abc", 261); err == nil {
		t.Error("no error for a vocabulary with room for two of three characters")
	}
}
