package report

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/peftconv/peftconv/internal/chart"
)

// Card is the front matter of a model card, as the Hugging Face Hub reads it.
type Card struct {
	BaseModel string   `yaml:"base_model,omitempty"`
	Datasets  []string `yaml:"datasets,omitempty"`
	Library   string   `yaml:"library_name,omitempty"`
	Pipeline  string   `yaml:"pipeline_tag,omitempty"`
	Tags      []string `yaml:"tags,omitempty"`
}

// markdown writes Markdown.
type markdown struct {
	bytes.Buffer
	image func(p chart.Picture) string // the path of its file; "": there is none
}

// Markdown is the page as a model card. image gives the path of a picture's file, from where the card will stand; "":
// the card is without it.
func (p *Page) Markdown(card *Card, image func(p chart.Picture) string) ([]byte, error) {
	front, err := yaml.Marshal(card)
	if err != nil {
		return nil, err
	}
	to := &markdown{image: image}
	fmt.Fprintf(to, "---\n%s---\n\n# %s\n\n%s\n", front, inline(p.Title), inline(p.Lead))
	for _, s := range p.Sections {
		fmt.Fprintf(to, "\n## %s\n", inline(s.Title))
		for _, b := range s.Blocks {
			to.WriteByte('\n')
			b.markdown(to)
		}
	}
	return to.Bytes(), nil
}

// inline is a text in one line that Markdown shows as it is.
func inline(text string) string {
	var b strings.Builder
	for _, r := range strings.ReplaceAll(plain(text), "\n", " ") {
		if strings.ContainsRune("\\`*_{}[]<>()#+!|~&", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func (t Text) markdown(to *markdown) { fmt.Fprintf(to, "%s\n", inline(string(t))) }

func (f Facts) markdown(to *markdown) {
	for _, fact := range f {
		if fact.Value != "" {
			fmt.Fprintf(to, "- %s: %s\n", inline(fact.Name), inline(fact.Value))
		}
	}
}

func (t *Table) markdown(to *markdown) {
	row := func(cells []string) {
		cells = slices.Clone(cells)
		for i := range cells {
			cells[i] = inline(cells[i])
		}
		fmt.Fprintf(to, "| %s |\n", strings.Join(cells, " | "))
	}
	if t.Caption != "" {
		fmt.Fprintf(to, "%s\n\n", inline(t.Caption))
	}
	row(t.Head)
	for i := range t.Head {
		if i < t.texts() {
			to.WriteString("|:--")
		} else {
			to.WriteString("|--:")
		}
	}
	to.WriteString("|\n")
	for _, cells := range t.Rows {
		row(cells)
	}
}

func (f Figures) markdown(to *markdown) {
	for _, p := range f {
		if path := to.image(p); path != "" {
			fmt.Fprintf(to, "![%s](<%s>)\n", inline(p.Name()), path)
		}
	}
}

func (a *Answers) markdown(to *markdown) {
	fmt.Fprintf(to, "Prompt: %s\n", inline(a.Prompt))
	for i := range a.Shown {
		s := &a.Shown[i]
		if s.Error != "" {
			continue
		}
		fmt.Fprintf(to, "\n%s:\n\n", inline(s.When))
		for line := range strings.Lines(strings.TrimRight(plain(s.Text), "\n")) {
			to.WriteString("    " + strings.TrimRight(line, "\n") + "\n")
		}
	}
}

// CardOf is the front matter that runs have: what the first says of its base and method, and the data of all.
func CardOf(runs []Run) *Card {
	card := &Card{Library: "peft", Pipeline: "text-generation", Tags: []string{"peftconv"}}
	for i := range runs {
		if a := runs[i].Adapter; a != nil {
			if card.BaseModel == "" {
				card.BaseModel = plain(a.BaseModel)
			}
			if tag := strings.ToLower(plain(a.Method)); tag != "" && !slices.Contains(card.Tags, tag) {
				card.Tags = append(card.Tags, tag)
			}
		}
		s := runs[i].about()
		if s == nil {
			continue
		}
		if card.BaseModel == "" {
			card.BaseModel = plain(filepath.Base(s.Base))
		}
		if s.Data == nil {
			continue
		}
		for _, file := range s.Data.Files {
			if name := dataset(file); !slices.Contains(card.Datasets, name) {
				card.Datasets = append(card.Datasets, name)
			}
		}
	}
	return card
}

// hubDataset finds the repository of a data set in a path of the Hugging Face Hub's cache.
var hubDataset = regexp.MustCompile(`datasets--([^/\\]+?)--([^/\\]+)`)

// dataset is the name of data by its path: the repository, or else the file's or directory's own name.
func dataset(path string) string {
	if found := hubDataset.FindStringSubmatch(path); found != nil {
		return plain(found[1] + "/" + found[2])
	}
	name := filepath.Base(path)
	return plain(strings.TrimSuffix(name, filepath.Ext(name)))
}
