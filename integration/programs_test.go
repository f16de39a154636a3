package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/testdata"
)

// libraries are llama.cpp's own, as the package brings them.
const libraries = "node_modules/@node-llama-cpp/linux-x64/bins/linux-x64"

// flushingMain is the main function of llama-NAME. The one that llama.cpp has ends without waiting for the thread that
// writes, and on a busy machine most of the output may be lost.
const flushingMain = `#include "log.h"

int llama_NAME(int argc, char ** argv);

int main(int argc, char ** argv) {
    int status = llama_NAME(argc, argv);
    common_log_flush(common_log_main());
    return status;
}
`

// compiled compiles one of llama.cpp's programs, llama-NAME, from the sources that the package brings along, on its
// libraries. The two files take some seconds.
func compiled(t *testing.T, name string) (dir string) {
	t.Helper()
	needs(t)
	found, err := filepath.Glob(libraries + "/lib*.so")
	if err != nil || len(found) == 0 {
		t.Skipf("%s has no libraries: llama-%s is built for Linux on x86-64 only", libraries, name)
	}
	for _, tool := range []string{"g++", "git"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s, with which llama-%s is built, is not installed", tool, name)
		}
	}
	dir = t.TempDir()
	sources := filepath.Join(dir, "llama.cpp")
	do := func(name string, args ...string) {
		if log, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, log)
		}
	}
	do("git", "clone", "-q", "node_modules/node-llama-cpp/llama/gitRelease.bundle", sources)
	at := func(path string) string { return filepath.Join(sources, path) }
	rpath, err := filepath.Abs(libraries)
	if err != nil {
		t.Fatal(err)
	}
	main := filepath.Join(dir, "main.cpp")
	if err := os.WriteFile(main, []byte(strings.ReplaceAll(flushingMain, "NAME", name)), 0o666); err != nil {
		t.Fatal(err)
	}
	args := []string{"-O1", "-w", "-std=c++17", "-pthread", "-DLLAMA_SHARED", "-DGGML_SHARED", "-DGGML_BACKEND_SHARED",
		"-I", at("common"), "-I", at("include"), "-I", at("ggml/include"), "-I", at("vendor"),
		at("tools/" + name + "/" + name + ".cpp"), main,
		"-o", filepath.Join(dir, "llama-"+name),
		"-Wl,-rpath," + rpath}
	for _, lib := range found {
		if strings.Contains(lib, "libggml-cpu-") { // loaded by the program, which looks for them beside itself
			if err := os.Symlink(filepath.Join(rpath, filepath.Base(lib)), filepath.Join(dir, filepath.Base(lib))); err != nil {
				t.Fatal(err)
			}
		} else {
			args = append(args, lib)
		}
	}
	do("g++", args...)
	return dir
}

// programs is the directory with llama-server and llama-cli that the environment names; building them takes minutes.
func programs(t *testing.T) string {
	t.Helper()
	needs(t)
	dir := os.Getenv("PEFTCONV_LLAMA_PROGRAMS")
	if dir == "" {
		t.Skip("PEFTCONV_LLAMA_PROGRAMS does not name a directory with llama-server and llama-cli: " +
			"integration/programs/CMakeLists.txt builds them")
	}
	return dir
}

// shell runs a command line in a directory, with the programs of another.
func shell(t *testing.T, programs, dir, line string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+programs+string(os.PathListSeparator)+os.Getenv("PATH"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		log := stderr.String()
		t.Fatalf("%s: %v\n%s", line, err, log[max(0, len(log)-2000):])
	}
	return string(out)
}

// exportState trains a method of virtual tokens, exports it as a state, and gives the commands that are printed for it.
func exportState(t *testing.T, base, method, adapter, out string, flags ...string) []string {
	t.Helper()
	peftconv(t, "train", "--method", method, "--base", base, "--data",
		writeFile(t, "train.txt", head(t, "text/tinyshakespeare.txt", 20_000)), "--virtual-tokens",
		fmt.Sprint(virtualTokens), "--steps", "20", "--lr", "0.05", "--seq-len", "128", "--out", adapter)
	var report struct {
		Commands []string `json:"commands"`
	}
	args := append([]string{"export", "--lora", adapter, "--to", "state", "--out", out, "--json"}, flags...)
	if err := json.Unmarshal(peftconv(t, args...), &report); err != nil {
		t.Fatal(err)
	}
	return report.Commands
}

