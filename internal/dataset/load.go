package dataset

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/records"
	"github.com/peftconv/peftconv/internal/tokenizer"
	"github.com/peftconv/peftconv/kernels"
)

// IsText reports whether a path is plain text, compressed or not, rather than records. A name that does not tell is
// that of a text.
func IsText(path string) bool {
	switch records.FormatOf(path) {
	case records.Text, "":
		return true
	}
	return false
}

// LoadSplit reads several sources, one after another, and holds a share of their records back where the options say so;
// otherwise eval is nil. tok may be nil for data that is ids already; then opt.VocabSize is required. Errors name the
// file, the place in it, what was found and what was expected.
//
// Tokenizing runs on all cores; the examples are the same, and in the same order, for any number of them.
func LoadSplit(sources []Source, tok *tokenizer.Tokenizer, opt Options) (train, eval *Set, err error) {
	c, err := newConverter(tok, opt)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", pathsOf(sources), err)
	}
	files, err := filesOf(sources, opt.Split)
	if err != nil {
		return nil, nil, err
	}
	l := &loader{converter: c, sets: []*Set{emptySet(c)}}
	if opt.EvalSplit > 0 {
		l.sets = append(l.sets, emptySet(c))
	}
	if opt.Cache.Keep && opt.Cache.Prefix == "" {
		return nil, nil, errors.New("token ids can be kept only beside a file that is named")
	}
	if opt.Cache.Keep {
		if train, eval, err = l.kept(sources, files); train != nil || err != nil {
			return train, eval, err
		}
	}
	if err := l.load(sources, files); err != nil {
		l.abort()
		return nil, nil, err
	}
	return l.finish()
}

// emptySet is a set without examples.
func emptySet(c *converter) *Set {
	s := &Set{Answers: c.answers}
	if c.opt.Classes != nil {
		s.Classes = len(c.opt.Classes.Labels)
	}
	return s
}

// pathsOf is the paths of sources, for messages.
func pathsOf(sources []Source) string {
	paths := make([]string, len(sources))
	for i, s := range sources {
		paths[i] = s.Path
	}
	return strings.Join(paths, ", ")
}

// filesOf are the files of each source.
func filesOf(sources []Source, split records.Split) ([][]string, error) {
	if split == "" {
		split = records.Train
	}
	files := make([][]string, len(sources))
	stdin := 0
	for i, s := range sources {
		if (s.Weight > 0) != (sources[0].Weight > 0) || !(s.Weight >= 0) || math.IsInf(s.Weight, 0) {
			return nil, fmt.Errorf("%s: a weight of %v; want one above 0 for each source, or none for all", s.Path, s.Weight)
		}
		var err error
		if files[i], err = records.Find(s.Path, split); err != nil {
			return nil, err
		}
		if len(files[i]) == 0 {
			return nil, records.NoSplit(s.Path, split)
		}
		if s.Path == records.Stdin {
			stdin++
		}
	}
	if stdin > 1 {
		return nil, errors.New("standard input (-) can be read only once")
	}
	return files, nil
}

// loader makes sets of files.
type loader struct {
	converter *converter
	sets      []*Set // for training and, where a share is held back, for evaluation
	bytes     int    // of token ids and masks in memory
	writer    *cacheWriter
	key       string // of a cache that is kept
}

// load reads all files.
func (l *loader) load(sources []Source, files [][]string) error {
	if l.key != "" {
		if err := l.spill(); err != nil {
			return err
		}
	}
	weighted := sources[0].Weight > 0
	for i, source := range sources {
		for _, path := range files[i] {
			if err := l.file(path); err != nil {
				return err
			}
			for _, s := range l.sets {
				s.Files = append(s.Files, File{path, s.Len()})
			}
		}
		s := l.sets[0]
		if weighted {
			s.parts = append(s.parts, part{s.Len(), source.Weight})
			if from := s.partStart(i); s.Len() == from {
				return fmt.Errorf("%s: it has no examples, but a weight of %v", source.Path, source.Weight)
			}
		}
	}
	if c := l.sets[0].Counts; l.sets[0].Len() == 0 {
		err := fmt.Errorf("%s: none of its %d records has anything to predict", pathsOf(sources), c.Records)
		if mentions := c.mentions(); len(mentions) > 0 {
			err = fmt.Errorf("%w (%s)", err, strings.Join(mentions, "; "))
		}
		return err
	}
	if len(l.sets) > 1 && l.sets[1].Len() == 0 {
		return fmt.Errorf("%s: none of its %d records is in the share of %v that is held back for evaluation; make it larger",
			pathsOf(sources), l.sets[0].Counts.Records, l.converter.opt.EvalSplit)
	}
	return nil
}

