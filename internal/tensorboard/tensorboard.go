// Package tensorboard writes a training run as an event file that TensorBoard reads: records of the TFRecord format,
// each an Event of TensorBoard's protocol buffers (tensorboard/compat/proto/event.proto and summary.proto).
package tensorboard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/peftconv/peftconv/peft/train"
)

// Fields of the messages, by their names there.
const (
	eventWallTime    = 1 // double
	eventStep        = 2 // int64
	eventFileVersion = 3 // string
	eventSummary     = 5
	eventSessionLog  = 7
	sessionStatus    = 1 // enum
	summaryValue     = 1 // repeated
	valueTag         = 1 // string
	valueSimple      = 2 // float
	valueTensor      = 8
	valueMetadata    = 9
	metadataPlugin   = 1
	pluginName       = 1 // string
	tensorType       = 1 // enum
	tensorShape      = 2
	tensorString     = 8 // repeated bytes

	sessionStart = 1 // SessionLog.START: events of this step and later ones of files before are void
	typeString   = 7 // DT_STRING
	version      = "brain.Event:2"
)

// prefix is what names of event files begin with.
const prefix = "events.out.tfevents."

// Writer writes the events of a run to a new file in a directory. It is a train.Observer. The file is made with the
// first step, and each event is written when it happens.
type Writer struct {
	Dir  string
	Text string // about the run, in Markdown
	// Failed is told, once, that the file cannot be written; the run goes on without it.
	Failed func(error)
	Now    func() time.Time // nil: time.Now

	mu      sync.Mutex // a checkpoint may be reported by another goroutine
	f       *os.File
	waiting []byte // before the first step
	failed  bool
}

var _ train.Observer = (*Writer)(nil)

// Has says whether a directory has event files.
func Has(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			return true, err
		}
	}
	return false, err
}

// Begin implements train.Observer.
func (w *Writer) Begin(s train.Start) {
	w.event(0, appendText(nil, eventFileVersion, version), false)
	if s.Step > 0 {
		log := protowire.AppendTag(nil, sessionStatus, protowire.VarintType)
		w.event(s.Step+1, appendMessage(nil, eventSessionLog, protowire.AppendVarint(log, sessionStart)), false)
	}
	if w.Text != "" && s.Step == 0 {
		w.summary(0, false, text("run", w.Text))
	}
}

// Step implements train.Observer.
func (w *Writer) Step(p train.Progress) {
	values := [][]byte{
		scalar("train/loss", p.Loss), scalar("train/learning_rate", p.LR), scalar("train/grad_norm", p.GradNorm),
		scalar("train/epoch", p.Epoch), scalar("train/tokens", float64(p.Tokens)),
		scalar("train/tokens_with_loss", float64(p.Targets)), scalar("train/memory_bytes", float64(p.RSS)),
	}
	if p.Seconds > 0 {
		values = append(values, scalar("train/tokens_per_second", float64(p.StepTokens)/p.Seconds))
	}
	if p.RouterLoss > 0 {
		values = append(values, scalar("train/router_loss", p.RouterLoss))
	}
	if p.RetainLoss > 0 {
		values = append(values, scalar("train/retain_loss", p.RetainLoss))
	}
	w.summary(p.Step, true, values...)
}

// Evaluated implements train.Observer.
func (w *Writer) Evaluated(e train.Evaluation) {
	values := [][]byte{scalar("eval/loss", e.Loss)}
	if e.Accuracy != nil {
		values = append(values, scalar("eval/accuracy", *e.Accuracy))
	}
	w.summary(e.Step, false, values...)
}

// Sampled implements train.Observer.
func (w *Writer) Sampled(s train.Sample) {
	tag, answer := fmt.Sprintf("samples/%d", s.Number+1), s.Text
	if s.Number < 0 {
		tag = "samples/asked"
	}
	if s.Error != "" {
		answer = s.Error
	}
	w.summary(s.Step, false, text(tag, quoted(s.Prompt)+"\n\n"+quoted(answer)))
}

