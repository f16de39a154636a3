// Package reporting is the verb report, and what other verbs write as reports.
package reporting

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/report"
	"github.com/peftconv/peftconv/internal/runlog"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/algebra"
	"github.com/peftconv/peftconv/peft/merge"
)

// Path is where the report of a run stands beside its adapter: x.report.html beside x.safetensors.
func Path(out string) string { return strings.TrimSuffix(out, filepath.Ext(out)) + ".report.html" }

// Source is the files of a run, an adapter or a merge.
type Source struct {
	Log     string // "": there is none
	Adapter string // file or directory; "": there is none
	Merge   string // what merge --json printed; in place of the others
	named   string // what the user named
}

// checkpoint is what the names of checkpoints have behind that of their adapter.
var checkpoint = regexp.MustCompile(`\.checkpoint(-\d+)?$`)

// find finds the files of a run: what is beside the one that is named.
func find(named string) (*Source, error) {
	switch {
	case strings.EqualFold(filepath.Ext(named), ".json"):
		return &Source{Merge: named, named: named}, nil
	case !strings.HasSuffix(named, ".jsonl"):
		s := &Source{Adapter: named, named: named}
		stem := checkpoint.ReplaceAllString(strings.TrimSuffix(named, filepath.Ext(named)), "")
		if log := runlog.Path(stem + ".safetensors"); runlog.IsLog(log) {
			s.Log = log
		}
		return s, nil
	}
	log, err := runlog.Open(named)
	if err != nil {
		return nil, err
	}
	if len(log.Starts) == 0 {
		return nil, fmt.Errorf("%s: no line of kind %q, expected the log of a training run", named, runlog.KindStart)
	}
	out := log.Starts[len(log.Starts)-1].Out
	beside := strings.TrimSuffix(named, ".log.jsonl") + ".safetensors"
	for _, adapter := range []string{beside, filepath.Join(filepath.Dir(named), filepath.Base(out)), out} {
		if adapter != "" && cli.Exists(adapter) {
			return &Source{Log: named, Adapter: adapter, named: named}, nil
		}
	}
	return &Source{Log: named, named: named}, nil
}

// Run reads the files of a run. base is the one it was trained over; nil: it is not known, and norms are absolute.
func (s *Source) Run(ctx context.Context, base *peft.Base) (r report.Run, err error) {
	if s.Log != "" {
		if r.Log, err = runlog.Open(s.Log); err != nil {
			return r, err
		}
	}
	if s.Adapter == "" {
		return r, nil
	}
	if config := strings.TrimSuffix(s.Adapter, filepath.Ext(s.Adapter)) + ".yaml"; cli.Exists(config) {
		r.Config = filepath.Base(config)
	}
	a, err := peft.LoadOver(s.Adapter, base)
	if err != nil {
		return r, err
	}
	r.Adapter, err = trained(ctx, s.Adapter, a, base)
	return r, err
}

// trained is what a report says of an adapter.
func trained(ctx context.Context, path string, a *peft.Adapter, base *peft.Base) (*report.Trained, error) {
	t := &report.Trained{
		File: filepath.Base(path), Describe: a.Describe(), Method: a.PEFTType(), Parameters: a.Parameters(),
		Origin: a.Origin(), BaseModel: baseModel(a),
	}
	var err error
	if t.SHA256, err = fileHash(path); err != nil {
		return nil, err
	}
	t.Norms, err = algebra.Norms(ctx, a, base)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil && base != nil { // its master weights are missing, say
		t.Norms, err = algebra.Norms(ctx, a, nil)
	}
	if err != nil || len(t.Norms) == 0 {
		t.Tensors = tensorNorms(a)
	}
	return t, nil
}

// baseModel is what PEFT is told to load the adapter onto; "" where its configuration does not say.
func baseModel(a *peft.Adapter) string {
	var config struct {
		Base string `json:"base_model_name_or_path"`
	}
	if text, err := a.ConfigJSON(); err != nil || json.Unmarshal(text, &config) != nil {
		return ""
	}
	return config.Base
}

// fileHash is the SHA-256 of a file, "" of a directory.
func fileHash(path string) (string, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return "", nil
	}
	return infile.SHA256(path)
}

// tensorNorms are the norms of an adapter's own tensors.
func tensorNorms(a *peft.Adapter) (norms []algebra.ModuleNorm) {
	for _, p := range a.Params() {
		name := strings.TrimPrefix(p.Name, "base_model.model.")
		norms = append(norms, algebra.ModuleNorm{Module: name, Change: math.Sqrt(kernels.SumSquares(p.Data))})
	}
	return norms
}

// merged reads what merge --json printed.
func merged(path string) (*merge.Report, error) {
	text, err := infile.Read(path, infile.Text)
	if err != nil {
		return nil, err
	}
	r := &merge.Report{}
	if err := json.Unmarshal(text, r); err != nil || r.Output == "" || len(r.Tensors) == 0 {
		return nil, fmt.Errorf("%s: expected what \"peftconv merge --json\" prints: an object with \"output\" and "+
			"\"tensors\"", path)
	}
	return r, nil
}

// Write writes the report of one run.
func (s *Source) Write(ctx context.Context, path string, base *peft.Base) error {
	if !runlog.IsLog(s.Log) {
		s.Log = "" // it could not be written, which the run has said
	}
	r, err := s.Run(ctx, base)
	if err != nil {
		return err
	}
	r.Name = nameOf(s.Adapter)
	return Write(path, report.RunsPage([]report.Run{r}, nil))
}

// WriteMerge writes the report of a merge, with the runs of its adapters, as far as they are known.
func WriteMerge(ctx context.Context, path string, adapters []string, base *peft.Base, m *merge.Report) error {
	var runs []report.Run
	for _, adapter := range adapters {
		s, err := find(adapter)
		if err != nil {
			return err
		}
		r, err := s.Run(ctx, base)
		if err != nil {
			return err
		}
		r.Name = nameOf(adapter)
		runs = append(runs, r)
	}
	distinguish(runs, adapters)
	return Write(path, report.RunsPage(runs, []*merge.Report{m}))
}

// Write writes a page to a file.
func Write(path string, p *report.Page) error { return atomicfile.WriteBytes(path, p.HTML()) }
