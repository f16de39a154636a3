package cli

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/dist"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/words"
)

// Limits of a configuration file.
const (
	maxConfig      = 1 << 20 // bytes
	maxConfigDepth = 16
)

// configEntry is a key of a configuration file with its value; keys of sections have a dot.
type configEntry struct {
	key    string
	values []string // one, or those of a list
	list   bool
	node   ast.Node // the key
}

// configError is what is wrong at a place of a configuration file.
func configError(path string, n ast.Node, format string, args ...any) error {
	at := n.GetToken().Position
	return fmt.Errorf("%s:%d:%d: %w", path, at.Line, at.Column, fmt.Errorf(format, args...))
}

// readConfig sets the flags that the configuration file names and the command line does not. All that is wrong in the
// file is said at once.
func (p *commandLine) readConfig(stdin io.Reader) error {
	if p.config != "-" {
		f, err := infile.OpenStream(p.config)
		if err != nil {
			return fmt.Errorf("--config: %w", err)
		}
		defer f.Close()
		stdin = f
	}
	text, err := infile.ReadFrom(stdin, p.config, maxConfig)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	entries, err := parseConfig(p.config, text, func(key string) bool { return p.fs.Lookup(key) != nil })
	if err != nil {
		return UsageError{err}
	}
	given := map[string]bool{}
	p.fs.Visit(func(f *pflag.Flag) { given[f.Name] = true })
	slices.SortStableFunc(entries, func(a, b configEntry) int { return p.late(a) - p.late(b) })
	var wrong []error
	for _, e := range entries {
		if err := p.setFromConfig(e, func(flag string) bool { return given[flag] }); err != nil {
			wrong = append(wrong, err)
		}
	}
	if len(wrong) > 0 {
		return UsageError{errors.Join(wrong...)}
	}
	return nil
}

// late is 1 for words whose meaning hangs on other flags, 0 for all others.
func (p *commandLine) late(e configEntry) int {
	if f := p.fs.Lookup(e.key); f != nil {
		if v, ok := f.Value.(*wordValue); ok && v.word.Convert != nil {
			return 1
		}
	}
	return 0
}

// setFromConfig sets the flag of an entry, unless the command line gave it.
func (p *commandLine) setFromConfig(e configEntry, given func(flag string) bool) error {
	f := p.fs.Lookup(e.key)
	switch {
	case f == nil:
		if near := nearestFlag(p.fs, e.key); near != "" {
			return configError(p.config, e.node, "there is no key %q; did you mean %q?", e.key, near)
		}
		return configError(p.config, e.node, "there is no key %q; the keys are the flags of --help all", e.key)
	case f.Name == "config":
		return configError(p.config, e.node, "%q cannot stand in a configuration file", e.key)
	case given(f.Name):
		return nil
	}
	if v, ok := f.Value.(*wordValue); ok {
		if v.word.Settles != "" && given(v.word.Settles) {
			return nil
		}
		v.skip = given
	}
	err := p.setValues(f, e)
	if err == nil {
		return nil
	}
	var refused errWord
	if v, ok := f.Value.(*wordValue); ok && v.word.Settles != "" && errors.As(err, &refused) {
		return configError(p.config, e.node, "%s: %w; on the command line --%s takes the place of this key", e.key, refused,
			v.word.Settles)
	}
	if errors.As(err, &refused) {
		return configError(p.config, e.node, "%s: %w", e.key, refused)
	}
	return configError(p.config, e.node, "%s: %q: %v", e.key, strings.Join(e.values, ","), cause(err))
}

// setValues sets a flag to a value or a list.
func (p *commandLine) setValues(f *pflag.Flag, e configEntry) error {
	switch {
	case e.list && f.Value.Type() == "stringArray":
		for _, value := range e.values {
			if err := p.fs.Set(f.Name, value); err != nil {
				return err
			}
		}
		return nil
	case e.list && f.Value.Type() == "stringSlice":
		var line strings.Builder
		w := csv.NewWriter(&line)
		w.Write(e.values)
		w.Flush()
		return p.fs.Set(f.Name, strings.TrimSuffix(line.String(), "\n"))
	}
	return p.fs.Set(f.Name, strings.Join(e.values, ","))
}