// quoted is a text as a block of code of Markdown, so that nothing in it has a meaning.
func quoted(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") }

// Checkpoint implements train.Observer.
func (w *Writer) Checkpoint(string, int) {}

// End implements train.Observer.
func (w *Writer) End(*train.Result) {}

// scalar is a Summary.Value of a number.
func scalar(tag string, x float64) []byte {
	b := appendText(nil, valueTag, tag)
	b = protowire.AppendTag(b, valueSimple, protowire.Fixed32Type)
	return protowire.AppendFixed32(b, math.Float32bits(float32(x)))
}

// text is a Summary.Value of a text in Markdown: a tensor without dimensions.
func text(tag, markdown string) []byte {
	tensor := protowire.AppendTag(nil, tensorType, protowire.VarintType)
	tensor = protowire.AppendVarint(tensor, typeString)
	tensor = appendMessage(tensor, tensorShape, nil)
	tensor = appendText(tensor, tensorString, markdown)
	b := appendText(nil, valueTag, tag)
	b = appendMessage(b, valueTensor, tensor)
	return appendMessage(b, valueMetadata, appendMessage(nil, metadataPlugin, appendText(nil, pluginName, "text")))
}

// appendMessage appends a field that is a message.
func appendMessage(b []byte, field protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), message)
}

// appendText appends a field that is a text.
func appendText(b []byte, field protowire.Number, s string) []byte {
	return appendMessage(b, field, []byte(strings.ToValidUTF8(s, "\uFFFD")))
}

// summary writes an event of values.
func (w *Writer) summary(step int, begins bool, values ...[]byte) {
	var b []byte
	for _, v := range values {
		b = appendMessage(b, summaryValue, v)
	}
	w.event(step, appendMessage(nil, eventSummary, b), begins)
}

// event writes an event; begins says that the file is made for it, where it is not there yet.
func (w *Writer) event(step int, what []byte, begins bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if w.Now != nil {
		now = w.Now()
	}
	b := protowire.AppendTag(nil, eventWallTime, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, math.Float64bits(float64(now.UnixMicro())/1e6))
	if step != 0 {
		b = protowire.AppendTag(b, eventStep, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(step))
	}
	data := record(append(b, what...))
	switch {
	case w.failed:
		return
	case w.f == nil && !begins:
		w.waiting = append(w.waiting, data...)
		return
	}
	if err := w.write(data, now); err != nil {
		w.failed = true
		if w.Failed != nil {
			w.Failed(fmt.Errorf("events for TensorBoard cannot be written to %s, and the run goes on without them: %w", w.Dir,
				err))
		}
	}
}

// write writes records, and makes the file for the first of them.
func (w *Writer) write(data []byte, now time.Time) (err error) {
	if w.f == nil {
		if err := os.MkdirAll(w.Dir, 0o777); err != nil {
			return err
		}
		name := fmt.Sprintf("%s%010d.peftconv.%d.0", prefix, now.Unix(), os.Getpid())
		if w.f, err = os.Create(filepath.Join(w.Dir, name)); err != nil {
			return err
		}
		data = append(w.waiting, data...)
		w.waiting = nil
	}
	_, err = w.f.Write(data)
	return err
}

// record is a record of the TFRecord format: length, its checksum, data, its checksum.
func record(data []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	b = binary.LittleEndian.AppendUint32(b, masked(b))
	b = append(b, data...)
	return binary.LittleEndian.AppendUint32(b, masked(data))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// masked is the CRC-32C of data, masked as the format has it.
func masked(data []byte) uint32 {
	sum := crc32.Checksum(data, castagnoli)
	return (sum>>15 | sum<<17) + 0xa282ead8
}

// Close closes the file.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = true
	if w.f == nil {
		return nil
	}
	return w.f.Close()
}
