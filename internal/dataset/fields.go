package dataset

import (
	"fmt"

	"github.com/peftconv/peftconv/internal/records"
)

// Fields reads the named fields, all of them texts, of every record of a file, or of those of a directory. Errors name
// the place and the fields that there are.
func Fields(path string, names []string, split records.Split, opt records.Options) ([]map[string]string, error) {
	files, err := filesOf([]Source{{Path: path}}, split)
	if err != nil {
		return nil, err
	}
	var all []map[string]string
	for _, file := range files[0] {
		for r, err := range records.All(file, opt) {
			if err != nil {
				return nil, err
			}
			fields, err := r.Object()
			if err != nil {
				return nil, r.Errorf("%w", err)
			}
			values := make(map[string]string, len(names))
			for _, name := range names {
				if values[name], err = fields.Text(name); err != nil {
					return nil, r.Errorf("%w", err)
				}
			}
			all = append(all, values)
		}
	}
	if len(all) == 0 {
		err = fmt.Errorf("%s: the file is empty", path)
	}
	return all, err
}