// parseConfig reads a configuration file. isKey says that a whole section is one key, whose entries are NAME=VALUE.
func parseConfig(path string, text []byte, isKey func(string) bool) ([]configEntry, error) {
	tokens := lexer.Tokenize(string(text))
	if err := checkDepth(path, tokens); err != nil {
		return nil, err
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		return nil, yamlError(path, err)
	}
	var entries []configEntry
	for i, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if i > 0 {
			return nil, configError(path, doc.Body, "a second document, expected one")
		}
		if entries, err = section(path, "", doc.Body, isKey, 0); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// checkDepth refuses lists and mappings on one line that are nested deeper than any file of flags: the time that the
// parser takes grows with the square of that.
func checkDepth(path string, tokens token.Tokens) error {
	open, dashes, line := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			dashes, line = 0, t.Position.Line
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			open++
		case token.SequenceEndType, token.MappingEndType:
			open--
		case token.SequenceEntryType:
			dashes++
		}
		if open > maxConfigDepth || dashes > maxConfigDepth {
			return fmt.Errorf("%s:%d:%d: lists more than %d deep", path, t.Position.Line, t.Position.Column, maxConfigDepth)
		}
	}
	return nil
}

// section reads the entries of a mapping, those of a section of it with its name in front.
func section(path, prefix string, node ast.Node, isKey func(string) bool,
	depth int) (entries []configEntry, err error) {
	mapping, ok := node.(ast.MapNode)
	if _, empty := node.(*ast.NullNode); empty {
		return nil, nil
	}
	if !ok {
		return nil, configError(path, node, "%s, expected NAME: value lines", node.Type())
	}
	if depth > maxConfigDepth {
		return nil, configError(path, node, "sections more than %d deep", maxConfigDepth)
	}
	seen := map[string]bool{}
	for it := mapping.MapRange(); it.Next(); {
		name, ok := scalar(it.Key())
		if !ok {
			return nil, configError(path, it.Key(), "expected the name of a flag")
		}
		key := prefix + words.Normal(name)
		if seen[key] {
			return nil, configError(path, it.Key(), "%q is given twice", key)
		}
		seen[key] = true
		more, err := entryOf(path, key, it.Key(), it.Value(), isKey, depth)
		if err != nil {
			return nil, err
		}
		entries = append(entries, more...)
	}
	return entries, nil
}

// entryOf reads the value of a key.
func entryOf(path, key string, at, value ast.Node, isKey func(string) bool, depth int) ([]configEntry, error) {
	if text, ok := scalar(value); ok {
		return []configEntry{{key: key, values: []string{text}, node: at}}, nil
	}
	switch v := value.(type) {
	case *ast.NullNode:
		return nil, nil
	case *ast.SequenceNode:
		e := configEntry{key: key, list: true, node: at}
		for _, item := range v.Values {
			text, ok := scalar(item)
			if !ok {
				if isKey(key) {
					text = item.String()
				} else {
					return nil, configError(path, item, "%s: expected a list of plain values", key)
				}
			}
			e.values = append(e.values, text)
		}
		return []configEntry{e}, nil
	case ast.MapNode:
		entries, err := section(path, key+".", value, isKey, depth+1)
		if err != nil || !isKey(key) {
			return entries, err
		}
		e := configEntry{key: key, list: true, node: at}
		for it := v.MapRange(); it.Next(); {
			name, _ := scalar(it.Key())
			text, _ := scalar(it.Value())
			e.values = append(e.values, name+"="+text)
		}
		return []configEntry{e}, nil
	}
	return nil, configError(path, value, "%s: %s, expected a plain value or a list", key, value.Type())
}

// scalar is the text of a plain value as it stands in the file.
func scalar(node ast.Node) (string, bool) {
	switch v := node.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.LiteralNode:
		return v.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return node.GetToken().Value, true
	}
	return "", false
}

