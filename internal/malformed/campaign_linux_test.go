package malformed_test

import (
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/malformed"
	"github.com/peftconv/peftconv/internal/pefttest"
)

// TestCampaign gives files that are wrong to every verb that reads such files. Whatever is in them, a verb ends soon,
// with status 0 or 1, within bounds of memory, without a crash, and leaves nothing half. What verify takes loads, and
// what loads verify takes.
func TestCampaign(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the program some hundred times")
	}
	p := build(t)
	fixtures := makeFixtures(t, p)
	p.part = os.Getenv(everything) == ""
	most, _ := strconv.Atoi(os.Getenv(everything))
	if p.part {
		most = 2
	}
	for _, k := range kinds(t, fixtures) {
		t.Run(k.name, func(t *testing.T) { p.campaign(t, &k, most) })
	}
	t.Logf("%d files, %d runs, %d failures", p.files.Load(), p.runs.Load(), p.failed.Load())
}

// fixtures are paths of good files.
type fixtures struct {
	dir, base, tuned, hf, hfAdapter, sharded, adapter, peft, lora, checkpoint, imatrix, template, config string
	text, records, list, chats, table, gz, zst, parquet                                                  string
}

const trainFlags = "--steps 2000 --seq-len 16 --batch-tokens 32 --save-every 1 --rank 4"

func makeFixtures(t *testing.T, p *program) *fixtures {
	t.Helper()
	at := func(name string) string { return filepath.Join(p.dir, "good", name) }
	if err := os.MkdirAll(at(""), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) string {
		if err := os.WriteFile(at(name), data, 0o644); err != nil {
			t.Fatal(err)
		}
		return at(name)
	}
	f := &fixtures{
		dir: at(""), tuned: at("tuned.gguf"), hf: at("hf"), hfAdapter: at("h.safetensors"),
		sharded: at("sharded"), adapter: at("a.safetensors"), peft: at("peft"), lora: at("lora.gguf"),
		imatrix: at("i.gguf"), config: at("a.yaml"),
		base:     write("base.gguf", pefttest.FileBytes(t, pefttest.Tiny.WriteGGUF(t))),
		text:     write("d.txt", []byte(strings.Repeat("the sea is on the shore and the rain is in the sea ", 6))),
		table:    write("d.csv", []byte("prompt,completion\nthe sea,is in the rain\nthe rain,\"is in\nthe sea\"\n")),
		template: write("t.jinja", []byte("{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}")),
	}
	var records, chats bytes.Buffer
	for range 4 {
		records.WriteString(`{"prompt": "the sea", "completion": " is in the rain"}` + "\n")
		chats.WriteString(`{"messages": [{"role": "user", "content": "the sea"}, ` +
			`{"role": "assistant", "content": "is in the rain"}]}` + "\n")
	}
	f.records, f.chats = write("d.jsonl", records.Bytes()), write("c.jsonl", chats.Bytes())
	f.list = write("d.json", []byte("["+strings.ReplaceAll(strings.TrimSpace(records.String()), "\n", ",")+"]"))
	var gz, pq bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(records.Bytes())
	w.Close()
	f.gz = write("z.jsonl.gz", gz.Bytes())
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	f.zst = write("z.jsonl.zst", z.EncodeAll(records.Bytes(), nil))
	type row struct {
		Prompt     string `parquet:"prompt"`
		Completion string `parquet:"completion"`
	}
	if err := parquet.Write(&pq, []row{{"the sea", " is in the rain"}, {"the rain", " is in the sea"}}); err != nil {
		t.Fatal(err)
	}
	f.parquet = write("d.parquet", pq.Bytes())

	p.must(t, "train", "--base", f.base, "--data", f.text, "--out", f.adapter, "--steps", "2", "--seq-len", "16",
		"--batch-tokens", "32", "--rank", "4")
	p.must(t, "merge", "--base", f.base, "--lora", f.adapter, "--out", f.tuned)
	p.must(t, "export", "--base", f.base, "--lora", f.adapter, "--to", "gguf", "--out", f.lora)
	p.must(t, "export", "--base", f.base, "--lora", f.adapter, "--to", "peft", "--out", f.peft+"/")
	p.must(t, "convert", f.base, "--to", "hf", "--out", f.hf)
	p.must(t, "train", "--base", f.hf, "--data", f.text, "--out", f.hfAdapter, "--steps", "1", "--seq-len", "16",
		"--batch-tokens", "32", "--rank", "2")
	copyDir(t, f.hf, f.sharded)
	os.Remove(filepath.Join(f.sharded, "model.safetensors"))
	copyDir(t, pefttest.Tiny.WriteHF(t, gguf.F32, 2), f.sharded+".2")
	for _, name := range []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
		"model.safetensors.index.json"} {
		if err := os.Rename(filepath.Join(f.sharded+".2", name), filepath.Join(f.sharded, name)); err != nil {
			t.Fatal(err)
		}
	}
	p.must(t, "imatrix", "--base", f.base, "--data", f.text, "--out", f.imatrix, "--ctx", "16")
	f.checkpoint = p.interrupted(t, f)
	return f
}

