package edit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/modeltest"
	"github.com/peftconv/peftconv/internal/testdata"
)

// models are the files that small has made.
var models = map[gguf.Format][]byte{}

// small writes a model into a directory of its own.
func small(t *testing.T, format gguf.Format) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "small.gguf")
	if data := models[format]; data != nil {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	meta, tensors := modeltest.Llama(t, 1, gguf.Q4_0)
	modeltest.WriteGGUF(t, path, format, meta, tensors, nil)
	models[format] = read(t, path)
	return path
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func open(t *testing.T, path string) *gguf.File {
	t.Helper()
	f, err := gguf.OpenShard(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// files is the names in a file's directory.
func files(t *testing.T, path string) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

// edited makes an edit of words: "k=v" sets, "-k" removes, "a>b" renames, "t:a>b" renames a tensor.
func edited(t *testing.T, words ...string) Edit {
	t.Helper()
	var e Edit
	for _, w := range words {
		if key, ok := strings.CutPrefix(w, "-"); ok {
			e.Remove = append(e.Remove, key)
		} else if from, to, ok := strings.Cut(w, ">"); ok && !strings.Contains(from, "=") {
			if name, ok := strings.CutPrefix(from, "t:"); ok {
				e.RenameTensors = append(e.RenameTensors, Pair{name, to})
			} else {
				e.Rename = append(e.Rename, Pair{from, to})
			}
		} else {
			a, err := ParseAssignment(w)
			if err != nil {
				t.Fatal(err)
			}
			e.Set = append(e.Set, a)
		}
	}
	return e
}

// apply edits a file and gives how.
func apply(t *testing.T, path string, opt Options, words ...string) (Method, Way) {
	t.Helper()
	p, err := Prepare(path, edited(t, words...), opt)
	if err != nil {
		t.Fatal(err)
	}
	way, err := p.Apply(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p.Method, way
}

func TestEdits(t *testing.T) {
	long := "general.name=" + strings.Repeat("long ", 100)
	for _, tt := range []struct {
		words  []string
		key    string
		want   any // nil: not there
		method Method
	}{
		{[]string{"general.name=smell"}, "general.name", "smell", Header},
		{[]string{"general.name=s"}, "general.name", "s", Header},
		{[]string{long}, "general.name", strings.Repeat("long ", 100), Rewrite},
		{[]string{"-tokenizer.ggml.tokens"}, "tokenizer.ggml.tokens", nil, Header},
		{[]string{"llama.context_length=128"}, "llama.context_length", uint32(128), Header},
		{[]string{"llama.context_length:u64=128", "general.name=s"}, "llama.context_length", uint64(128), Header},
		{[]string{"llama.context_length:u16=128"}, "llama.context_length", uint16(128), Header},
		{[]string{"llama.attention.layer_norm_rms_epsilon=1e-6"}, "llama.attention.layer_norm_rms_epsilon", float32(1e-6),
			Header},
		{[]string{"x.new=text"}, "x.new", "text", Rewrite},
		{[]string{"x.new:i8=-3", "-general.name"}, "x.new", int8(-3), Header},
		{[]string{"x.new:bool=true", "-general.name"}, "x.new", true, Header},
		{[]string{"x.new:f64=0.1", "-general.name"}, "x.new", 0.1, Header},
		{[]string{"x.new:i64=-9223372036854775808", "-tokenizer.ggml.scores"}, "x.new", int64(-1 << 63), Header},
		{[]string{`x.new:str[]=["a","b=c",""]`, "-tokenizer.ggml.scores"}, "x.new", []string{"a", "b=c", ""}, Header},
		{[]string{`x.new:u8[]=[]`, "-tokenizer.ggml.scores"}, "x.new", []uint8{}, Header},
		{[]string{`tokenizer.ggml.scores=[1,2.5,-3e1,0,0,0,0,0]`}, "tokenizer.ggml.scores",
			[]float32{1, 2.5, -30, 0, 0, 0, 0, 0}, Header},
		{[]string{`tokenizer.ggml.token_type=[1,2,3,4,5,6,7,8]`}, "tokenizer.ggml.token_type",
			[]int32{1, 2, 3, 4, 5, 6, 7, 8}, Header},
		{[]string{"general.name>general.basename"}, "general.basename", "small", Header},
		{[]string{"general.name>n"}, "n", "small", Header},
		{[]string{"-general.name", "tokenizer.ggml.model>general.name"}, "general.name", "llama", Header},
		{[]string{"general.name=a=b:c"}, "general.name", "a=b:c", Header},
		{[]string{"general.name="}, "general.name", "", Header},
		{[]string{"general.name=small"}, "general.name", "small", Nothing},
		{[]string{"general.name=123"}, "general.name", "123", Header},
	} {
		for _, format := range []gguf.Format{{}, {Version: 2}, {Version: 1}, {Order: binary.BigEndian}} {
			t.Run(fmt.Sprint(tt.words, format.Version, format.Order), func(t *testing.T) {
				path := small(t, format)
				before := open(t, path)
				method, way := apply(t, path, Options{}, tt.words...)
				if format.Version == 0 && method != tt.method || way == Copied != (method == Rewrite) {
					t.Errorf("method %s, way %s; expected %s", method, way, tt.method)
				}
				after := open(t, path)
				checkValue(t, after.Meta, tt.key, tt.want)
				sameData(t, before, after)
				if names := files(t, path); names != "small.gguf" {
					t.Errorf("files %s", names)
				}
				if after.DataOffset != before.DataOffset && method != Rewrite {
					t.Errorf("data at %d, before at %d", after.DataOffset, before.DataOffset)
				}
			})
		}
	}
}

func checkValue(t *testing.T, meta *gguf.Metadata, key string, want any) {
	t.Helper()
	v, ok := meta.Get(key)
	if want == nil {
		if ok {
			t.Errorf("%s is still %v", key, v)
		}
		return
	}
	w, err := gguf.ValueOf(want)
	if err != nil {
		t.Fatal(err)
	}
	if !ok || !v.Equal(w) {
		t.Errorf("%s is %v %v, expected %v %v", key, v.Type(), v, w.Type(), w)
	}
}

// sameData checks that tensors, but for their names, and all the other metadata's order are as they were.
func sameData(t *testing.T, before, after *gguf.File) {
	t.Helper()
	if after.Version != before.Version || after.Order != before.Order || len(after.Tensors) != len(before.Tensors) {
		t.Errorf("version %d, %v, %d tensors", after.Version, after.Order, len(after.Tensors))
		return
	}
	for i, x := range after.Tensors {
		y := before.Tensors[i]
		if x.Type != y.Type || !slices.Equal(x.Shape, y.Shape) || !bytes.Equal(x.Bytes(), y.Bytes()) {
			t.Errorf("tensor %s differs", x.Name)
		}
	}
}

// TestThereAndBack: an edit and its opposite give the bytes that were there.
func TestThereAndBack(t *testing.T) {
	long := strings.Repeat("x", 1000)
	for _, tt := range []struct{ there, back []string }{
		{[]string{"general.name=other"}, []string{"general.name=small"}},
		{[]string{"general.name=" + long}, []string{"general.name=small"}},
		{[]string{"general.name="}, []string{"general.name=small"}},
		{[]string{"general.name>general.basename"}, []string{"general.basename>general.name"}},
		{[]string{"general.name>" + long}, []string{long + ">general.name"}},
		{[]string{"general.alignment:u32=64"}, []string{"-general.alignment"}},
		{[]string{"general.alignment:u32=4096"}, []string{"-general.alignment"}},
		{[]string{"general.alignment:u32=8", "x=y"}, []string{"-general.alignment", "-x"}},
		{[]string{"t:blk.0.attn_q.weight>q"}, []string{"t:q>blk.0.attn_q.weight"}},
		{[]string{"t:blk.0.attn_q.weight>blk.0.attn_k.weight", "t:blk.0.attn_k.weight>blk.0.attn_q.weight"},
			[]string{"t:blk.0.attn_q.weight>blk.0.attn_k.weight", "t:blk.0.attn_k.weight>blk.0.attn_q.weight"}},
		{[]string{"t:token_embd.weight>" + long[:63]}, []string{"t:" + long[:63] + ">token_embd.weight"}},
		{[]string{"llama.context_length:u64=64"}, []string{"llama.context_length:u32=64"}},
		{[]string{`tokenizer.ggml.tokens=[]`}, []string{`tokenizer.ggml.tokens=["<unk>","<s>","</s>","a","b","c","d","e"]`}},
		{[]string{"-tokenizer.ggml.bos_token_id"}, []string{"tokenizer.ggml.bos_token_id:u32=1"}},
	} {
		for _, format := range []gguf.Format{{}, {Version: 1}, {Order: binary.BigEndian}} {
			t.Run(short(fmt.Sprint(tt.there, format.Version, format.Order)), func(t *testing.T) {
				path := small(t, format)
				want := read(t, path)
				apply(t, path, Options{}, tt.there...)
				if bytes.Equal(read(t, path), want) {
					t.Error("nothing has changed")
				}
				apply(t, path, Options{Rewrite: true}, tt.back...)
				if !bytes.Equal(read(t, path), want) {
					t.Error("the bytes are not those that were there")
				}
			})
		}
	}
}

// TestShrinkAndGrow goes through sizes of a value, always within the header's space, and back: neither the space nor
// the rest change, and the last edit leaves no trace.
func TestShrinkAndGrow(t *testing.T) {
	path := small(t, gguf.Format{})
	apply(t, path, Options{}, "x.text="+strings.Repeat("t", 300))
	want := read(t, path)
	space := open(t, path).DataOffset
	for n := 299; n >= 0; n-- {
		if method, way := apply(t, path, Options{}, "x.text="+strings.Repeat("s", n)); method != Header || way == Copied {
			t.Fatalf("%d bytes: %s, %s", n, method, way)
		}
		f, err := gguf.OpenShard(path)
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := f.Meta.String("x.text"); len(text) != n || f.DataOffset != space {
			t.Fatalf("%d bytes: %d are there, data at %d of %d", n, len(text), f.DataOffset, space)
		}
		f.Close()
	}
	apply(t, path, Options{}, "x.text="+strings.Repeat("t", 300))
	if !bytes.Equal(read(t, path), want) {
		t.Error("the bytes are not those that were there")
	}
}

func TestReserve(t *testing.T) {
	path := small(t, gguf.Format{})
	if _, way := apply(t, path, Options{Rewrite: true, Reserve: 5000}); way != Copied {
		t.Errorf("written by %s", way)
	}
	if pad, ok := open(t, path).Meta.String(PadKey); !ok || len(pad) != 5000 {
		t.Errorf("%d bytes are reserved", len(pad))
	}
	for _, word := range []string{"x.text=" + strings.Repeat("t", 4000), "x.more=" + strings.Repeat("u", 900)} {
		if method, _ := apply(t, path, Options{}, word); method != Header {
			t.Errorf("%s: %s", short(word), method)
		}
	}
	if method, _ := apply(t, path, Options{}, "x.text="+strings.Repeat("t", 9000)); method != Rewrite {
		t.Error("9000 bytes fit into 5000")
	}
	if _, ok := open(t, path).Meta.Get(PadKey); ok {
		t.Error("space is left in a file that was written anew")
	}
}

func TestOut(t *testing.T) {
	path := small(t, gguf.Format{})
	before := read(t, path)
	out := filepath.Join(t.TempDir(), "out.gguf")
	if _, way := apply(t, path, Options{Out: out}, "general.name=s"); way != Copied {
		t.Errorf("written by %s", way)
	}
	if !bytes.Equal(read(t, path), before) {
		t.Error("the file itself was changed")
	}
	if _, ok := open(t, out).Meta.Get(PadKey); ok {
		t.Error("the new file has space that nothing uses")
	}
	checkValue(t, open(t, out).Meta, "general.name", "s")
}

// TestExtra: bytes after the last tensor stay, and a file whose last padding lacks is edited like any other.
func TestExtra(t *testing.T) {
	path := small(t, gguf.Format{})
	whole := read(t, path)
	for _, data := range [][]byte{append(slices.Clone(whole), "and more"...), whole[:len(whole)-1]} {
		for _, word := range []string{"general.name=s", "general.name=" + strings.Repeat("l", 500)} {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := gguf.OpenShard(path); err != nil {
				continue // that byte was not padding
			}
			space := open(t, path).DataOffset
			apply(t, path, Options{}, word)
			if got := read(t, path)[open(t, path).DataOffset:]; !bytes.Equal(got, data[space:]) {
				t.Errorf("%s: %d bytes after the header, before %d", short(word), len(got), len(data)-int(space))
			}
		}
	}
	if err := os.WriteFile(path, append(whole, "and more"...), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := Prepare(path, edited(t, "general.alignment:u32=64"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Apply(t.Context()); err == nil || !strings.Contains(err.Error(), "bytes after the last tensor") {
		t.Errorf("another alignment: %v", err)
	}
}

// TestNoTensors: a vocabulary's file ends with its header, perhaps before its padding.
func TestNoTensors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vocab.gguf")
	for _, cut := range []int{0, 1} {
		modeltest.WriteGGUF(t, path, gguf.Format{}, modeltest.Meta(t, "general.architecture", "llama", "general.name", "abc"),
			nil, nil)
		data := read(t, path)
		if err := os.WriteFile(path, data[:len(data)-cut], 0o600); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"b", "abcdefghijklmnopqrstuvwxyz"} {
			apply(t, path, Options{}, "general.name="+name)
			checkValue(t, open(t, path).Meta, "general.name", name)
		}
	}
}

func TestRefusals(t *testing.T) {
	path := small(t, gguf.Format{})
	want := read(t, path)
	for _, tt := range []struct{ word, want string }{
		{"-general.nam", `no key "general.nam"`},
		{"general.nam>x", `no key "general.nam"`},
		{"general.name>general.architecture", `there is a key "general.architecture" already`},
		{"t:absent>x", `no tensor "absent"`},
		{"t:blk.0.attn_q.weight>blk.0.attn_k.weight", `two tensors would be named "blk.0.attn_k.weight"`},
		{"t:blk.0.attn_q.weight>" + strings.Repeat("n", 64), "the name has 64 bytes"},
		{"general.alignment:u32=48", "expected a power of two from 8 to 65536"},
		{"general.alignment:u32=0", "expected a power of two"},
		{"general.alignment:u32=4", "expected a power of two"},
		{"general.alignment:u32=131072", "expected a power of two"},
		{"general.alignment:u64=64", "must be of kind u32, not u64"},
		{"split.count:u16=0", "use split and join to change it"},
		{"-split.no", "use split and join to change it"},
		{"x>split.no", "use split and join to change it"},
		{PadKey + "=x", "cannot be changed"},
		{"llama.context_length=-1", `"-1" is no value of kind u32`},
		{"llama.context_length=4294967296", "4294967296 is more than a value of kind u32 can be"},
		{"llama.context_length=1e3", `"1e3" is no value of kind u32`},
		{"llama.context_length=", `"" is no value of kind u32`},
		{"llama.attention.layer_norm_rms_epsilon=1e50", "more than a value of kind f32"},
		{"x.new=12", "say which, as in x.new:u32=…"},
		{"x.new=1e999", "say which"},
		{"x.new=true", "say which"},
		{"x.new=[1,2]", "say which"},
		{"x.new:bool=1", "neither true nor false"},
		{"x.new:str=\xff", "not UTF-8"},
		{`tokenizer.ggml.tokens=["a",3]`, "element 1: 3 is no string"},
		{`tokenizer.ggml.tokens=["a",null]`, "element 1: null is no string"},
		{`tokenizer.ggml.tokens=a`, "is no JSON array: the value is of kind str[]"},
		{`tokenizer.ggml.tokens=null`, "is no JSON array"},
		{`tokenizer.ggml.token_type=[1.5]`, "element 0"},
		{`tokenizer.ggml.token_type=[1] x`, "is no JSON array"},
		{"=x", "expected KEY=VALUE"},
		{strings.Repeat("k", 65536) + "=x", "a key has 1 to 65535 bytes"},
	} {
		t.Run(short(tt.word), func(t *testing.T) {
			_, err := prepareWord(t, path, tt.word)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, expected %q", err, tt.want)
			}
		})
	}
	for _, words := range [][]string{{"a:u8=1", "a:u8=2"}, {"general.name=x", "-general.name"},
		{"t:blk.0.attn_q.weight>a", "t:blk.0.attn_q.weight>b"}} {
		if _, err := Prepare(path, edited(t, words...), Options{}); err == nil {
			t.Errorf("%v was taken", words)
		}
	}
	if _, err := Prepare(path, Edit{}, Options{}); err == nil {
		t.Error("an edit of nothing was taken")
	}
	if !bytes.Equal(read(t, path), want) || files(t, path) != "small.gguf" {
		t.Error("the file was touched")
	}
}

func prepareWord(t *testing.T, path, word string) (*Plan, error) {
	if a, err := ParseAssignment(word); err != nil && !strings.ContainsAny(word, ">-") {
		return nil, err
	} else if err == nil {
		return Prepare(path, Edit{Set: []Assignment{a}}, Options{})
	}
	return Prepare(path, edited(t, word), Options{})
}

func TestParse(t *testing.T) {
	for _, text := range []string{"a", "=b", "k:u33=1", "k:arr=[]", "k:=1", "k:u8[][]=[]"} {
		if a, err := ParseAssignment(text); err == nil {
			t.Errorf("ParseAssignment(%q) = %+v", text, a)
		}
	}
	for _, text := range []string{"a", "=b", "a="} {
		if p, err := ParsePair(text); err == nil {
			t.Errorf("ParsePair(%q) = %+v", text, p)
		}
	}
	if a, err := ParseAssignment("a:b:str=c"); err != nil || a.Key != "a:b" || a.Text != "c" || a.Kind.String() != "str" {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestWarnings: what the edit makes contradictory is said, what was so before is not.
func TestWarnings(t *testing.T) {
	path := small(t, gguf.Format{})
	for _, tt := range []struct{ word, want string }{
		{"general.architecture=qwen2", `the metadata are those of "llama"`},
		{"-general.architecture", "general.architecture is missing"},
		{"llama.block_count=2", "block 1 has no tensors"},
		{`tokenizer.ggml.tokens=["a"]`, "tokenizer.ggml.scores has 8 entries"},
		{"t:blk.0.attn_q.weight>blk.1.attn_q.weight", "there are tensors of block 1"},
	} {
		p, err := Prepare(path, edited(t, tt.word), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if all := strings.Join(p.Warnings, "\n"); !strings.Contains(all, tt.want) {
			t.Errorf("%s: warnings %q", tt.word, all)
		}
	}
	apply(t, path, Options{}, "llama.block_count=2")
	p, err := Prepare(path, edited(t, "general.name=x"), Options{})
	if err != nil || len(p.Warnings) > 0 {
		t.Errorf("warnings %q, %v", p.Warnings, err)
	}
}

func TestShards(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "m")
	meta, tensors := modeltest.Llama(t, 1, gguf.F32)
	for no, group := range gguf.Split(tensors, 32, 6, 0) {
		m, err := gguf.SplitMetadata(meta, no, 2, len(tensors))
		if err != nil {
			t.Fatal(err)
		}
		modeltest.WriteGGUF(t, gguf.SplitPath(prefix, no, 2), gguf.Format{}, m, group, nil)
	}
	first, second := gguf.SplitPath(prefix, 0, 2), gguf.SplitPath(prefix, 1, 2)
	apply(t, first, Options{}, "general.name=other")
	if _, err := Prepare(second, edited(t, "x.y=z"), Options{}); err == nil ||
		!strings.Contains(err.Error(), "file 2 of a model") {
		t.Errorf("metadata of a second file were edited: %v", err)
	}
	apply(t, second, Options{}, "t:blk.0.ffn_up.weight>blk.0.up")
	whole, err := gguf.Open(first)
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	checkValue(t, whole.Meta, "general.name", "other")
	if whole.Tensor("blk.0.up") == nil {
		t.Error("the tensor has its old name")
	}
}

// TestLinks: other names of a file keep what they show, symbolic links stay.
func TestLinks(t *testing.T) {
	path := small(t, gguf.Format{})
	want := read(t, path)
	hard, soft := filepath.Join(t.TempDir(), "hard.gguf"), filepath.Join(t.TempDir(), "soft.gguf")
	if err := os.Link(path, hard); err != nil {
		t.Skip(err)
	}
	if err := os.Symlink(path, soft); err != nil {
		t.Skip(err)
	}
	if _, way := apply(t, soft, Options{}, "general.name=s"); way == InPlace {
		t.Errorf("written by %s", way)
	}
	if !bytes.Equal(read(t, hard), want) {
		t.Error("the other name shows the edited file")
	}
	if info, err := os.Lstat(soft); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the symbolic link is gone: %v", err)
	}
	checkValue(t, open(t, path).Meta, "general.name", "s")
	apply(t, soft, Options{}, "general.name=t")
	checkValue(t, open(t, path).Meta, "general.name", "t")
}

func TestReadOnly(t *testing.T) {
	if os.Getuid() == 0 || runtime.GOOS == "windows" {
		t.Skip("permissions do not hold here")
	}
	path := small(t, gguf.Format{})
	if err := os.Chmod(path, 0o444); err != nil {
		t.Fatal(err)
	}
	for _, opt := range []Options{{}, {Rewrite: true}} {
		p, err := Prepare(path, edited(t, "general.name=s"), opt)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Apply(t.Context()); !errors.Is(err, os.ErrPermission) {
			t.Errorf("a read-only file was edited: %v", err)
		}
	}
}

func TestChangedMeanwhile(t *testing.T) {
	path := small(t, gguf.Format{})
	p, err := Prepare(path, edited(t, "general.name=s"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, path, Options{}, "general.name=t")
	if _, err := p.Apply(t.Context()); err == nil || !strings.Contains(err.Error(), "has changed") {
		t.Errorf("error %v", err)
	}
	checkValue(t, open(t, path).Meta, "general.name", "t")
}

func TestCancelled(t *testing.T) {
	path := small(t, gguf.Format{})
	want := read(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, word := range []string{"general.name=s", "general.name=" + strings.Repeat("l", 500),
		"general.alignment:u32=64"} {
		p, err := Prepare(path, edited(t, word), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Apply(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	}
	if !bytes.Equal(read(t, path), want) || files(t, path) != "small.gguf" {
		t.Errorf("the directory has changed: %s", files(t, path))
	}
}

func TestRealModel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stories.gguf")
	if err := os.WriteFile(path, read(t, testdata.Shared(t, "models/stories260K.gguf")), 0o600); err != nil {
		t.Fatal(err)
	}
	want := read(t, path)
	name, _ := open(t, path).Meta.String("general.name")
	apply(t, path, Options{}, "general.name=x")
	apply(t, path, Options{}, "general.name="+name)
	if !bytes.Equal(read(t, path), want) {
		t.Error("the bytes are not those that were there")
	}
}
