package export

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/peft"
)

func init() {
	Register(&Form{
		Place: 30, Name: "state",
		About: "the contents of llama.cpp's key-value cache after virtual tokens or a prefix: a session for " +
			"llama-completion's --prompt-cache, or a sequence for a slot of llama-server",
		Write: func(in Input, path string, opt Options) (*Report, error) {
			r, err := State(in.Base, in.Adapters, path, opt.State)
			return &Report{State: r}, err
		},
		Use: func(base, path string, r *Report) [][]string { return r.State.commands(base, path) },
	})
}

// Kinds of llama.cpp's state files.
const (
	StateSession  = "session"  // of a whole context: llama-completion --prompt-cache, llama_state_load_file
	StateSequence = "sequence" // of one sequence: the slots of llama-server, llama_state_seq_load_file
)

// stateVersion is how the llama.cpp of a time writes states.
type stateVersion struct {
	session, sequence uint32 // versions in the files
	outputs           bool   // a session has the outputs, logits and embeddings of the last batch
	streams           bool   // the cache says how many streams it has
	flash             bool   // flash attention is on by default
	replays           bool   // llama-completion reads the last token of a session again, whose cell the file has not
}

// stateVersions are those that can be written, by StateOptions.Target.
var stateVersions = map[string]stateVersion{
	"2026":    {session: 10, sequence: 3, streams: true, flash: true, replays: true},
	"2025":    {session: 9, sequence: 2, outputs: true, streams: true, flash: true},
	"2025-02": {session: 9, sequence: 2, outputs: true},
}

// StateOptions says what State writes. The zero value is a session for the llama.cpp of 2026 as it runs by default:
// half precision and flash attention.
type StateOptions struct {
	Kind      string // StateSession ("" is the same) or StateSequence
	Target    string // "2026" ("" is the same), "2025" (from July on) or "2025-02", whose formats differ
	F32       bool   // keys and values are F32, as the target has them with a cache of that type; otherwise F16
	Attention string // "flash" or "plain", as the target runs; "": its default. The order of values differs
	Streams   int    // separate caches of the target: 1 (0 is the same), or its slots where they do not share one
	// First is the text of the token that every prompt begins with behind the virtual tokens. A session of 2026 has it as
	// its last token, because llama-completion computes that one again. "": BOS, where the model puts that before texts.
	First string
	// From is a state file that the target itself saved with as many cells as the adapter has virtual tokens:
	// llama-completion leaves the last token of its prompt out. Where it is given, that file is written with other keys
	// and values, whatever its version, and its tokens stay.
	From string
}

// ErrNoFirst is a session that needs StateOptions.First.
var ErrNoFirst = errors.New("the first token of prompts is not known")

// StateReport says what State wrote.
type StateReport struct {
	Tokens      int    `json:"tokens"`      // positions in the file
	Placeholder int32  `json:"placeholder"` // the token that each of them counts as
	Text        string `json:"text"`        // how it is spelled
	First       string `json:"first"`       // the token that a session has behind them, "" for none

	opt   StateOptions
	prior bool // the runtime puts First, which is BOS, before every text by itself
	swa   bool // there are layers with a window
}

// elements is the type of keys and values.
func (opt *StateOptions) elements() gguf.Type {
	if opt.F32 {
		return gguf.F32
	}
	return gguf.F16
}

// commands are those that continue from the state: with llama-completion, or with llama-server and two requests to it.
func (r *StateReport) commands(base, path string) [][]string {
	const prompt = "…" // what the user puts there
	text := strings.Repeat(r.Text, r.Tokens) + prompt
	if r.First != "" && !r.prior {
		text = strings.Repeat(r.Text, r.Tokens) + r.First + prompt
	}
	flags := []string{"-m", ggufOf(base)}
	if r.opt.F32 {
		flags = append(flags, "-ctk", "f32", "-ctv", "f32")
	}
	switch r.opt.Attention {
	case "flash":
		flags = append(flags, "-fa", "on")
	case "plain":
		flags = append(flags, "-fa", "off")
	}
	if r.opt.Kind != StateSequence {
		return [][]string{slices.Concat([]string{"llama-completion"}, flags, []string{"-no-cnv", "--prompt-cache", path,
			"--prompt-cache-ro", "-p", text})}
	}
	if r.swa { // without it the server reads the whole prompt again
		flags = append(flags, "--swa-full")
	}
	if r.opt.Streams > 1 {
		flags = append(flags, "--no-kv-unified", "-np", fmt.Sprint(r.opt.Streams))
	}
	request := func(place string, body map[string]any) []string {
		text, _ := json.Marshal(body) // of texts and numbers
		return []string{"curl", "http://localhost:8080" + place, "-H", "Content-Type: application/json", "-d", string(text)}
	}
	return [][]string{
		slices.Concat([]string{"llama-server"}, flags, []string{"--slot-save-path", filepath.Dir(path)}),
		request("/slots/0?action=restore", map[string]any{"filename": filepath.Base(path)}),
		request("/completion", map[string]any{"id_slot": 0, "cache_prompt": true, "prompt": text}),
	}
}

