package shell

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
)

type options struct {
	method, file string
	fast         bool
}

func (o *options) Flags(fs *pflag.FlagSet) {
	fs.StringVarP(&o.method, "method", "m", "lora", "the `METHOD`: it's one of [these]")
	fs.StringVar(&o.file, "file", "", "a `FILE` in C:\\models")
	fs.BoolVar(&o.fast, "fast", false, ".be quick")
	cli.Choices(fs, "method", "lora", "ia3")
}
func (o *options) Validate([]string) error                { return nil }
func (o *options) Run(context.Context, cli.Streams) error { return nil }

func program() *cli.Program {
	create := func() cli.Command { return new(options) }
	return &cli.Program{
		Name: "prog", Version: "1.0-rc1", Intro: "prog does things.\n\nVerbs:\n", Outro: "\nThat's all.\n",
		Verbs: []*cli.Verb{
			{Name: "train", Short: "train it", Long: "Trains A × B….\n\n  a table\n\nAnd more.", New: create,
				Examples: []string{"prog train --file 'a b'"}},
			{Name: "shell", Args: "NAME", Short: "the user's shell", Values: []string{"bash", "zsh"}, New: create},
		},
	}
}

// TestBash lets bash complete command lines, in a folder with a file.
func TestBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash here")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "model.gguf"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	if err := Completion(&script, "bash", program()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ line, want string }{
		{"prog tr", "train"},
		{"prog ", "train shell help version"},
		{"prog train --me", "--method"},
		{"prog train --method ", "lora ia3"},
		{"prog train -m l", "lora"},
		{"prog train --file m", "model.gguf"},
		{"prog train --fast m", "model.gguf"},
		{"prog train --", "--method --file --fast --quiet --verbose --help"},
		{"prog shell z", "zsh"},
		{"prog help sh", "shell"},
	} {
		words := strings.Split(c.line, " ")
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = "'" + w + "'"
		}
		cmd := exec.Command(bash, "--norc", "-c", script.String()+"COMP_WORDS=("+strings.Join(quoted, " ")+
			")\nCOMP_CWORD=$((${#COMP_WORDS[@]}-1))\n_prog\necho \"${COMPREPLY[@]}\"")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != c.want {
			t.Errorf("%q: %q, want %q (%v)", c.line, got, c.want, err)
		}
	}
}

// TestOtherShells looks at what is written for shells that may not be here, and lets those check it that are.
func TestOtherShells(t *testing.T) {
	for shell, c := range map[string]struct {
		parts []string
		check []string // the command that reads the script from a file
	}{
		"zsh": {[]string{"#compdef prog", `'--method[the METHOD]:method:(lora ia3)'`, `'shell:the user'\''s shell'`,
			`'1:shell:(bash zsh)'`}, []string{"zsh", "-n"}},
		"fish": {[]string{`-n '__fish_seen_subcommand_from train' -l method -s m -x -a 'lora ia3'`,
			`-d 'a FILE in C'`, `-d 'the user\'s shell'`}, []string{"fish", "--no-execute"}},
		"powershell": {[]string{`'train --method' = @('lora', 'ia3')`, `'shell' = @('bash', 'zsh', '--method'`}, nil},
	} {
		var script strings.Builder
		if err := Completion(&script, shell, program()); err != nil {
			t.Fatal(err)
		}
		for _, part := range c.parts {
			if !strings.Contains(script.String(), part) {
				t.Errorf("%s: no %s in\n%s", shell, part, script.String())
			}
		}
		if c.check == nil {
			continue
		}
		if path, err := exec.LookPath(c.check[0]); err == nil {
			file := filepath.Join(t.TempDir(), "script")
			if err := os.WriteFile(file, []byte(script.String()), 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(path, append(c.check[1:], file)...).CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", shell, err, out)
			}
		}
	}
	err := Completion(new(strings.Builder), "tcsh", program())
	if err == nil || !strings.Contains(err.Error(), "bash, zsh") {
		t.Errorf("an unknown shell: %v", err)
	}
}

// TestMan renders the pages with the system's groff, where it is there, and wants no warnings.
func TestMan(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	files, err := WriteMan(dir, program())
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v", files, err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "prog-train.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{".TH PROG-TRAIN 1", `prog\-train \- train it`, ".TP\n.B \\-m, \\-\\-method METHOD\n",
		`C:\emodels`, "\n\\&.be quick\n", ".nf\n  a table\n"} {
		if !strings.Contains(string(page), part) {
			t.Errorf("no %q in\n%s", part, page)
		}
	}
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("no groff here to read the pages")
	}
	for _, name := range files {
		cmd := exec.Command(groff, "-man", "-Tutf8", "-ww", filepath.Join(dir, name))
		var warnings strings.Builder
		cmd.Stderr = &warnings
		if out, err := cmd.Output(); err != nil || warnings.Len() > 0 || len(out) == 0 {
			t.Errorf("%s: %d bytes, %v: %s", name, len(out), err, warnings.String())
		}
	}
}
