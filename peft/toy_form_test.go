package peft_test

import (
	"encoding/json"
	"os"

	"github.com/peftconv/peftconv/peft/export"
)

// sizes is a form of an adapter that says only how large its tensors are, as JSON.
func init() {
	export.Register(&export.Form{
		Place: 60, Name: "sizes",
		About: "a JSON object of the number of values in each tensor",
		Write: func(in export.Input, path string, _ export.Options) (*export.Report, error) {
			sizes := map[string]int{}
			for _, scaled := range in.Adapters {
				for _, p := range scaled.Adapter.Params() {
					sizes[p.Name] = len(p.Data)
				}
			}
			text, err := json.Marshal(sizes)
			if err != nil {
				return nil, err
			}
			return &export.Report{Note: "values are left out"}, os.WriteFile(path, text, 0o600)
		},
	})
}
