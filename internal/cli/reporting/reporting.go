package reporting

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/chart"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/report"
	"github.com/peftconv/peftconv/internal/runlog"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/merge"
)

// Verb is the verb report.
var Verb = cli.Verb{
	Place: 35,
	Name:  "report",
	Args:  "RUN|ADAPTER…",
	Short: "a page of what training runs and merges did: curves, samples, norms, losses",
	Long: `Writes a report of a training run as one HTML file that loads nothing: what was trained on what (hashes, versions,
command, machine), the losses before and after, of each file where the evaluation data are several, curves, samples side
by side, the lengths of the examples, time and memory by part, and the norm of the change of each weight by layer and
role. train writes the same beside its adapter. Several runs in one page are compared.

RUN is the log of a run (NAME.log.jsonl), also of one that is not over or was killed. ADAPTER is its file or checkpoint,
or any other adapter: without a log beside it the page has what its file says. A MERGE.json, which merge --json printed,
adds how much of the change survived in each tensor.

Norms are shares of those of the base's weights, where the base is found as for merge and is the right one. --no-base
leaves it unread. The same files give the same bytes.`,
	Examples: []string{
		"peftconv report out.safetensors",
		"peftconv report small.log.jsonl large.log.jsonl --out compare.html",
		"peftconv report out.safetensors --png pictures --md README.md",
		"peftconv report out.safetensors merged.json --out merge.html",
	},
	New: func() cli.Command { return new(options) },
}

type options struct {
	cli.Output
	named    []string
	out      string
	md       string
	png, svg string // directories
	base     string
	noBase   bool
	threads  int
}

func (o *options) Flags(fs *pflag.FlagSet) {
	fs.StringVarP(&o.out, "out", "o", "",
		"the page's `FILE`, - is standard output (default: NAME.report.html beside the first, unless other output is asked for)")
	fs.StringVar(&o.md, "md", "", "write a model card with front matter for the Hugging Face Hub to this `FILE`, with "+
		"links to the pictures of --png or --svg")
	fs.StringVar(&o.png, "png", "", "write the charts as PNG into this `DIRECTORY`, which is made where there is none")
	fs.StringVar(&o.svg, "svg", "", "write the charts as SVG into this `DIRECTORY`")
	fs.StringVarP(&o.base, "base", "b", "", "the model that the adapters were trained over: "+cli.ModelNames+
		" (default: found as they record it)")
	cli.Models(fs, "base")
	fs.BoolVar(&o.noBase, "no-base", false, "do not look for the base: norms are absolute, of plain LoRAs alone")
	cli.AddThreads(fs, &o.threads)
	o.AddForce(fs)
}

func (o *options) Validate(args []string) error {
	switch {
	case len(args) == 0:
		return errors.New("expected a RUN or ADAPTER, or several")
	case o.base != "" && o.noBase:
		return errors.New("--base and --no-base: one of them, not both")
	case o.md == "-" || o.png == "-" || o.svg == "-":
		return errors.New("--md, --png, --svg: only --out can be standard output (-)")
	}
	o.named = args
	return cli.UseThreads(o.threads)
}

func (o *options) Run(ctx context.Context, s cli.Streams) error {
	if err := o.checkFiles(); err != nil {
		return err
	}
	page, card, err := o.page(ctx, s)
	if err != nil {
		return err
	}
	pictures, err := o.writePictures(page)
	if err != nil {
		return err
	}
	if o.md != "" {
		text, err := page.Markdown(card, pictures)
		if err != nil {
			return err
		}
		if err := atomicfile.WriteBytes(o.md, text); err != nil {
			return err
		}
		fmt.Fprintf(s.Err, "%s written\n", o.md)
	}
	switch o.out {
	case "":
		return nil
	case "-":
		_, err := s.Out.Write(page.HTML())
		return err
	}
	if err := Write(o.out, page); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.Out, "%s written\n", o.out)
	return err
}

// checkFiles chooses the output and checks that it can be written.
func (o *options) checkFiles() error {
	if o.out == "" && o.md == "" && o.png == "" && o.svg == "" {
		first := strings.TrimSuffix(o.named[0], ".log.jsonl")
		if first != o.named[0] {
			first += ".safetensors"
		}
		o.out = Path(first)
	}
	for _, out := range []struct{ flag, path string }{{"--out", o.out}, {"--md", o.md}} {
		if out.path == "" || out.path == "-" {
			continue
		}
		if err := o.CheckOutput(out.flag, out.path, append(slices.Clone(o.named), o.base)...); err != nil {
			return err
		}
	}
	for _, dir := range []struct{ flag, path string }{{"--png", o.png}, {"--svg", o.svg}} {
		if dir.path != "" && cli.Exists(dir.path) {
			if info, err := os.Stat(dir.path); err != nil || !info.IsDir() {
				return fmt.Errorf("%s: %s is no directory", dir.flag, dir.path)
			}
		}
	}
	return nil
}

