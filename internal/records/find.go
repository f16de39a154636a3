package records

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/infile"
)

// Split is a part of a data set.
type Split string

// The splits.
const (
	Train      Split = "train"
	Validation Split = "validation"
	Test       Split = "test"
)

// splitNames are the names of files that hold a split.
var splitNames = map[Split][]string{
	Train:      {"train", "training"},
	Validation: {"validation", "valid", "val", "dev", "eval"},
	Test:       {"test"},
}

// Find is the files of a split. A path that is no directory is a file, whatever the split. In a directory the files
// of a split are those whose names begin with that of the split and end with that of a format ("train.jsonl",
// "valid-00000-of-00002.parquet", "test.csv.gz"), or that are in a folder of that name; they may be in a folder "data".
// They are in the order of their names. A directory without the split has no files of it, which is no error.
func Find(path string, split Split) ([]string, error) {
	if path == Stdin {
		return []string{path}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	for _, dir := range []string{path, filepath.Join(path, "data")} {
		files, err := splitFiles(dir, split)
		if err != nil || len(files) > 0 {
			return files, err
		}
	}
	return nil, nil
}

// NoSplit is the error of a directory without a split, which says what there is.
func NoSplit(dir string, split Split) error {
	var names []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	const most = 8
	if len(names) > most {
		names = append(names[:most], "…")
	}
	return fmt.Errorf("%s: no file for %s in the directory, want %s.jsonl, %s.parquet or the like; it has %s", dir, split,
		split, split, List(names))
}

// splitFiles are the files of a split right in a directory, which may not be there.
func splitFiles(dir string, split Split) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		stem := strings.ToLower(e.Name())
		if at := strings.IndexAny(stem, ".-_"); at > 0 {
			stem = stem[:at]
		}
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path) // through links
		if !slices.Contains(splitNames[split], stem) || err != nil {
			continue
		}
		switch {
		case info.IsDir() && strings.EqualFold(e.Name(), stem):
			inside, err := os.ReadDir(path)
			if err != nil {
				return nil, err
			}
			for _, f := range inside {
				path := filepath.Join(path, f.Name())
				if f.IsDir() || FormatOf(f.Name()) == "" {
					continue
				}
				info, err := os.Stat(path)
				if err == nil {
					err = infile.Regular(path, info)
				}
				if err != nil {
					return nil, err
				}
				files = append(files, path)
			}
		case !info.IsDir() && FormatOf(e.Name()) != "":
			if err := infile.Regular(path, info); err != nil {
				return nil, err
			}
			files = append(files, path)
		}
	}
	return files, nil
}
