package heal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/model"
)

// Metadata of a file between the stages, and of one that is healed.
const (
	metaID      = "peftconv.heal.id"     // what the run was made of
	metaLayers  = "peftconv.heal.layers" // layers done
	metaBase    = "peftconv.heal.base_sha256"
	metaTeacher = "peftconv.heal.teacher_sha256"
)

// saveAfter is the time after which what is done is saved, so that no more is lost.
const saveAfter = 10 * time.Minute

// StagePath is where a run that writes to out keeps what it has done: x.healing.gguf beside x.gguf.
func StagePath(out string) string { return beside(out, "healing") }

// beside is a file that a run keeps beside its output for a time: x.KIND.gguf beside x.gguf.
func beside(out, kind string) string {
	return strings.TrimSuffix(out, filepath.Ext(out)) + "." + kind + ".gguf"
}

// Interrupted is the error of a run that was cancelled and can go on: it unwraps to the context's error.
type Interrupted struct {
	Path         string // what is done; "" where nothing is
	Done, Layers int
	cause        error
}

// Error says how far the run came.
func (e *Interrupted) Error() string {
	text := fmt.Sprintf("healing was interrupted after layer %d of %d", e.Done, e.Layers)
	if e.Path != "" {
		text += "; --resume goes on from " + e.Path
	}
	return text
}

// Unwrap is the error of the context.
func (e *Interrupted) Unwrap() error { return e.cause }

// interrupted saves what is done where the run was cancelled.
func (h *healer) interrupted(ctx context.Context, err error) error {
	if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return err
	}
	e := &Interrupted{Done: h.done, Layers: len(h.base.Model.Layers), cause: err}
	if h.done > 0 {
		if err := h.save(); err != nil {
			return errors.Join(e, err)
		}
		e.Path = StagePath(h.out)
	}
	return e
}

// identity is a hash of what the result depends on.
func (h *healer) identity(set *attach.Data) (string, error) {
	base, err := h.base.SHA256()
	if err != nil {
		return "", err
	}
	theirs, err := h.theirs.SHA256()
	if err != nil {
		return "", err
	}
	data, err := set.Hash()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %d %v", base, theirs, data, h.opt.Tokens,
		[]float64{near, nearFew, moves, sweeps}))
	return hex.EncodeToString(sum[:]), nil
}

// save writes what is done beside the output.
func (h *healer) save() error {
	h.saved = time.Now()
	return h.write(StagePath(h.out), entry{metaID, h.id}, entry{metaLayers, uint32(h.done)})
}

// resume takes the blocks of the layers that an interrupted run has done.
func (h *healer) resume() error {
	path := StagePath(h.out)
	f, err := gguf.Open(path)
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	defer f.Close()
	id, _ := f.Meta.String(metaID)
	done, ok := f.Meta.Uint(metaLayers)
	switch {
	case id == "" || !ok || done > uint64(len(h.base.Model.Layers)):
		return fmt.Errorf("resume: %s is not of an interrupted run", path)
	case id != h.id:
		return fmt.Errorf("resume: %s is of a run with another base, teacher, text or number of tokens", path)
	}
	for _, m := range h.base.Model.Matrices() {
		if m.Layer < 0 || m.Layer >= int(done) || !changeable(m) {
			continue
		}
		t := f.Tensor(m.Tensor)
		if t == nil || t.Type != m.W.Type || (m.FirstRow+m.W.Rows)*m.W.RowSize() > len(t.Bytes()) {
			return fmt.Errorf("resume: %s has no tensor %s as the base has it", path, m.Tensor)
		}
		h.blocks[m] = slices.Clone(t.Bytes()[m.FirstRow*m.W.RowSize():][:len(m.W.Data)])
	}
	h.skipped = int(done)
	return nil
}

// removeStage removes what was kept for another run.
func (h *healer) removeStage() error { return removed(StagePath(h.out)) }

// removed removes a file that may be there.
func removed(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// entry is one of metadata.
type entry struct {
	key   string
	value any
}

// write writes the base with the blocks made so far, and with more metadata.
func (h *healer) write(path string, more ...entry) error {
	base, err := h.base.SHA256()
	if err != nil {
		return err
	}
	theirs, err := h.theirs.SHA256()
	if err != nil {
		return err
	}
	meta := h.base.GGUF.Meta.Clone()
	for _, e := range append([]entry{{metaBase, base}, {metaTeacher, theirs}}, more...) {
		if err := meta.Set(e.key, e.value); err != nil {
			return err
		}
	}
	f, err := atomicfile.Create(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	var table []gguf.Tensor
	for _, t := range h.base.GGUF.Tensors {
		table = append(table, gguf.Tensor{Name: t.Name, Shape: t.Shape, Type: t.Type})
	}
	w, err := gguf.NewWriter(f, meta, table)
	if err != nil {
		return err
	}
	made := map[string][]*model.Linear{}
	for m := range h.blocks {
		made[m.Tensor] = append(made[m.Tensor], m)
	}
	for _, t := range h.base.GGUF.Tensors {
		data := t.Bytes()
		if list := made[t.Name]; list != nil {
			data = slices.Clone(data)
			for _, m := range list {
				copy(data[m.FirstRow*m.W.RowSize():], h.blocks[m])
			}
		}
		if err := w.WriteTensor(t.Name, data); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Commit()
}