// page reads what is named.
func (o *options) page(ctx context.Context, s cli.Streams) (*report.Page, *report.Card, error) {
	var runs []report.Run
	var merges []*merge.Report
	var paths []string // of the runs
	for _, named := range o.named {
		source, err := find(named)
		if err != nil {
			return nil, nil, err
		}
		if source.Merge != "" {
			m, err := merged(source.Merge)
			if err != nil {
				return nil, nil, err
			}
			merges = append(merges, m)
			continue
		}
		r, err := o.run(ctx, s, source)
		if err != nil {
			return nil, nil, err
		}
		r.Name = nameOf(named)
		runs, paths = append(runs, r), append(paths, named)
	}
	distinguish(runs, paths)
	return report.RunsPage(runs, merges), report.CardOf(runs), nil
}

// distinguish gives runs of the same name longer ones: the paths that they were named by.
func distinguish(runs []report.Run, paths []string) {
	count := map[string]int{}
	for i := range runs {
		count[runs[i].Name]++
	}
	for i := range runs {
		if count[runs[i].Name] > 1 {
			runs[i].Name = paths[i]
		}
	}
}

// nameOf is a run's name by that of a file of it.
func nameOf(path string) string {
	name := filepath.Base(path)
	for _, ending := range []string{".log.jsonl", ".safetensors"} {
		name = strings.TrimSuffix(name, ending)
	}
	return name
}

// run reads a run, with its base where that is found.
func (o *options) run(ctx context.Context, s cli.Streams, source *Source) (report.Run, error) {
	base, err := o.openBase(s, source)
	if err != nil {
		return report.Run{}, err
	}
	if base != nil {
		defer base.Close()
	}
	r, err := source.Run(ctx, base)
	if errors.Is(err, peft.ErrNeedsBase) {
		return r, fmt.Errorf("%w: name it with --base", err)
	}
	return r, err
}

// openBase opens the base of an adapter; nil where there is no adapter, or no base is found or wanted.
func (o *options) openBase(s cli.Streams, source *Source) (*peft.Base, error) {
	switch {
	case o.base != "":
		return peft.OpenBase(o.base)
	case o.noBase || source.Adapter == "":
		return nil, nil
	}
	a, err := peft.Load(source.Adapter)
	if err != nil {
		return nil, nil // which reading it reports
	}
	known := cli.RecallBase(a.Origin().BaseSHA256)
	if known == "" && source.Log != "" {
		if log, err := runlog.Open(source.Log); err == nil && len(log.Starts) > 0 {
			known = log.Starts[0].Base
		}
	}
	base, err := peft.OpenRecorded(a, source.Adapter, known)
	if err == nil && a.CheckFit(base) != nil {
		err = errors.Join(a.CheckFit(base), base.Close())
	}
	if err != nil {
		fmt.Fprintf(s.Err, "note: %s: norms are absolute without the base: %s\n", source.named, cli.ErrorText(err))
		return nil, nil
	}
	return base, nil
}

// writePictures writes the charts, and says where each stands from the model card.
func (o *options) writePictures(p *report.Page) (func(chart.Picture) string, error) {
	names, pictures := p.Pictures()
	paths := map[chart.Picture]string{}
	for _, kind := range []struct {
		dir, ending string
		draw        func(chart.Picture) ([]byte, error)
	}{
		{o.svg, ".svg", func(c chart.Picture) ([]byte, error) { return chart.SVG(c), nil }}, {o.png, ".png", chart.PNG},
	} {
		if kind.dir == "" {
			continue
		}
		if err := os.MkdirAll(kind.dir, 0o755); err != nil {
			return nil, err
		}
		for i, name := range names {
			path := filepath.Join(kind.dir, name+kind.ending)
			if err := o.CheckOutput("--"+kind.ending[1:], path, o.named...); err != nil {
				return nil, err
			}
			data, err := kind.draw(pictures[i])
			if err == nil {
				err = atomicfile.WriteBytes(path, data)
			}
			if err != nil {
				return nil, err
			}
			paths[pictures[i]] = path
		}
	}
	return func(c chart.Picture) string {
		path := paths[c]
		if from, err := filepath.Rel(filepath.Dir(o.md), path); err == nil && path != "" {
			path = from
		}
		return filepath.ToSlash(path)
	}, nil
}