// check reports values that make no sense, and gives the version.
func (opt *StateOptions) check() (stateVersion, error) {
	target := opt.Target
	if target == "" {
		target = "2026"
	}
	v, known := stateVersions[target]
	switch {
	case !known:
		return v, fmt.Errorf("target %q is not known, expected 2026, 2025 or 2025-02", opt.Target)
	case opt.Kind != "" && opt.Kind != StateSession && opt.Kind != StateSequence:
		return v, fmt.Errorf("a state of kind %q is not known, expected %s or %s", opt.Kind, StateSession,
			StateSequence)
	case opt.Streams < 0 || opt.Streams > 256:
		return v, fmt.Errorf("%d streams, expected 1 to 256", opt.Streams)
	}
	switch opt.Attention {
	case "flash":
		v.flash = true
	case "plain":
		v.flash = false
	case "":
	default:
		return v, fmt.Errorf("attention %q is not known, expected flash or plain", opt.Attention)
	}
	return v, nil
}

// State writes what llama.cpp has in its cache after the virtual tokens of adapters: a state from which it continues as
// if it had read them. Errors: adapters without virtual tokens, or whose tokens stand among fields of a text.
func State(b *peft.Base, adapters []peft.Scaled, path string, opt StateOptions) (_ *StateReport, err error) {
	defer mapped.Guard(&err)()
	r, err := exportState(handle.Base(b), handle.Scaled(adapters), path, opt)
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", path, err)
	}
	return r, nil
}

func exportState(b *attach.Base, adapters []attach.Scaled, path string, opt StateOptions) (*StateReport, error) {
	version, err := opt.check()
	if err != nil {
		return nil, err
	}
	if err := hasState(b); err != nil {
		return nil, err
	}
	session, err := virtualSession(b, adapters)
	if err != nil {
		return nil, err
	}
	w := &stateWriter{base: b, session: session, version: version, opt: opt, first: -1}
	w.report = StateReport{Tokens: session.Len(), Placeholder: placeholder(b), opt: opt, swa: len(caches(b)) > 1}
	if b.Tokenizer != nil {
		w.report.Text = b.Tokenizer.Piece(w.report.Placeholder)
		w.report.prior = b.Tokenizer.AddBOS()
	}
	if opt.Kind != StateSequence && version.replays {
		if w.first, err = first(b, opt.First); err != nil {
			return nil, err
		}
		if b.Tokenizer != nil {
			w.report.First = b.Tokenizer.Piece(w.first)
		}
	}
	data := w.whole()
	if opt.From != "" {
		if data, err = w.into(opt.From); err != nil {
			return nil, err
		}
	}
	return &w.report, atomicfile.Write(path, func(out io.Writer) error {
		_, err := out.Write(data)
		return err
	})
}

// hasState says why what llama.cpp keeps of a text is more than the keys and values of all layers, or other ones.
func hasState(b *attach.Base) error {
	for i, l := range b.Model.Layers {
		reason := ""
		switch s := l.Spec; {
		case s.Mixer == arch.DeltaNet || s.Mixer == arch.Mamba2 || s.Mixer == arch.ShortConv:
			reason = "carries a recurrent state"
		case s.Mixer == arch.NoMixer:
			reason = "has no attention"
		case s.KeysFrom > 0:
			reason = fmt.Sprintf("reads the keys and values of layer %d", s.KeysFrom-1)
		case s.Latent.Rank > 0:
			reason = "keeps latent keys and values"
		}
		if reason != "" {
			return errkind.Errorf(errors.ErrUnsupported, "a state of %s cannot be written: layer %d %s, for which llama.cpp's "+
				"states have another form", b.Path, i, reason)
		}
	}
	return nil
}

