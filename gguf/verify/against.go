package verify

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/weights"
)

// sum is a line of a list of hashes.
type sum struct {
	hash string // in lower-case hexadecimal
	name string // of a file, or of a tensor
}

type sums []sum

// openAgainst opens the file to compare with: another model, or a list of hashes. For "" it returns neither.
func openAgainst(path string) (sums, *weights.File, error) {
	if path == "" {
		return nil, nil, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if info.IsDir() || filepath.Ext(path) == ".gguf" || filepath.Ext(path) == ".safetensors" {
		other, err := weights.Open(path)
		return nil, other, err
	}
	list, err := readSums(path)
	if errors.Is(err, errNoList) {
		if other, err := weights.Open(path); err == nil {
			return nil, other, nil
		}
	}
	return list, nil, err
}

// Limits of a list and of its lines.
const (
	maxList = 64 << 20
	maxLine = 1 << 20
)

var errNoList = errors.New("is no list of SHA-256 hashes")

// readSums reads a list as sha256sum prints it: a hash, two blanks or a blank and an asterisk, a name. A line that
// begins with a backslash has \\, \n and \r in its name for these characters. Empty lines and those that begin with #
// are ignored.
func readSums(path string) (sums, error) {
	f, err := infile.OpenStream(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseSums(f, path)
}

// parseSums reads a list; path is what errors call it.
func parseSums(r io.Reader, path string) (sums, error) {
	var list sums
	rest := &io.LimitedReader{R: r, N: maxList + 1}
	lines := bufio.NewScanner(rest)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		line := strings.TrimSuffix(lines.Text(), "\r")
		if line == "" || line[0] == '#' {
			continue
		}
		s, ok := parseSum(line)
		if !ok && n == 1 {
			return nil, fmt.Errorf("%s: %w (hash, two blanks, name)", path, errNoList)
		}
		if !ok {
			return nil, fmt.Errorf("%s: line %d: %.80q, expected 64 hexadecimal digits, two blanks and a name", path, n, line)
		}
		list = append(list, s)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: line %d: %w", path, n+1, err)
	}
	if rest.N == 0 {
		return nil, fmt.Errorf("%s: a list of more than %d bytes, which is no list of a model's tensors", path, maxList)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: no hash in it", path)
	}
	return list, nil
}

func parseSum(line string) (sum, bool) {
	line, escaped := strings.CutPrefix(line, "\\")
	const digits = 2 * sha256.Size
	if len(line) < digits+3 || line[digits] != ' ' || line[digits+1] != ' ' && line[digits+1] != '*' {
		return sum{}, false
	}
	hash := strings.ToLower(line[:digits])
	if _, err := hex.DecodeString(hash); err != nil {
		return sum{}, false
	}
	name := line[digits+2:]
	if escaped {
		name = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\r`, "\r").Replace(name)
	}
	return sum{hash, name}, true
}

// SumLine is a line of a list of hashes, as sha256sum prints it.
func SumLine(hash, name string) string {
	if strings.ContainsAny(name, "\\\n\r") {
		return `\` + hash + "  " + strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`).Replace(name)
	}
	return hash + "  " + name
}

// namesTensor says whether the list has hashes of tensors.
func (list sums) namesTensor(f *weights.File) bool {
	for _, s := range list {
		if f.Tensor(s.name) != nil {
			return true
		}
	}
	return false
}

// compareSums compares tensors and files with a list. A list that names tensors must name all of them and no other.
func (r *Report) compareSums(ctx context.Context, f *weights.File, found *findings, list sums, path string) error {
	if list == nil {
		return nil
	}
	byName := map[string]int{}
	for i, t := range f.Tensors() {
		byName[t.Name] = i
	}
	ofTensors := list.namesTensor(f)
	listed := map[string]bool{}
	files := map[string][]string{} // hashes that the list has for a file
	for _, s := range list {
		i, isTensor := byName[s.name]
		file := r.fileNamed(s.name)
		switch {
		case isTensor:
			listed[s.name] = true
			r.compare(s.name, found.hashes[i].String(), s.hash, path)
		case file != "":
			files[file] = append(files[file], s.hash)
		case ofTensors:
			r.problem(s.name, "is in %s, but not in the file", path)
		}
	}
	if ofTensors {
		for _, t := range f.Tensors() {
			if !listed[t.Name] {
				r.problem(t.Name, "is not in %s", path)
			}
		}
	}
	if !ofTensors && len(files) == 0 {
		return fmt.Errorf("%s: %w", path, errNothing)
	}
	return r.compareFiles(ctx, files, path)
}

// fileNamed is the file of the model that a name in a list means, whatever directory it stands with; or "".
func (r *Report) fileNamed(name string) string {
	base := path.Base(filepath.ToSlash(name))
	for _, file := range r.Files {
		if filepath.Base(file) == base {
			return file
		}
	}
	return ""
}

func (r *Report) compare(tensor, got, want, path string) {
	r.Compared++
	if got != want {
		r.problem(tensor, "its SHA-256 is %s, %s says %s", got, path, want)
	}
}

// compareFiles compares the hashes of whole files.
func (r *Report) compareFiles(ctx context.Context, files map[string][]string, path string) error {
	if len(files) == 0 {
		return nil
	}
	got := make([]string, len(r.Files))
	err := weights.Each(ctx, len(r.Files), func(i int) (err error) {
		if files[r.Files[i]] != nil {
			got[i], err = hashFile(ctx, r.Files[i])
		}
		return err
	})
	if err != nil {
		return err
	}
	for i, file := range r.Files {
		want := files[file]
		switch {
		case want == nil:
			r.note("", "%s is not in %s", file, path)
			continue
		case !slices.Contains(want, got[i]):
			r.problem("", "the SHA-256 of %s is %s, %s says %s", file, got[i], path, strings.Join(want, " or "))
		}
		r.Compared++
	}
	return nil
}

// hashFile is the SHA-256 of a file.
func hashFile(ctx context.Context, path string) (string, error) {
	f, err := infile.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := f.Read(buf)
		h.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
}

// compareModel compares the tensors with those of another model.
func (r *Report) compareModel(ctx context.Context, f *weights.File, found *findings, other *weights.File, path string,
	c *counter) error {
	theirs, err := readAll(ctx, other, true, c)
	if err != nil {
		return err
	}
	byName := map[string]int{}
	for i, t := range other.Tensors() {
		byName[t.Name] = i
	}
	for i, t := range f.Tensors() {
		j, ok := byName[t.Name]
		switch {
		case !ok:
			r.problem(t.Name, "is not in %s", path)
		case !sameLayout(t, other.At(j)):
			o := other.At(j)
			r.problem(t.Name, "is %s %v, in %s %s %v", t.Type, t.Shape, path, o.Type, o.Shape)
		default:
			r.compare(t.Name, found.hashes[i].String(), theirs.hashes[j].String(), path)
		}
	}
	for _, t := range other.Tensors() {
		if f.Tensor(t.Name) == nil {
			r.problem(t.Name, "is in %s, but not in the file", path)
		}
	}
	return nil
}