// yamlError is a mistake in the form of a file, with its place.
func yamlError(path string, err error) error {
	var syntax *yaml.SyntaxError
	if errors.As(err, &syntax) && syntax.Token != nil {
		at := syntax.Token.Position
		return fmt.Errorf("%s:%d:%d: %s", path, at.Line, at.Column, syntax.Message)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// ConfigPath is where the configuration that repeats a run stands beside its result.
func ConfigPath(out string) string { return strings.TrimSuffix(out, filepath.Ext(out)) + ".yaml" }

// CheckConfig refuses to replace a file in the place of the configuration of a run, unless it is the one that the run
// was configured by.
func CheckConfig(fs *pflag.FlagSet, out string, force bool) error {
	path := ConfigPath(out)
	if taken(path) && !force && !sameFile(path, fs.Lookup("config").Value.String()) {
		return fmt.Errorf("--out: the run's configuration would replace %s, which is there already: choose another name, "+
			"or --force to replace it", path)
	}
	return nil
}

// onceOnly are flags that say nothing of what a run results in, or that are of one run only.
var onceOnly = []string{"config", "resume", "dry-run", "force", "json", "quiet", "verbose", "profile",
	"log", "no-log", "live", "live-remote", "tensorboard"}

// WriteRunConfig writes the configuration file that repeats a run beside its result, out: the flags that were given,
// and numbers that were chosen in place of those left out. A file that configured the run itself stays as it is.
func WriteRunConfig(fs *pflag.FlagSet, out, version string, chosen map[string]string, w io.Writer) error {
	path, text, err := RunConfig(fs, out, version, chosen, w)
	if err != nil || path == "" {
		return err
	}
	return atomicfile.WriteBytes(path, text)
}

// RunConfig is what WriteRunConfig writes, and where; no path where it writes nothing.
func RunConfig(fs *pflag.FlagSet, out, version string, chosen map[string]string, w io.Writer) (path string, text []byte,
	err error) {
	path = ConfigPath(out)
	if sameFile(path, fs.Lookup("config").Value.String()) {
		fmt.Fprintf(w, "note: %s configured this run and stays as it is\n", path)
		return "", nil, nil
	}
	comment := fmt.Sprintf("Repeats the run that wrote %s, with peftconv %s, in the same folder:\n  %s\n",
		filepath.Base(out), version, CommandLine("peftconv", fs.Name(), "--config", path, "--out", "OTHER"+filepath.Ext(out)))
	text, err = configText(comment, fs, chosen)
	return path, text, err
}

// configText is the flags that were given, and the values that were chosen.
func configText(comment string, fs *pflag.FlagSet, chosen map[string]string) ([]byte, error) {
	var text strings.Builder
	for line := range strings.Lines(comment) {
		text.WriteString("# " + line)
	}
	text.WriteString("\n")
	var err error
	fs.VisitAll(func(f *pflag.Flag) {
		value, has := chosen[f.Name] // a number
		if isWord(f) || slices.Contains(onceOnly, f.Name) || !f.Changed && !has {
			return
		}
		var item any
		switch list, isList := f.Value.(pflag.SliceValue); {
		case isList && f.Changed:
			item = list.GetSlice()
		case slices.Contains([]string{"string", "value"}, f.Value.Type()):
			item = f.Value.String()
			if name := f.Annotations[nameKey]; name != nil {
				item = name[0]
			}
		default:
			if !has {
				value = f.Value.String()
			}
			text.WriteString(f.Name + ": " + value + "\n")
			return
		}
		line, failed := yaml.Marshal(yaml.MapSlice{{Key: f.Name, Value: item}})
		if failed != nil {
			err = failed
		}
		text.Write(line)
	})
	return []byte(text.String()), err
}

// ResumeCommand is a command line with the flags as they were given, and --resume, for as many ranks as now.
func ResumeCommand(program, verb string, fs *pflag.FlagSet, checkpoint string) string {
	words := []string{program, verb}
	if size := dist.Now().Size(); size > 1 {
		words = append([]string{dist.Launched().Command, "-n", strconv.Itoa(size)}, words...)
	}
	Given(fs, func(f *pflag.Flag) {
		switch list, isList := f.Value.(pflag.SliceValue); {
		case f.Name == "resume":
		case f.Value.Type() == "bool":
			words = append(words, "--"+f.Name)
		case f.NoOptDefVal != "":
			words = append(words, "--"+f.Name+"="+f.Value.String())
		case f.Value.Type() == "stringArray":
			for _, value := range list.GetSlice() {
				words = append(words, "--"+f.Name, value)
			}
		case isList:
			words = append(words, "--"+f.Name, strings.Join(list.GetSlice(), ","))
		default:
			words = append(words, "--"+f.Name, f.Value.String())
		}
	})
	return CommandLine(append(words, "--resume", checkpoint)...)
}