// continuedTokens is how many tokens are written after a prompt.
const continuedTokens = 40

// beginning is the first 30 bytes that llama-completion writes after a prompt.
func beginning(t *testing.T, programs, dir, line, prompt string) string {
	t.Helper()
	out := shell(t, programs, dir, line)
	_, rest, _ := strings.Cut(out, prompt)
	if len(rest) < 30 {
		t.Fatalf("%s\nwrites %q, expected a longer text", line, out)
	}
	return strings.TrimSpace(rest[:30])
}

// continued is what peftconv itself writes after a prompt, without the prompt and blanks at the ends.
func continued(t *testing.T, adapter, prompt string) string {
	t.Helper()
	out := string(peftconv(t, "generate", "--lora", adapter, "--prompt", prompt, "--temperature", "0", "-n",
		fmt.Sprint(continuedTokens)))
	_, rest, ok := strings.Cut(out, prompt)
	if !ok {
		t.Fatalf("%q does not have the prompt %q", out, prompt)
	}
	return strings.TrimSpace(rest)
}

// TestCompletionLoadsSession has the llama-completion of the release continue from sessions, by the printed command.
func TestCompletionLoadsSession(t *testing.T) {
	const prompt = "Once upon a time"
	bin := compiled(t, "completion")
	stories, withoutBOS := testdata.Shared(t, "models/stories260K.gguf"), filepath.Join(t.TempDir(), "without-bos.gguf")
	peftconv(t, "edit", stories, "--set", "tokenizer.ggml.add_bos_token:bool=false", "--out", withoutBOS)
	for _, c := range []struct {
		name, base, method string
		first              string // of a model that puts no token before texts
		flags              []string
	}{
		{"prefix", stories, "prefix-tuning", "", nil},
		{"prefix in F32", stories, "prefix-tuning", "", []string{"--type", "F32"}},
		{"prompt, transposed values", stories, "prompt-tuning", "", []string{"--attention", "plain", "--type", "F32"}},
		{"no BOS before texts", withoutBOS, "prefix-tuning", "</s>", []string{"--type", "F32"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			adapter, state := filepath.Join(dir, "out.safetensors"), filepath.Join(dir, "out.state")
			if c.first != "" {
				c.flags = append(c.flags, "--first-token", c.first)
			}
			commands := exportState(t, c.base, c.method, adapter, state, c.flags...)
			line := strings.Replace(commands[0], "…", prompt, 1) + fmt.Sprintf(" -n %d --temp 0 -t 1 2>log", continuedTokens)
			got := beginning(t, bin, dir, line, prompt)
			want := continued(t, adapter, c.first+prompt)
			if !strings.HasPrefix(want, got) {
				t.Errorf("%s\nwrites %q, expected %q", line, got, want)
			}
			log, err := os.ReadFile(filepath.Join(dir, "log"))
			if err != nil || !bytes.Contains(log, []byte("session file matches "+fmt.Sprint(virtualTokens+1))) {
				t.Errorf("the log does not say that all tokens of the session match: %v\n%s", err, log)
			}
			plain := strings.Replace(line, "--prompt-cache "+state+" --prompt-cache-ro", "", 1)
			if got == beginning(t, bin, dir, plain, prompt) {
				t.Error("the same is written without the session: the test shows nothing")
			}
		})
	}
}

// TestServerRestoresSlot has llama-server continue from a sequence, by the printed commands: of a model whose layers
// see all tokens, and of one with a window in some.
func TestServerRestoresSlot(t *testing.T) {
	bin := programs(t)
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	t.Run("whole", func(t *testing.T) {
		restoreSlot(t, bin, testdata.Shared(t, "models/stories260K.gguf"), "Once upon a time", "")
	})
	t.Run("window", func(t *testing.T) {
		for _, m := range archtest.All() {
			path := filepath.Join(t.TempDir(), "window.gguf")
			m.Write(t, path)
			b := pefttest.OpenBase(t, path)
			if b.Model.Layers[0].Spec.Window > 0 && b.Tokenizer != nil {
				restoreSlot(t, bin, path, "abcba", " --swa-full")
				return
			}
		}
		t.Error("no model has a window")
	})
}