// file reads one file.
func (l *loader) file(path string) error {
	s, err := records.Open(path, l.converter.opt.Files)
	if err != nil {
		return err
	}
	defer s.Close()
	if s.Format() == records.Text {
		return l.text(s)
	}
	return l.records(s)
}

// batchRecords and batchBytes are how much of a file is tokenized in one piece.
const (
	batchRecords = 256
	batchBytes   = 256 << 10
)

// batched is records in batches.
func batched(all iter.Seq2[*records.Record, error]) iter.Seq2[[]*records.Record, error] {
	return func(yield func([]*records.Record, error) bool) {
		var batch []*records.Record
		size := 0
		for r, err := range all {
			if err != nil {
				if len(batch) == 0 || yield(batch, nil) {
					yield(nil, err)
				}
				return
			}
			batch = append(batch, r)
			if size += r.Size(); len(batch) == batchRecords || size >= batchBytes {
				if !yield(batch, nil) {
					return
				}
				batch, size = nil, 0
			}
		}
		if len(batch) > 0 {
			yield(batch, nil)
		}
	}
}

// records reads a file of records.
func (l *loader) records(s *records.Source) error {
	before := l.sets[0].Counts.Records
	convert := func(batch []*records.Record) ([2]made, error) {
		var out [2]made
		for i, r := range batch {
			fields, err := r.Object()
			if err == nil {
				to := &out[0]
				if len(l.sets) > 1 && inShare(fields.Hash(), l.converter.opt.EvalSplit) {
					to = &out[1]
				}
				to.number = i + 1
				err = to.record(l.converter, fields)
			}
			if err != nil {
				return out, r.Errorf("%w", err)
			}
		}
		return out, nil
	}
	err := inOrder(batched(s.Records()), convert, func(m [2]made) error {
		numbered(m[:], l.sets[0].Counts.Records)
		for i, set := range l.sets {
			l.sets[0].Counts.add(&m[i].counts) // the notes are of all records
			if err := l.add(set, m[i].examples); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && l.sets[0].Counts.Records == before {
		err = fmt.Errorf("%s: the file is empty", s.Name())
	}
	return err
}

// numbered numbers records behind those that were read before them.
func numbered(batch []made, before int) {
	for i := range batch {
		for j := range batch[i].examples {
			batch[i].examples[j].Record += before
		}
		for text, mention := range batch[i].counts.About {
			mention.First += before
			batch[i].counts.About[text] = mention
		}
	}
}

// text reads a text file.
func (l *loader) text(s *records.Source) error {
	c := l.converter
	if err := c.checkText(); err != nil {
		return fmt.Errorf("%s: %w", s.Name(), err)
	}
	var pending []int32
	room := c.opt.SeqLen - len(c.bos)
	first := true
	sections := func(yield func(section, error) bool) {
		for text, err := range s.Sections(records.Section) {
			if !yield(section{text, first}, err) {
				return
			}
			first = false
		}
	}
	err := inOrder(sections, func(p section) ([]int32, error) {
		if p.first {
			return c.tok.Encode(p.text, c.opt.Special.or(false)), nil
		}
		return c.tok.EncodeContinuation(p.text, c.opt.Special.or(false)), nil
	}, func(ids []int32) error {
		pending = append(pending, ids...)
		whole := len(pending) / room * room
		err := l.pieces(pending[:whole])
		pending = append(pending[:0], pending[whole:]...)
		return err
	})
	if err != nil {
		return err
	}
	l.sets[0].Counts.Records++
	return l.pieces(append(pending, c.textEOS()...))
}

// section is a part of a text, and whether it is its beginning.
type section struct {
	text  string
	first bool
}

// pieces adds ids of a text in pieces, each after BOS.
func (l *loader) pieces(ids []int32) error {
	c := l.converter
	room := c.opt.SeqLen - len(c.bos)
	for from := 0; from < len(ids); from += room {
		e := Example{IDs: concat(c.bos, ids[from:min(from+room, len(ids))])}
		if len(e.IDs) < 2 {
			continue
		}
		set := l.sets[0]
		if len(l.sets) > 1 && inShare(hashIDs(e.IDs), c.opt.EvalSplit) {
			set = l.sets[1]
		}
		if err := l.add(set, []Example{e}); err != nil {
			return err
		}
	}
	return nil
}

// inShare says whether a hash is in the given share of all hashes.
func inShare(hash [sha256.Size]byte, share float64) bool {
	return float64(binary.BigEndian.Uint64(hash[:]))/math.MaxUint64 < share
}

// hashIDs is a hash of token ids.
func hashIDs(ids []int32) [sha256.Size]byte {
	b := make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		b = binary.LittleEndian.AppendUint32(b, uint32(id))
	}
	return sha256.Sum256(b)
}

// add adds examples to a set, in memory or, when they are too many, in the file.
func (l *loader) add(s *Set, examples []Example) error {
	if l.writer == nil {
		s.Examples = append(s.Examples, examples...)
		for i := range examples {
			l.bytes += 4*len(examples[i].IDs) + len(examples[i].Loss)
		}
		limit := l.converter.opt.Cache.Limit
		if limit == 0 {
			limit = cacheLimit
		}
		if l.converter.opt.Cache.Prefix == "" || l.bytes <= limit {
			return nil
		}
		return l.spill()
	}
	for i := range examples {
		if err := s.held.add(l.writer, &examples[i]); err != nil {
			return err
		}
	}
	return nil
}

// add writes an example.
func (h *held) add(w *cacheWriter, e *Example) error {
	at, err := w.add(e)
	if err != nil {
		return fmt.Errorf("a file for token ids: %w", err)
	}
	h.index = append(h.index, at)
	h.tokens += len(e.IDs)
	h.targets += e.Targets()
	return nil
}

// spill moves the examples from memory to a file.
func (l *loader) spill() error {
	path := ""
	if l.key != "" {
		path = l.keptPath()
	}
	var err error
	if l.writer, err = createCache(&l.converter.opt.Cache, path); err != nil {
		return err
	}
	for _, s := range l.sets {
		s.held = &held{}
		for i := range s.Examples {
			if err := s.held.add(l.writer, &s.Examples[i]); err != nil {
				return err
			}
		}
		s.Examples = nil
	}
	return nil
}

// abort gives the file up.
func (l *loader) abort() {
	if l.writer != nil {
		l.writer.abort()
	}
}

// finish gives the sets.
func (l *loader) finish() (train, eval *Set, err error) {
	if l.writer != nil {
		var all []*held
		h := cacheHeader{Key: l.key, Counts: l.sets[0].Counts, Classes: l.sets[0].Classes, Answers: l.sets[0].Answers}
		for _, s := range l.sets {
			all = append(all, s.held)
			c := cachedSet{Examples: len(s.held.index), Tokens: s.held.tokens, Targets: s.held.targets}
			for _, p := range s.parts {
				c.Parts = append(c.Parts, cachedPart{p.end, p.weight})
			}
			for _, f := range s.Files {
				c.Files = append(c.Files, f.End)
			}
			h.Sets = append(h.Sets, c)
		}
		file, err := l.writer.finish(h, all)
		if err != nil {
			return nil, nil, err
		}
		file.users = len(all)
		for _, held := range all {
			held.file = file
			held.index = slices.Clip(held.index)
		}
	}
	if len(l.sets) > 1 {
		return l.sets[0], l.sets[1], nil
	}
	return l.sets[0], nil, nil
}

// kept are the sets of a cache that an earlier run left; nil where there is none.
func (l *loader) kept(sources []Source, files [][]string) (train, eval *Set, err error) {
	if l.key, err = l.hash(sources, files); err != nil {
		return nil, nil, err
	}
	h, file, index, err := openCache(l.keptPath(), l.key)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, errStale):
		return nil, nil, nil
	case err != nil:
		return nil, nil, err
	case len(h.Sets) != len(l.sets):
		return nil, nil, errors.Join(errStale, file.close())
	}
	file.users = len(h.Sets)
	for i, c := range h.Sets {
		s := l.sets[i]
		s.held = &held{file: file, index: index[:c.Examples:c.Examples], tokens: c.Tokens, targets: c.Targets}
		index = index[c.Examples:]
		for _, p := range c.Parts {
			s.parts = append(s.parts, part{p.End, p.Weight})
		}
		if paths := slices.Concat(files...); len(paths) == len(c.Files) {
			for j, end := range c.Files {
				s.Files = append(s.Files, File{paths[j], end})
			}
		}
		s.Classes, s.Answers = h.Classes, h.Answers
	}
	l.sets[0].Counts = h.Counts
	if len(l.sets) > 1 {
		return l.sets[0], l.sets[1], nil
	}
	return l.sets[0], nil, nil
}

