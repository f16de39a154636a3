package attach

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dlclark/regexp2"
)

// Kinds are the last parts of the names, each once, sorted.
func (m *Modules) Kinds() []string {
	var kinds []string
	for _, name := range m.Names {
		kinds = append(kinds, LastPart(name))
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// Modules selects modules by name as PEFT's target_modules does: a list of whole names or suffixes
// ("q_proj" takes every "….q_proj"), or one regular expression that has to match the whole name.
type Modules struct {
	Names []string
	Regex string
}

// Empty reports whether nothing is selected.
func (m Modules) Empty() bool { return len(m.Names) == 0 && m.Regex == "" }

// MarshalJSON writes a string or a list, as PEFT does.
func (m Modules) MarshalJSON() ([]byte, error) {
	if m.Regex != "" {
		return json.Marshal(m.Regex)
	}
	return json.Marshal(m.Names)
}

// UnmarshalJSON reads a string or a list; the list is sorted, as its order means nothing.
func (m *Modules) UnmarshalJSON(data []byte) error {
	*m = Modules{}
	if json.Unmarshal(data, &m.Regex) == nil {
		return nil
	}
	if err := json.Unmarshal(data, &m.Names); err != nil {
		return fmt.Errorf("module selection: expected a string or a list of strings, found %s", compact(data))
	}
	slices.Sort(m.Names)
	if len(m.Names) == 0 {
		m.Names = nil // an empty list says what an absent one says
	}
	return nil
}

// AllLinear is PEFT's word for every linear map but the output head.
const AllLinear = "all-linear"

// Check reports a regular expression that cannot be compiled.
func (m Modules) Check() error {
	if m.Regex == "" || m.Regex == AllLinear {
		return nil
	}
	_, err := compile(m.Regex)
	return err
}

// Match reports whether a module is selected.
func (m Modules) Match(module string) bool {
	if m.Regex == AllLinear {
		return true
	}
	if m.Regex != "" {
		re, err := compile(`^(?:` + m.Regex + `)$`)
		return err == nil && matches(re, module)
	}
	return slices.ContainsFunc(m.Names, func(name string) bool { return HasSuffix(module, name) })
}

// compile reads a regular expression of Python's dialect, look-around included.
func compile(expr string) (*regexp2.Regexp, error) {
	re, err := regexp2.Compile(expr, regexp2.None)
	if err != nil {
		return nil, fmt.Errorf("module selection: regular expression %q: %w", expr, err)
	}
	re.MatchTimeout = time.Second // an expression can be made to backtrack for ever
	return re, nil
}

func matches(re *regexp2.Regexp, s string) bool {
	ok, err := re.MatchString(s)
	return ok && err == nil
}

// CheckPatterns reports keys of a rank or alpha pattern that are no regular expressions.
func CheckPatterns[V any](patterns map[string]V) error {
	for key := range patterns {
		if _, err := compile(key); err != nil {
			return err
		}
	}
	return nil
}

// LookupPattern finds the value that a rank or alpha pattern gives a module. A key is a regular expression for the
// module's last dotted parts. Where several match the first in alphabetical order counts, the order in which PEFT
// writes them.
func LookupPattern[V any](patterns map[string]V, module string) (v V, ok bool) {
	for _, key := range slices.Sorted(maps.Keys(patterns)) {
		re, err := compile(`^(?:.*\.)?(?:` + key + `)$`)
		if err == nil && matches(re, module) {
			return patterns[key], true
		}
	}
	return v, false
}
