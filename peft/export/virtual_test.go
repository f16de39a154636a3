package export

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/dataset"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/virtual"
	"github.com/peftconv/peftconv/peft/eval"
	"github.com/peftconv/peftconv/peft/method"
)

// exportModel exports an adapter as a model and opens it.
func exportModel(t *testing.T, b *attach.Base, a *attach.Adapter) (*attach.Base, *ModelReport) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "model.gguf")
	r, err := Model(pefttest.Adapter(a), pefttest.Base(b), out)
	if err != nil {
		t.Fatal(err)
	}
	return pefttest.OpenBase(t, out), r
}

// TestVirtualModel: the model with virtual tokens in its vocabulary has the loss of the base with the adapter, but for
// the small probability of the virtual tokens.
func TestVirtualModel(t *testing.T) {
	tied := pefttest.Tiny
	tied.Tied = true
	for _, c := range []struct {
		name  string
		model pefttest.TinyModel
		limit float64
	}{{"own head", pefttest.Tiny, 0.02}, {"tied", tied, 0.02}, {"in K types", pefttest.TinyK, 0.05}} {
		t.Run(c.name, func(t *testing.T) {
			b := pefttest.OpenBase(t, c.model.WriteGGUF(t))
			a, err := virtual.NewPromptTuning(b, method.PromptTuning{VirtualTokens: 3, Seed: 5})
			if err != nil {
				t.Fatal(err)
			}
			m, report := exportModel(t, b, a)
			vocab := int32(b.Model.Spec.Vocab)
			data, behind := pefttest.TinyData(6, 2), &dataset.Set{}
			for _, e := range data.Examples {
				loss := e.Loss
				if loss == nil {
					loss = slices.Repeat([]bool{true}, len(e.IDs))
					loss[0] = false
				}
				behind.Examples = append(behind.Examples, attach.Example{
					IDs:  slices.Concat([]int32{vocab, vocab + 1, vocab + 2}, e.IDs),
					Loss: slices.Concat([]bool{false, false, false}, loss),
				})
			}
			want, err := eval.Loss(context.Background(), pefttest.Base(b),
				pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), pefttest.Data(data), 0)
			if err != nil {
				t.Fatal(err)
			}
			got, err := eval.Loss(context.Background(), pefttest.Base(m), nil, pefttest.Data(behind), 0)
			if err != nil || math.Abs(got.Loss-want.Loss) > c.limit || got.Tokens != want.Tokens {
				t.Errorf("loss %+v, %v, expected %+v", got, err, want)
			}
			if m.Tokenizer.AddBOS() || !strings.HasPrefix(report.Note, "a prompt has to begin with <pt_0>…<pt_2><s>") {
				t.Errorf("BOS in front: %v; the note is %q", m.Tokenizer.AddBOS(), report.Note)
			}
			if ids := m.Tokenizer.Encode("<pt_0><pt_2><s>", true); !slices.Equal(ids, []int32{vocab, vocab + 2, 1}) {
				t.Errorf("the virtual tokens are read as %v", ids)
			}
			if _, err := Model(pefttest.Adapter(a), pefttest.Base(m), filepath.Join(t.TempDir(), "twice.gguf")); err == nil {
				t.Error("virtual tokens are added twice")
			}
		})
	}
}

// withChat is a tiny model with a chat template.
func withChat(t *testing.T, chat string) *attach.Base {
	t.Helper()
	path := pefttest.Tiny.WriteGGUF(t)
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := &modelFile{meta: f.Meta.Clone()}
	if err := m.meta.Set(keyTemplate, chat); err != nil {
		t.Fatal(err)
	}
	for _, x := range f.Tensors {
		m.tensors = append(m.tensors, copied(x))
	}
	var out bytes.Buffer
	if err := m.writeTo(&out); err != nil {
		t.Fatal(err)
	}
	changed := filepath.Join(t.TempDir(), "chat.gguf")
	if err := os.WriteFile(changed, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return pefttest.OpenBase(t, changed)
}

// TestVirtualChat: chats begin with the virtual tokens, and have BOS once.
func TestVirtualChat(t *testing.T) {
	prompt := func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPromptTuning(b, method.PromptTuning{VirtualTokens: 2})
	}
	for _, c := range []struct {
		name, chat, want string
		make             func(b *attach.Base) (*attach.Adapter, error)
	}{
		{"BOS by the vocabulary", "{{ messages }}", "<pt_0><pt_1><s>{{ messages }}", prompt},
		{"BOS by the template", "{{ bos_token }}{{ messages }}", "<pt_0><pt_1>{{ bos_token }}{{ messages }}", prompt},
		{"among fields", "{{ messages }}", "<pt_0>{{ messages[-1]['content'] }}<pt_1>so: ",
			func(b *attach.Base) (*attach.Adapter, error) {
				return virtual.NewPTuning(b, method.PTuning{Template: "[P] {q} [P] so: {a}", Hidden: 4})
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := withChat(t, c.chat)
			a, err := c.make(b)
			if err != nil {
				t.Fatal(err)
			}
			m, _ := exportModel(t, b, a)
			if chat, _ := m.GGUF.Meta.String(keyTemplate); chat != c.want {
				t.Errorf("the chat template is %q, expected %q", chat, c.want)
			}
		})
	}
}