// interrupted is the checkpoint of a run that was killed.
func (p *program) interrupted(t *testing.T, f *fixtures) string {
	t.Helper()
	out := filepath.Join(f.dir, "long.safetensors")
	path := filepath.Join(f.dir, "long.checkpoint.safetensors")
	cmd := exec.Command(p.exe, append([]string{"train", "--base", f.base, "--data", f.text, "--out", out},
		strings.Fields(trainFlags)...)...)
	cmd.Env = p.env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); time.Since(start) < time.Minute; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			break
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	kept := filepath.Join(f.dir, "k.safetensors")
	if err := os.Rename(path, kept); err != nil {
		t.Fatal(err)
	}
	return kept
}

// kinds are all kinds of files.
func kinds(t *testing.T, f *fixtures) []kind {
	good := func(path string) []byte { return pefttest.FileBytes(t, path) }
	part := func(dir, name string) []byte { return good(filepath.Join(dir, name)) }
	const config, tokenizer, tensors = "config.json", "tokenizer.json", "model.safetensors"
	list := []kind{
		{name: "gguf model", good: f.base, variants: malformed.GGUF(good(f.base)), verbs: f.ofModel},
		{name: "gguf model, bytes", good: f.base, variants: malformed.Bytes(good(f.base)), verbs: f.ofModel},
		{name: "gguf lora", good: f.lora, variants: malformed.GGUF(good(f.lora)), verbs: f.ofAdapter,
			accepts: otherBase},
		{name: "gguf lora, bytes", good: f.lora, variants: malformed.Bytes(good(f.lora)), verbs: f.ofAdapter,
			accepts: otherBase},
		{name: "adapter", good: f.adapter, variants: malformed.Safetensors(good(f.adapter)), verbs: f.ofAdapter,
			accepts: otherBase},
		{name: "adapter, bytes", good: f.adapter, variants: malformed.Bytes(good(f.adapter)), verbs: f.ofAdapter,
			accepts: otherBase},
		{name: "peft config", good: f.peft, part: "adapter_config.json",
			variants: malformed.JSON(part(f.peft, "adapter_config.json"), 2), verbs: f.ofAdapter, accepts: otherBase},
		{name: "peft config, text", good: f.peft, part: "adapter_config.json",
			variants: malformed.Texts(part(f.peft, "adapter_config.json")), verbs: f.ofAdapter, accepts: otherBase},
		{name: "peft tensors", good: f.peft, part: "adapter_model.safetensors",
			variants: malformed.Bytes(part(f.peft, "adapter_model.safetensors")), verbs: f.ofAdapter,
			accepts: otherBase},
		{name: "checkpoint", good: f.checkpoint, variants: malformed.Safetensors(good(f.checkpoint)),
			verbs:   f.ofCheckpoint,
			accepts: otherRun},
		{name: "checkpoint, bytes", good: f.checkpoint, variants: malformed.Bytes(good(f.checkpoint)),
			verbs: f.ofCheckpoint, accepts: otherRun},
		{name: "hf config", good: f.hf, part: config, variants: malformed.JSON(part(f.hf, config), 2),
			verbs: f.ofModel},
		{name: "hf config, text", good: f.hf, part: config, variants: malformed.Texts(part(f.hf, config)),
			verbs: f.ofModel},
		{name: "hf tensors", good: f.hf, part: tensors, variants: malformed.Safetensors(part(f.hf, tensors)),
			verbs: f.ofModel},
		{name: "hf tensors, bytes", good: f.hf, part: tensors, variants: malformed.Bytes(part(f.hf, tensors)),
			verbs: f.ofModel},
		{name: "hf index", good: f.sharded, part: tensors + ".index.json",
			variants: malformed.JSON(part(f.sharded, tensors+".index.json"), 2), verbs: f.ofModel},
		{name: "hf tokenizer", good: f.hf, part: tokenizer, variants: malformed.JSON(part(f.hf, tokenizer), 3),
			verbs: f.ofModel},
		{name: "hf tokenizer, text", good: f.hf, part: tokenizer, variants: malformed.Texts(part(f.hf, tokenizer)),
			verbs: f.ofModel},
		{name: "hf tokenizer config", good: f.hf, part: "tokenizer_config.json",
			variants: malformed.JSON(part(f.hf, "tokenizer_config.json"), 2), verbs: f.ofModel},
		{name: "hf special tokens", good: f.hf, part: "special_tokens_map.json",
			variants: malformed.JSON(part(f.hf, "special_tokens_map.json"), 2), verbs: f.ofModel},
		{name: "hf generation config", good: f.hf, part: "generation_config.json",
			variants: malformed.JSON(part(f.hf, "generation_config.json"), 2), verbs: f.ofModel},
		{name: "sentencepiece", good: f.spm(t), part: "tokenizer.model",
			variants: malformed.Bytes(part(f.hf, "tokenizer.model")), verbs: f.ofModel},
		{name: "imatrix", good: f.imatrix, variants: malformed.GGUF(good(f.imatrix)), verbs: f.ofImatrix},
		{name: "imatrix, bytes", good: f.imatrix, variants: malformed.Bytes(good(f.imatrix)), verbs: f.ofImatrix},
		{name: "imatrix.dat", good: f.dat(t), variants: malformed.Dat(good(f.dat(t))), verbs: f.ofImatrix},
		{name: "jsonl", good: f.records, variants: malformed.Records(good(f.records)), verbs: f.ofData},
		{name: "chats", good: f.chats, variants: malformed.Records(good(f.chats)), verbs: f.ofChats},
		{name: "json", good: f.list, variants: malformed.JSON(good(f.list), 2), verbs: f.ofData},
		{name: "json, text", good: f.list, variants: malformed.Texts(good(f.list)), verbs: f.ofData},
		{name: "csv", good: f.table, variants: malformed.Table(good(f.table)), verbs: f.ofData},
		{name: "gz", good: f.gz, variants: malformed.Gzip(good(f.gz)), verbs: f.ofData},
		{name: "zst", good: f.zst, variants: malformed.Bytes(good(f.zst)), verbs: f.ofData},
		{name: "parquet", good: f.parquet, variants: malformed.Bytes(good(f.parquet)), verbs: f.ofData},
		{name: "text", good: f.text, variants: malformed.Texts(good(f.text)), verbs: f.ofData},
		{name: "chat template", good: f.template, variants: malformed.ChatTemplates(), verbs: f.ofTemplate},
		{name: "train config", good: f.config, variants: malformed.Configs(good(f.config)), verbs: f.ofConfig},
	}
	return list
}