// restoreSlot exports a sequence over a base and has a server continue from it, whose command has a flag.
func restoreSlot(t *testing.T, bin, base, prompt, flag string) {
	dir := t.TempDir()
	adapter, state := filepath.Join(dir, "out.safetensors"), filepath.Join(dir, "out.state")
	commands := exportState(t, base, "prefix-tuning", adapter, state, "--state", "sequence", "--type", "F32")
	if len(commands) != 3 {
		t.Fatalf("the commands are %q", commands)
	}
	if !strings.Contains(commands[0], flag) {
		t.Errorf("%q has no flag %s", commands[0], flag)
	}
	host := serve(t, bin, dir, commands[0])
	for i, line := range commands[1:] {
		commands[1+i] = strings.Replace(line, "localhost:8080", host, 1)
	}
	out := shell(t, bin, dir, commands[1]+" -sS")
	if !strings.Contains(out, fmt.Sprintf(`"n_restored":%d`, virtualTokens)) {
		t.Fatalf("%s\nanswers %s", commands[1], out)
	}
	line := strings.Replace(strings.Replace(commands[2], "…", prompt, 1), `"id_slot"`,
		fmt.Sprintf(`"n_predict":%d,"temperature":0,"id_slot"`, continuedTokens), 1)
	var answer struct {
		Content string
		Timings struct {
			Cached int `json:"cache_n"`
		}
	}
	if err := json.Unmarshal([]byte(shell(t, bin, dir, line+" -sS")), &answer); err != nil {
		t.Fatal(err)
	}
	answer.Content = unknownBytes.ReplaceAllString(answer.Content, "$1")
	if want := continued(t, adapter, prompt); strings.TrimSpace(answer.Content) != want ||
		answer.Timings.Cached != virtualTokens {
		t.Errorf("it answers %q after %d cached tokens, expected %q after %d", answer.Content, answer.Timings.Cached, want,
			virtualTokens)
	}
}

// unknownBytes is how llama.cpp spells letters that its byte-level vocabularies do not have.
var unknownBytes = regexp.MustCompile(`\[UNK_BYTE_0x[0-9a-f]+(.)\]`)

// serve starts a server by a command line until the end of the test, and gives its host with port.
func serve(t *testing.T, programs, dir, line string) (host string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host = listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(host)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "exec "+line+" --host 127.0.0.1 --port "+port+" -c 1024 -t 1")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+programs+string(os.PathListSeparator)+os.Getenv("PATH"))
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("llama-server: %s", log.Bytes()[max(0, log.Len()-3000):])
		}
	})
	for range 300 {
		if r, err := http.Get("http://" + host + "/health"); err == nil {
			io.Copy(io.Discard, r.Body)
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return host
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("llama-server does not answer")
	return ""
}

// TestCLIRunsExports has llama-cli answer with an exported LoRA and with a model that has virtual tokens in it, by the
// printed commands. It answers in chats only, and has no flag for sessions.
func TestCLIRunsExports(t *testing.T) {
	bin := programs(t)
	if runtime.GOOS == "windows" {
		t.Skip("the command lines are for sh")
	}
	for method, to := range map[string]string{"lora": "gguf", "prompt-tuning": "model"} {
		t.Run(to, func(t *testing.T) {
			dir := t.TempDir()
			adapter := filepath.Join(dir, "out.safetensors")
			peftconv(t, "train", "--method", method, "--base", testdata.Shared(t, "models/stories260K.gguf"), "--data",
				writeFile(t, "train.txt", head(t, "text/tinyshakespeare.txt", 20_000)), "--steps", "5", "--seq-len", "128",
				"--out", adapter)
			var report struct{ Commands []string }
			if err := json.Unmarshal(peftconv(t, "export", "--lora", adapter, "--to", to, "--out",
				filepath.Join(dir, "out.gguf"), "--json"), &report); err != nil {
				t.Fatal(err)
			}
			line := report.Commands[0] + " -st -p 'Once upon a time' -n 16 --temp 0 -c 512 -t 1 </dev/null"
			if out := shell(t, bin, dir, line); !strings.Contains(out, "Once upon a time") {
				t.Errorf("%s\nwrites %q", line, out)
			}
		})
	}
}