// caches are the layers of each cache that llama.cpp has: those that see all tokens and, where there are such, those
// that see a window of them.
func caches(b *attach.Base) [][]int {
	var all, windowed []int
	for i, l := range b.Model.Layers {
		if l.Spec.Window > 0 {
			windowed = append(windowed, i)
		} else {
			all = append(all, i)
		}
	}
	if windowed == nil {
		return [][]int{all}
	}
	return [][]int{all, windowed}
}

// virtualSession is a session that has read what the adapters put before every text.
func virtualSession(b *attach.Base, adapters []attach.Scaled) (*model.Session, error) {
	hooks, err := attach.BindAll(b, adapters)
	if err != nil {
		return nil, err
	}
	for _, bound := range hooks {
		a := bound.Adapter
		switch {
		case a.Config.Template != "":
			return nil, errors.New("the virtual tokens stand among the fields of a template: export the adapter as a model")
		case a.Heads() > 0:
			return nil, attach.ErrClassifier
		case a.VirtualTokens() == 0:
			return nil, fmt.Errorf("an adapter of method %s is more than what stands before a text", a.Config.Method)
		}
	}
	n := hooks.VirtualTokens()
	if n == 0 {
		return nil, errors.New("there is no adapter with virtual tokens")
	}
	session := b.Model.NewSession(n)
	ids := attach.Expanded(hooks, []int32{0})
	_, err = session.Append(ids[:len(ids)-1], hooks)
	return session, err
}

// placeholder is the token that each position of a state counts as: the first one of a prompt in any case.
func placeholder(b *attach.Base) int32 {
	if b.Tokenizer == nil {
		return 0
	}
	if id, ok := b.Tokenizer.BOS(); ok {
		return id
	}
	id, _ := b.Tokenizer.EOS()
	return max(id, 0)
}

// first is the token with a text, or without one the one that llama.cpp puts before every text.
func first(b *attach.Base, text string) (int32, error) {
	t := b.Tokenizer
	switch {
	case t == nil:
		return 0, nil
	case text != "":
		if id, ok := t.ID(text); ok {
			return id, nil
		}
		ids := t.EncodeContinuation(text, true)
		if len(ids) != 1 {
			return 0, fmt.Errorf("the first token of prompts is given as %q, which are %d tokens of %s", text, len(ids), b.Path)
		}
		return ids[0], nil
	case t.AddBOS():
		return placeholder(b), nil
	}
	return 0, errkind.Errorf(ErrNoFirst, "%s puts no token before texts, so that the token with which prompts begin is "+
		"not known, and a session has to hold it: name it", b.Path)
}

// stateWriter makes the bytes of a state. All numbers are little-endian.
type stateWriter struct {
	base    *attach.Base
	session *model.Session
	version stateVersion
	opt     StateOptions
	report  StateReport
	first   int32 // the token behind the placeholders, -1 for none
	out     bytes.Buffer
}

// Magic numbers of state files.
const (
	magicSession  = 0x6767736e
	magicSequence = 0x67677371
)

func (w *stateWriter) put(values ...any) {
	for _, v := range values {
		if err := binary.Write(&w.out, binary.LittleEndian, v); err != nil {
			panic("export: a value of no fixed size in a state")
		}
	}
}

// whole is the whole file.
func (w *stateWriter) whole() []byte {
	if w.opt.Kind == StateSequence {
		w.put(uint32(magicSequence), w.version.sequence)
	} else {
		w.put(uint32(magicSession), w.version.session)
	}
	tokens := slices.Repeat([]int32{w.report.Placeholder}, w.session.Len())
	if w.first >= 0 {
		tokens = append(tokens, w.first)
	}
	w.put(uint32(len(tokens)), tokens)
	if w.opt.Kind != StateSequence {
		name := w.base.Architecture()
		w.put(uint32(len(name)), []byte(name))
		if w.version.outputs {
			w.put(uint32(0), uint64(0), uint64(0)) // no outputs, logits, embeddings
		}
	}
	for _, layers := range caches(w.base) {
		streams := max(1, w.opt.Streams)
		if w.version.streams {
			w.put(uint32(streams))
		}
		w.put(uint32(w.session.Len()))
		for pos := range w.session.Len() {
			w.put(int32(pos), uint32(1), int32(0)) // its position; one sequence, number 0
		}
		w.out.Write(w.cache(layers, w.opt.elements(), !w.version.flash))
		for range streams - 1 {
			w.put(uint32(0))
		}
	}
	return w.out.Bytes()
}