// otherBase, otherRun are answers that say nothing against a file.
func otherBase(output string) bool { return strings.Contains(output, "another base") }
func otherRun(output string) bool {
	return otherBase(output) || strings.Contains(output, "the run had") || strings.Contains(output, "another adapter")
}

// words are arguments in which BASE and the like stand for good files, and IN for the file that may be wrong.
func (f *fixtures) words(in, line string) []string {
	return strings.Fields(strings.NewReplacer("IN", in, "BASE", f.base, "TEXT", f.text, "HFLORA", f.hfAdapter,
		"LORA", f.adapter, "TUNED", f.tuned,
		"RECORDS", f.records, "CHATS", f.chats).Replace(line))
}

func (f *fixtures) verbs(in string, lines ...string) []verb {
	var list []verb
	for _, line := range lines {
		line, loads := strings.CutPrefix(line, "+")
		line, usage := strings.CutPrefix(line, "?")
		name, _, _ := strings.Cut(line, " ")
		if strings.Contains(line, "--quick") {
			name += " --quick"
		}
		list = append(list, verb{name: name, args: f.words(in, line), loads: loads, usage: usage})
	}
	return list
}

const shortRun = " --steps 1 --seq-len 8 --batch-tokens 16 --out OUT/o.safetensors"

const chatRun = " --steps 1 --seq-len 64 --batch-tokens 128 --out OUT/o.safetensors"