// TestState reads a state back as llama.cpp does and compares it with a session's cache.
func TestState(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a, err := virtual.NewPrefixTuning(b, method.PrefixTuning{PromptTuning: method.PromptTuning{VirtualTokens: 3, Seed: 5}})
	if err != nil {
		t.Fatal(err)
	}
	session, err := virtualSession(b, []attach.Scaled{{Adapter: a, Scale: 1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		opt     StateOptions
		headers []uint32 // in front of the cells
	}{
		{StateOptions{}, []uint32{magicSession, 10, 4, 1, 1, 1, 1, 5, 0x6d616c6c, 1}},
		{StateOptions{First: "</s>"}, []uint32{magicSession, 10, 4, 1, 1, 1, 2, 5, 0x6d616c6c, 1}},
		{StateOptions{Target: "2025"}, []uint32{magicSession, 9, 3, 1, 1, 1, 5, 0x6d616c6c}},
		{StateOptions{Kind: StateSequence, Attention: "plain"}, []uint32{magicSequence, 3, 3, 1, 1, 1, 1}},
		{StateOptions{Kind: StateSequence, Target: "2025-02"}, []uint32{magicSequence, 2, 3, 1, 1, 1}},
		{StateOptions{Kind: StateSequence, Streams: 4, F32: true}, []uint32{magicSequence, 3, 3, 1, 1, 1, 4}},
	} {
		path := filepath.Join(t.TempDir(), "state")
		r, err := State(pefttest.Base(b), pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), path, c.opt)
		if err != nil {
			t.Fatal(err)
		}
		if r.Tokens != 3 || r.Placeholder != 1 {
			t.Errorf("%+v: the report is %+v", c.opt, r)
		}
		data := pefttest.FileBytes(t, path)
		for i, want := range c.headers {
			got := binary.LittleEndian.Uint32(data[4*i:])
			if want == 0x6d616c6c { // "llama" shifts what follows by a byte
				rest := data[4*i:]
				if string(rest[:5]) != "llama" || i+1 < len(c.headers) && binary.LittleEndian.Uint32(rest[5:]) != 1 {
					t.Errorf("%+v: after the tokens stands %q", c.opt, rest[:9])
				}
				break
			}
			if got != want {
				t.Errorf("%+v: word %d is %#x, expected %#x", c.opt, i, got, want)
			}
		}
		version, _ := c.opt.check()
		keys, values := session.Cache(1)
		checkCache(t, data, c.opt, !version.flash, keys, values)
	}
}

// checkCache finds the keys and values of the last layer in a state.
func checkCache(t *testing.T, data []byte, opt StateOptions, transposed bool, keys, values []float32) {
	t.Helper()
	size := opt.elements().BlockSize()
	block := 3 * 16 * size // 3 tokens, 2 heads of 8
	end := len(data) - 4*max(0, opt.Streams-1)
	wantValues := values
	if transposed {
		wantValues = transpose(values, 16)
	}
	if !bytes.Equal(data[end-block:end], floats.Encode(opt.elements(), wantValues, len(wantValues))) {
		t.Errorf("%+v: the values of the last layer are not at the end", opt)
	}
	at := end - 2*(12+block) - block // values of two layers, keys of the last
	if !bytes.Equal(data[at:at+block], floats.Encode(opt.elements(), keys, 16)) {
		t.Errorf("%+v: the keys of the last layer are not where they belong", opt)
	}
}

// TestStateInto puts keys and values into a file of an unknown version.
func TestStateInto(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	state := func(seed uint64, opt StateOptions) []byte {
		a, err := virtual.NewPrefixTuning(b,
			method.PrefixTuning{PromptTuning: method.PromptTuning{VirtualTokens: 3, Seed: seed}})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "state")
		if _, err := State(pefttest.Base(b), pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), path,
			opt); err != nil {
			t.Fatal(err)
		}
		return pefttest.FileBytes(t, path)
	}
	for _, attention := range []string{"flash", "plain"} {
		for _, typ := range []gguf.Type{gguf.F16, gguf.F32} {
			opt := StateOptions{Attention: attention, F32: typ == gguf.F32}
			other, want := state(1, opt), state(2, opt)
			head := []byte("a header of another version")
			path := filepath.Join(t.TempDir(), "own")
			if err := os.WriteFile(path, slices.Concat(head, other[44:]), 0o644); err != nil {
				t.Fatal(err)
			}
			if got := state(2, StateOptions{From: path}); !bytes.Equal(got, slices.Concat(head, want[44:])) {
				t.Errorf("%s, %v: keys and values are not in their places", attention, typ)
			}
		}
	}
}