// keptPath is the name of a cache that is kept.
func (l *loader) keptPath() string {
	return l.converter.opt.Cache.Prefix + "." + l.key[:16] + ".tokens"
}

// hash is a hash of everything that the examples depend on.
func (l *loader) hash(sources []Source, files [][]string) (string, error) {
	opt := l.converter.opt
	h := sha256.New()
	template := ""
	if opt.Template != nil {
		template = opt.Template.String()
	}
	options, err := json.Marshal([]any{cacheMagic, opt.SeqLen, opt.TextField, opt.PromptField, opt.CompletionField,
		opt.Separator, opt.EOS, opt.Special, template, opt.Classes, opt.VocabSize, opt.Overflow, opt.Files.Format,
		opt.EvalSplit, opt.Cache.Vocabulary, opt.Chat.Key(), opt.Format, opt.SkipRefused, opt.PromptTemplate})
	if err != nil {
		return "", err
	}
	h.Write(options)
	for i, s := range sources {
		fmt.Fprintf(h, "\x00%v", s.Weight)
		for _, path := range files[i] {
			if path == records.Stdin {
				return "", errors.New("token ids of standard input (-) cannot be kept for a later run: give a file")
			}
			f, err := infile.Open(path) // a pipe would be empty when it is read for its records
			if err != nil {
				return "", err
			}
			each := sha256.New()
			_, err = io.Copy(each, f)
			f.Close()
			if err != nil {
				return "", fmt.Errorf("%s: %w", path, err)
			}
			fmt.Fprintf(h, "\x00%s%x", records.FormatOf(path), each.Sum(nil))
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Text is the ids of a whole text file (plain or compressed), or of the files of a directory one after another, for
// measuring perplexity. BOS comes first where the vocabulary adds one.
func Text(path string, tok *tokenizer.Tokenizer, split records.Split, opt records.Options) ([]int32, error) {
	files, err := filesOf([]Source{{Path: path}}, split)
	if err != nil {
		return nil, err
	}
	var ids []int32
	if bos, ok := tok.BOS(); ok && tok.AddBOS() {
		ids = append(ids, bos)
	}
	if path != records.Stdin && opt.Format == "" {
		opt.Format, opt.Forced = records.Text, true
	}
	for _, file := range files[0] {
		if ids, err = appendText(ids, file, tok, opt); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// appendText appends the ids of a text file.
func appendText(ids []int32, path string, tok *tokenizer.Tokenizer, opt records.Options) ([]int32, error) {
	s, err := records.Open(path, opt)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	for text, err := range s.Sections(math.MaxInt32 / 2) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, tok.Encode(text, false)...)
	}
	return ids, nil
}

// task is a piece of work of inOrder.
type task[J, R any] struct {
	job    J
	result R
	err    error
	done   chan struct{}
}

// inOrder works on jobs on all cores and uses the results in the order of the jobs, one at a time. The first error ends
// it, in that order. No more than a few jobs are in memory.
func inOrder[J, R any](jobs iter.Seq2[J, error], work func(J) (R, error), use func(R) error) error {
	workers := kernels.Threads()
	todo, order := make(chan *task[J, R], workers), make(chan *task[J, R], 2*workers)
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		defer close(order)
		defer close(todo)
		for job, err := range jobs {
			t := &task[J, R]{job: job, err: err, done: make(chan struct{})}
			select {
			case order <- t:
			case <-stop:
				return
			}
			if err != nil {
				close(t.done)
				return
			}
			todo <- t
		}
	})
	for range workers {
		running.Go(func() {
			for t := range todo {
				t.result, t.err = work(t.job)
				close(t.done)
			}
		})
	}
	var err error
	for t := range order {
		if <-t.done; err == nil {
			if err = t.err; err == nil {
				err = use(t.result)
			}
			if err != nil {
				close(stop)
			}
		}
	}
	running.Wait()
	return err
}