// A line that begins with + loads the file: verify and it agree. One with ? may take it for wrong usage.
func (f *fixtures) ofModel(in, _ string) []verb {
	lines := []string{"verify IN", "verify IN --quick", "+eval --base IN --data TEXT",
		"+generate --base IN --prompt the -n 1 --temperature 0", "+train --base IN --data TEXT --rank 2" + shortRun,
		"data --base IN --data RECORDS", "inspect IN", "diff IN BASE",
		"imatrix --base IN --data TEXT --out OUT/i.gguf --ctx 8",
		"extract --base TUNED --tuned IN --rank 2 --out OUT/x.safetensors",
	}
	if strings.HasSuffix(in, ".gguf") {
		lines = append(lines, "merge --base IN --lora LORA --out OUT/m.gguf", "quantize IN OUT/q.gguf Q8_0",
			"split IN OUT/s --max-size 50k", "convert IN --to hf --out OUT/hf",
			"edit IN --set x.y=z")
	} else {
		lines = append(lines, "convert IN --out OUT/c.gguf", "merge --base IN --lora HFLORA --out OUT/m")
	}
	return f.verbs(in, lines...)
}

func (f *fixtures) ofAdapter(in, _ string) []verb {
	return f.verbs(in, "verify IN", "verify IN --quick", "+eval --base BASE --lora IN --data TEXT",
		"+train --base BASE --resume-from IN --data TEXT"+shortRun, "merge --base BASE --lora IN --out OUT/m.gguf",
		"export --base BASE --lora IN --to gguf --out OUT/l.gguf", "convert IN --base BASE --out OUT/c",
		"combine IN LORA --base BASE --out OUT/s.safetensors",
		"resize IN OUT/r.safetensors --base BASE --rank 2", "inspect IN",
		"diff IN LORA")
}

func (f *fixtures) ofCheckpoint(in, _ string) []verb {
	return f.verbs(in, "verify IN", "verify IN --quick",
		"+train --base BASE --data TEXT --out OUT/o.safetensors --resume IN "+strings.Replace(trainFlags,
			"2000", "2", 1),
		"eval --base BASE --lora IN --data TEXT", "inspect IN")
}

func (f *fixtures) ofImatrix(in, _ string) []verb {
	lines := []string{"quantize BASE OUT/q.gguf Q4_0 --imatrix IN", "imatrix --from IN --out OUT/i.gguf"}
	if strings.HasSuffix(in, ".gguf") {
		lines = append([]string{"verify IN"}, append(lines, "inspect IN")...)
	}
	return f.verbs(in, lines...)
}

func (f *fixtures) ofData(in, _ string) []verb {
	return f.verbs(in, "train --base BASE --data IN"+shortRun, "data --base BASE --data IN",
		"eval --base BASE --data IN --seq-len 16",
		"compare --base BASE --data IN --methods lora --steps 1 --seq-len 16 --batch-tokens 32")
}

func (f *fixtures) ofChats(in, _ string) []verb {
	template := " --chat-template " + f.template
	return f.verbs(in, "train --base BASE --data IN"+chatRun+template, "data --base BASE --data IN"+template,
		"data --data IN"+template)
}

func (f *fixtures) ofTemplate(in, _ string) []verb {
	return f.verbs(in, "data --data CHATS --chat-template IN",
		"train --base BASE --data CHATS --chat-template IN"+chatRun,
		"generate --base BASE --chat --prompt the -n 1 --chat-template IN")
}

func (f *fixtures) ofConfig(in, _ string) []verb {
	return f.verbs(in, "?train --config IN --base BASE --data TEXT --out OUT/o.safetensors --steps 1")
}

// spm is the Hugging Face directory with a tokenizer.model alone.
func (f *fixtures) spm(t *testing.T) string {
	dir := f.hf + ".spm"
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	copyDir(t, f.hf, dir)
	if err := os.Remove(filepath.Join(dir, "tokenizer.json")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// dat is an importance matrix of the older form.
func (f *fixtures) dat(t *testing.T) string {
	path := filepath.Join(f.dir, "i.dat")
	data := []byte("\x01\x00\x00\x00\x13\x00\x00\x00blk.0.attn_q.weight\x02\x00\x00\x00\x20\x00\x00\x00")
	data = append(data, bytes.Repeat([]byte{0, 0, 0x80, 0x3f}, 32)...)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