// cache is the part of a state that holds the keys and values of some layers.
func (w *stateWriter) cache(of []int, t gguf.Type, transposed bool) []byte {
	var out bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			binary.Write(&out, binary.LittleEndian, v) // into memory
		}
	}
	flag := uint32(0)
	if transposed {
		flag = 1
	}
	put(flag, uint32(len(of)))
	for _, i := range of {
		keys, _ := w.session.Cache(i)
		width := w.base.Model.Layers[i].KeyWidth()
		put(int32(t), uint64(width*t.BlockSize()), floats.Encode(t, keys, width))
	}
	for _, i := range of {
		_, values := w.session.Cache(i)
		width := w.base.Model.Layers[i].ValueWidth()
		if transposed {
			put(int32(t), uint32(t.BlockSize()), uint32(width), floats.Encode(t, transpose(values, width), width))
		} else {
			put(int32(t), uint64(width*t.BlockSize()), floats.Encode(t, values, width))
		}
	}
	return out.Bytes()
}

// transpose is the transposed of a matrix of cols columns.
func transpose(x []float32, cols int) []float32 {
	rows := len(x) / cols
	y := make([]float32, len(x))
	for i := range rows {
		for j := range cols {
			y[j*rows+i] = x[i*cols+j]
		}
	}
	return y
}

// into is a state file of the target with the keys and values replaced: they are recognised by the bytes around them.
func (w *stateWriter) into(path string) ([]byte, error) {
	if len(caches(w.base)) > 1 {
		return nil, errkind.Errorf(errors.ErrUnsupported, "layers of %s see a window of the text, for which llama.cpp has a "+
			"cache of its own: a state that it saved cannot be rewritten", w.base.Path)
	}
	data, err := infile.Read(path, infile.Table)
	if err != nil {
		return nil, err
	}
	if data = w.replaced(data); data == nil {
		return nil, fmt.Errorf("%s does not end with the keys and values of %d tokens "+
			"in F16 or F32: save it with the same model after reading exactly %d tokens, one more for llama-completion's "+
			"--prompt-cache, which keeps no cell of the last", path, w.session.Len(), w.session.Len())
	}
	return data, nil
}

// replaced is a state with the keys and values of a single cache replaced; nil where it does not end with any.
func (w *stateWriter) replaced(data []byte) []byte {
	layers := caches(w.base)[0]
	for _, t := range []gguf.Type{gguf.F16, gguf.F32} {
		for _, transposed := range []bool{false, true} {
			ours := w.cache(layers, t, transposed)
			if at := len(data) - len(ours); at >= 0 && sameFrame(data[at:], ours, w.frame(t)) {
				return append(data[:at:at], ours...)
			}
		}
	}
	return nil
}

// frame lists the stretches of a cache that are not keys and values.
func (w *stateWriter) frame(t gguf.Type) [][2]int {
	spans := [][2]int{{0, 8}}
	at := 8
	add := func(width int) {
		spans = append(spans, [2]int{at, at + 12}) // type and sizes of a layer's keys or values: 12 bytes in both forms
		at += 12 + w.session.Len()*width*t.BlockSize()
	}
	for _, l := range w.base.Model.Layers {
		add(l.KeyWidth())
	}
	for _, l := range w.base.Model.Layers {
		add(l.ValueWidth())
	}
	return spans
}

// sameFrame reports whether two caches are the same but for keys and values.
func sameFrame(a, b []byte, frame [][2]int) bool {
	for _, span := range frame {
		if !bytes.Equal(a[span[0]:span[1]], b[span[0]:span[1]]) {
			return false
		}
	}
	return true
}
