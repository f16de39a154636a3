package dataset

import "fmt"

// Fields reads the named fields, all of them texts, of every record of a .jsonl file, plain or compressed. Errors name
// the line and the fields that there are.
func Fields(path string, names []string) ([]map[string]string, error) {
	if format(path) != "jsonl" {
		return nil, fmt.Errorf("%s: want records with fields (.jsonl, plain or compressed)", path)
	}
	var all []map[string]string
	err := lines(path, func(_ int, line []byte) error {
		r, err := parseRecord(line)
		if err != nil {
			return err
		}
		values := make(map[string]string, len(names))
		for _, name := range names {
			if values[name], err = r.text(name); err != nil {
				return err
			}
		}
		all = append(all, values)
		return nil
	})
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%s: the file is empty", path)
	}
	return all, err
}
