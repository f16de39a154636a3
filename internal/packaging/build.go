package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/peftconv/peftconv/internal/cli/shell"
	"github.com/peftconv/peftconv/internal/infile"
)

// command runs a program and returns what it prints; env are variables that are added.
func command(env []string, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(cmd.Environ(), env...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, errs.Bytes())
	}
	return out, nil
}

// tools installs the tools, for this machine and in a folder of their own.
func (r *release) tools() error {
	env := []string{"GOBIN=" + r.work, "GOOS=", "GOARCH=", "GOWORK=off"}
	for _, tool := range []string{r.nfpm, r.cyclonedx} {
		if _, err := command(env, "go", "install", tool); err != nil {
			return err
		}
	}
	return nil
}

// settings are all variables that what is built depends on, for a target.
func settings(target string) []string {
	system, processor, _ := strings.Cut(target, "-")
	return []string{
		"GOOS=" + system, "GOARCH=" + processor, "CGO_ENABLED=0", "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=", "GOEXPERIMENT=",
		"GOWORK=off",
	}
}

// build is the path of the program for a target, which is built once. Neither the folder nor the time of anything is in
// it.
func (r *release) build(target string) (string, error) {
	path := filepath.Join(r.work, "peftconv-"+target)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.release=" + r.version, "-o", path}
	if r.anew {
		args = append(args, "-a")
	}
	_, err := command(settings(target), "go", append(args, "./cmd/peftconv")...)
	return path, err
}

// Folders of the archives.
const (
	manFolder        = "man/man1/"
	completionFolder = "completion/"
)

// completionFiles are the names under which shells look for a script.
var completionFiles = map[string]string{
	"bash": "peftconv.bash", "zsh": "_peftconv", "fish": "peftconv.fish", "powershell": "peftconv.ps1",
}

// gather collects what all archives have.
func (r *release) gather() error {
	for _, name := range []string{"LICENSE", "README.md"} {
		text, err := infile.Read(name, infile.Text)
		if err != nil {
			return err
		}
		r.common = append(r.common, file{name, 0o644, text})
	}
	notices, err := r.notices()
	if err != nil {
		return err
	}
	r.common = append(r.common, file{"NOTICES", 0o644, notices})
	program, err := r.build(runtime.GOOS + "-" + runtime.GOARCH)
	if err != nil {
		return err
	}
	man := filepath.Join(r.work, "man")
	if _, err := command(nil, program, "man", man); err != nil {
		return err
	}
	pages, err := os.ReadDir(man)
	if err != nil {
		return err
	}
	for _, page := range pages {
		text, err := infile.Read(filepath.Join(man, page.Name()), infile.Text)
		if err != nil {
			return err
		}
		r.common = append(r.common, file{manFolder + page.Name(), 0o644, text})
	}
	for _, name := range shell.Shells {
		script, err := command(nil, program, "completion", name)
		if err != nil {
			return err
		}
		r.common = append(r.common, file{completionFolder + completionFiles[name], 0o644, script})
	}
	return nil
}

// licences are files of a module that have to go with what is built from it.
var licences = regexp.MustCompile(`(?i)^((un)?licen[sc]es?|copying|notice|patents)([-.].*)?$`)

// notices are the licences of all modules that the programs are built from, and of Go.
func (r *release) notices() ([]byte, error) {
	root, err := command(nil, "go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	folders := map[string]string{runtime.Version(): strings.TrimSpace(string(root))}
	for _, target := range allTargets {
		list, err := command(settings(target), "go", "list", "-deps", "-f",
			"{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}\t{{.Dir}}{{end}}{{end}}", "./cmd/peftconv")
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(list)) {
			if module, dir, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
				folders[module] = dir
			}
		}
	}
	text := bytes.NewBufferString("peftconv is under the licence in the file LICENSE. It is built from these modules:\n")
	for _, module := range sortedKeys(folders) {
		entries, err := os.ReadDir(folders[module])
		if err != nil {
			return nil, err
		}
		found := false
		for _, e := range entries {
			if !licences.MatchString(e.Name()) || e.IsDir() {
				continue
			}
			licence, err := infile.Read(filepath.Join(folders[module], e.Name()), infile.Text)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(text, "\n%s\n%s: %s\n\n%s\n", strings.Repeat("=", 80), module, e.Name(), bytes.TrimSpace(licence))
			found = true
		}
		if !found {
			return nil, fmt.Errorf("%s: no licence in %s", module, folders[module])
		}
	}
	return text.Bytes(), nil
}

// madeOf writes the list of modules, with the time and the version of the release, and without what differs from
// machine to machine: the system, and hashes of the tool that made it.
func (r *release) madeOf() error {
	text, err := command(settings("linux-amd64"), filepath.Join(r.work, "cyclonedx-gomod"), "mod", "-json", "-noserial",
		"-licenses", "-std")
	if err != nil {
		return err
	}
	if text, err = r.settle(text); err != nil {
		return fmt.Errorf("%s: %w", r.cyclonedx, err)
	}
	return r.add("peftconv-"+r.version+".cdx.json", text)
}

// settle puts time and version into a list of modules. The tool takes the version of this one from the repository,
// where there is one.
func (r *release) settle(text []byte) ([]byte, error) {
	var list map[string]any
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	metadata, _ := list["metadata"].(map[string]any)
	component, _ := metadata["component"].(map[string]any)
	tools, _ := metadata["tools"].([]any)
	if component == nil || len(tools) == 0 {
		return nil, errors.New("the list names no component, or no tool")
	}
	metadata["timestamp"] = r.time.Format(time.RFC3339)
	component["version"] = r.version
	for _, tool := range tools {
		if fields, ok := tool.(map[string]any); ok {
			delete(fields, "hashes")
		}
	}
	was, _ := component["bom-ref"].(string)
	is := fmt.Sprintf("pkg:golang/%s@%s?type=module", component["name"], r.version)
	component["bom-ref"], component["purl"] = is, is+"&goos=linux&goarch=amd64"
	dependencies, _ := list["dependencies"].([]any)
	for _, d := range dependencies {
		if d, ok := d.(map[string]any); ok && d["ref"] == was {
			d["ref"] = is
		}
	}
	slices.SortFunc(dependencies, func(a, b any) int { return strings.Compare(refOf(a), refOf(b)) })
	settled, err := json.MarshalIndent(list, "", "  ")
	return append(settled, '\n'), err
}

// refOf names what a list of dependencies is of.
func refOf(dependencies any) string {
	fields, _ := dependencies.(map[string]any)
	ref, _ := fields["ref"].(string)
	return ref
}
