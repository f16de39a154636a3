package main

import (
	"bytes"
	"embed"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/peftconv/peftconv/internal/infile"
)

//go:embed recipes
var recipeFiles embed.FS

//go:embed recipes/Containerfile
var containerfile []byte

var (
	// releaseName is a tag of a release, or what git describes a commit after one as.
	releaseName = regexp.MustCompile(`^v?(\d+\.\d+(?:\.\d+)?)(-.+)?$`)
	// commitsAfter is what git adds to the tag.
	commitsAfter = regexp.MustCompile(`^-\d+-g[0-9a-f]+`)
)

// maintainer is whom packages name.
const maintainer = "peftconv maintainers <peftconv@users.noreply.github.com>"

// fill is a recipe with a release's values.
func fill(name string, values any) ([]byte, error) {
	t, err := template.New(name).Option("missingkey=error").ParseFS(recipeFiles, "recipes/"+name)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, values)
	return b.Bytes(), err
}

// recipes writes those for Homebrew and Scoop, where there are all archives that they name, and that for containers.
func (r *release) recipes() error {
	if err := r.add("Containerfile", containerfile); err != nil || len(r.targets) < len(allTargets) {
		return err
	}
	texts, err := r.filled()
	for _, name := range sortedKeys(texts) {
		if err == nil {
			err = r.add(name, texts[name])
		}
	}
	return err
}

// filled are the recipes for Homebrew and Scoop, by the names of their files.
func (r *release) filled() (map[string][]byte, error) {
	archives, sums := map[string]string{}, map[string]string{}
	for _, t := range allTargets {
		key := strings.ReplaceAll(t, "-", "_")
		archives[key] = r.archiveFile(t)
		sums[key] = r.sums[archives[key]]
	}
	values := map[string]any{
		"Module": r.module, "Tag": r.version, "Version": strings.TrimPrefix(r.version, "v"), "Archive": archives, "Sum": sums,
	}
	formula, err := fill("formula.rb", values)
	if err != nil {
		return nil, err
	}
	manifest, err := fill("scoop.json", values)
	return map[string][]byte{"peftconv.rb": formula, "peftconv.json": manifest}, err
}

// packages writes those for Debian and RPM.
func (r *release) packages(target string, program []byte) error {
	made := filepath.Join(r.work, "made-"+target)
	if err := os.MkdirAll(made, 0o777); err != nil {
		return err
	}
	values := map[string]any{
		"Arch": strings.TrimPrefix(target, "linux-"), "Version": r.packageVersion(), "Release": r.version,
		"Module": r.module, "Maintainer": maintainer, "Time": r.time.Format(time.RFC3339),
		"Date": r.time.Format(time.RFC1123Z), "Year": r.time.Year(),
	}
	for _, format := range []string{"deb", "rpm"} {
		files, err := r.installed(format, program, values)
		if err != nil {
			return err
		}
		root := filepath.Join(r.work, "root-"+target, format)
		for _, f := range files {
			at := filepath.Join(root, filepath.FromSlash(f.Name))
			if err := os.MkdirAll(filepath.Dir(at), 0o777); err != nil {
				return err
			}
			if err := os.WriteFile(at, f.Data, 0o666); err != nil {
				return err
			}
		}
		values["Format"], values["Root"], values["Files"] = format, filepath.ToSlash(root), files
		text, err := fill("nfpm.yaml", values)
		if err != nil {
			return err
		}
		config := root + ".yaml"
		if err := os.WriteFile(config, text, 0o666); err != nil {
			return err
		}
		if _, err := command(nil, filepath.Join(r.work, "nfpm"), "package", "-f", config, "-p", format, "-t",
			made+string(filepath.Separator)); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(made)
	if err != nil {
		return err
	}
	for _, e := range entries {
		data, err := infile.Read(filepath.Join(made, e.Name()), infile.Unlimited)
		if err != nil {
			return err
		}
		if err := r.add(e.Name(), data); err != nil {
			return err
		}
	}
	return nil
}

// shareFolders are where packages put the scripts of completion, for each shell that has such a folder, and the folder
// of zsh where it is another.
var (
	shareFolders = map[string]string{
		"bash": "usr/share/bash-completion/completions/peftconv", "zsh": "usr/share/zsh/site-functions/_peftconv",
		"fish": "usr/share/fish/vendor_completions.d/peftconv.fish",
	}
	zshOfDebian = "usr/share/zsh/vendor-completions/_peftconv"
)

// installed are the files of a package, deb or rpm.
func (r *release) installed(format string, program []byte, values any) ([]file, error) {
	files := []file{{"usr/bin/peftconv", 0o755, program}}
	add := func(name string, data []byte) { files = append(files, file{name, 0o644, data}) }
	common := map[string][]byte{}
	for _, f := range r.common {
		common[f.Name] = f.Data
		if page, ok := strings.CutPrefix(f.Name, manFolder); ok {
			add("usr/share/man/man1/"+page+".gz", gzipped(f.Data))
		}
	}
	for _, name := range sortedKeys(shareFolders) {
		at := shareFolders[name]
		if format == "deb" && name == "zsh" {
			at = zshOfDebian
		}
		add(at, common[completionFolder+completionFiles[name]])
	}
	if format == "rpm" {
		add("usr/share/licenses/peftconv/LICENSE", common["LICENSE"])
		add("usr/share/licenses/peftconv/NOTICES", common["NOTICES"])
		return files, nil
	}
	const docs = "usr/share/doc/peftconv/"
	add(docs+"NOTICES.gz", gzipped(common["NOTICES"]))
	for recipe, name := range map[string]string{
		"copyright": docs + "copyright", "changelog": docs + "changelog.Debian.gz",
		"lintian-overrides": "usr/share/lintian/overrides/peftconv",
	} {
		text, err := fill(recipe, values)
		if err != nil {
			return nil, err
		}
		if path.Ext(name) == ".gz" {
			text = gzipped(text)
		}
		add(name, text)
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.Name, b.Name) })
	return files, nil
}