// FuzzStateInto puts keys and values into arbitrary files, which stay as they are before them.
func FuzzStateInto(f *testing.F) {
	b := pefttest.OpenBase(f, pefttest.Tiny.WriteGGUF(f))
	writer := func(seed uint64) *stateWriter {
		a, err := virtual.NewPrefixTuning(b,
			method.PrefixTuning{PromptTuning: method.PromptTuning{VirtualTokens: 1, Seed: seed}})
		if err != nil {
			f.Fatal(err)
		}
		session, err := virtualSession(b, []attach.Scaled{{Adapter: a, Scale: 1}})
		if err != nil {
			f.Fatal(err)
		}
		return &stateWriter{base: b, session: session, version: stateVersions["2026"], first: -1}
	}
	ours := writer(1)
	for _, opt := range []StateOptions{{}, {F32: true}, {Kind: StateSequence}} {
		other := writer(2)
		other.opt = opt
		data := other.whole()
		if bytes.Equal(ours.replaced(data), data) || ours.replaced(data) == nil {
			f.Fatal("keys and values were not replaced")
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got := ours.replaced(data)
		if got == nil {
			return
		}
		if len(got) != len(data) || !bytes.Equal(ours.replaced(got), got) {
			t.Fatalf("%d bytes became %d, or others when they were replaced again", len(data), len(got))
		}
	})
}

// TestStateNeedsFirst wants a session of a model that puts no token before texts to have its first token named.
func TestStateNeedsFirst(t *testing.T) {
	for _, m := range archtest.All() {
		b := pefttest.OpenModel(t, &m)
		if b.Tokenizer.AddBOS() || hasState(b) != nil {
			continue
		}
		a, err := newPrefix(b, 2)
		if err != nil {
			t.Fatal(err)
		}
		write := func(opt StateOptions) error {
			_, err := State(pefttest.Base(b), pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}),
				filepath.Join(t.TempDir(), "x"), opt)
			return err
		}
		if err := write(StateOptions{}); !errors.Is(err, ErrNoFirst) {
			t.Errorf("%s: %v, expected that the first token is missing", m.Name, err)
		}
		if err := errors.Join(write(StateOptions{First: b.Tokenizer.Piece(7)}), write(StateOptions{Target: "2025"}),
			write(StateOptions{Kind: StateSequence})); err != nil {
			t.Error(err)
		}
		return
	}
	t.Error("every model puts a token before texts")
}

// TestStateErrors wants adapters and options without a state to be refused.
func TestStateErrors(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	prompt, err := virtual.NewPromptTuning(b, method.PromptTuning{VirtualTokens: 2})
	if err != nil {
		t.Fatal(err)
	}
	templated, err := virtual.NewPTuning(b, method.PTuning{Template: "[P] {a}", Hidden: 4})
	if err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, make([]byte, 4096), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		adapter *attach.Adapter
		opt     StateOptions
		want    string
	}{
		{prompt, StateOptions{Kind: "slot"}, `"slot" is not known`},
		{prompt, StateOptions{Target: "1999"}, `"1999" is not known`},
		{prompt, StateOptions{Attention: "fast"}, `"fast" is not known`},
		{prompt, StateOptions{Streams: -1}, "-1 streams"},
		{prompt, StateOptions{First: "the the"}, "which are"},
		{prompt, StateOptions{From: empty}, "does not end with the keys and values of 2 tokens"},
		{templated, StateOptions{}, "among the fields"},
		{pefttest.Trained(t, b, method.LoRA{}), StateOptions{}, "is more than what stands before a text"},
	} {
		if _, err := State(pefttest.Base(b), pefttest.Scaled([]attach.Scaled{{Adapter: c.adapter, Scale: 1}}),
			filepath.Join(t.TempDir(), "x"), c.opt); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v gives %v, expected an error with %q", c.opt, err, c.want)
		}
	}
}
