package modelcard

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/peftconv/peftconv/internal/infile"
)

// frontMatter is the YAML at the head of a README.md. Texts are taken as they are written: "no" is Norwegian and not
// false, 1.10 is a version and not 1.1.
type frontMatter struct {
	path   string
	values map[string]*yaml.Node
}

// readFrontMatter reads the front matter of a directory's README.md, none where there is none.
func readFrontMatter(dir string) (*frontMatter, error) {
	f := &frontMatter{path: filepath.Join(dir, "README.md"), values: map[string]*yaml.Node{}}
	data, err := infile.Read(f.path, infile.Config)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, err
	}
	return f, f.parse(string(data))
}

// parse reads the front matter of a text.
func (f *frontMatter) parse(text string) error {
	text, ok := cutFrontMatter(text)
	if !ok {
		return nil
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return fmt.Errorf("%s: the lines between --- and --- at its head are no YAML: %w "+
			"(mend them, or take them away)", f.path, err)
	}
	if len(doc.Content) == 0 || resolve(doc.Content[0]).Kind != yaml.MappingNode {
		return nil
	}
	f.values = members(doc.Content[0])
	return nil
}

// cutFrontMatter is the text between a first line --- and the next such line. It keeps as many lines before it as the
// file has, so that errors name the line of the file. Tabs become spaces, as YAML wants.
func cutFrontMatter(text string) (string, bool) {
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n")
	if lines[0] != "---" {
		return "", false
	}
	lines[0] = ""
	for i, line := range lines {
		if line == "---" {
			lines = lines[:i]
			break
		}
	}
	return strings.ReplaceAll(strings.Join(lines, "\n")+"\n", "\t", "  "), true
}

// resolve is a node, or the one that it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// members are the values of a mapping.
func members(n *yaml.Node) map[string]*yaml.Node {
	n = resolve(n)
	values := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		values[n.Content[i].Value] = resolve(n.Content[i+1])
	}
	return values
}

// isNull is true of nothing and of null.
func isNull(n *yaml.Node) bool { return n == nil || n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// text is a single value; ok is false where the key is absent.
func (f *frontMatter) text(key string) (value string, ok bool, err error) {
	n := f.values[key]
	if isNull(n) {
		return "", false, nil
	}
	if n.Kind != yaml.ScalarNode {
		return "", false, f.wrong(n, key, "a text")
	}
	return n.Value, true, nil
}

func (f *frontMatter) wrong(n *yaml.Node, key, want string) error {
	kind := map[yaml.Kind]string{yaml.MappingNode: "a mapping", yaml.SequenceNode: "a list"}[n.Kind]
	return fmt.Errorf("%s: line %d: %s is or holds %s, expected %s", f.path, n.Line, key, kind, want)
}

// items are the elements of a list, or what is no list alone.
func items(n *yaml.Node) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		return []*yaml.Node{resolve(n)}
	}
	resolved := make([]*yaml.Node, len(n.Content))
	for i, item := range n.Content {
		resolved[i] = resolve(item)
	}
	return resolved
}

// list is a list of texts, or a single one; ok is false where the key is absent.
func (f *frontMatter) list(key string) (values []string, ok bool, err error) {
	n := f.values[key]
	if isNull(n) {
		return nil, false, nil
	}
	for _, item := range items(n) {
		switch {
		case isNull(item):
		case item.Kind != yaml.ScalarNode:
			return nil, false, f.wrong(item, key, "texts")
		default:
			values = append(values, item.Value)
		}
	}
	return values, true, nil
}

// works are the models or data sets under the first of several keys that is there.
func (f *frontMatter) works(params int64, keys ...string) (all []work, ok bool, err error) {
	for _, key := range keys {
		n := f.values[key]
		if n == nil {
			continue
		}
		for _, item := range items(n) {
			switch {
			case isNull(item):
			case item.Kind == yaml.MappingNode:
				w := work{}
				for name, value := range members(item) {
					if value.Kind == yaml.ScalarNode && !isNull(value) {
						w[name] = value.Value
					}
				}
				all = append(all, w)
			case item.Kind == yaml.ScalarNode:
				all = append(all, workOf(item.Value, params))
			default:
				return nil, false, f.wrong(item, key, "names, addresses or mappings")
			}
		}
		return all, true, nil
	}
	return nil, false, nil
}

// work is a model or a data set that a model was made from: name, author, version, organization, description, url,
// doi, uuid, repo_url.
type work map[string]string

const hub = "https://huggingface.co/"

// hubAddress is the address of a repository, in which its id is the first group.
var hubAddress = regexp.MustCompile(`^https?://huggingface\.co/([^/]+/[^/]+)$`)

// workOf is what an id or an address tells.
func workOf(id string, params int64) work {
	w := work{}
	address := false
	for _, scheme := range []string{"http://", "https://", "ssh://"} {
		address = address || strings.HasPrefix(id, scheme)
	}
	if address {
		w["repo_url"] = id
		match := hubAddress.FindStringSubmatch(id)
		if match == nil {
			return w
		}
		id = match[1]
	}
	p := cutName(id, params)
	w["name"] = title(p.name)
	if p.organization != "" {
		w["organization"] = title(p.organization)
	}
	if p.version != "" {
		w["version"] = p.version
	}
	if !address && p.organization != "" {
		w["repo_url"] = hub + p.organization + "/" + p.name
	}
	return w
}
