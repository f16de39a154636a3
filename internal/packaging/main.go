// Command packaging makes the files of a release:
//
//	go run ./internal/packaging -version v0.2.0 -nfpm MODULE@VERSION -cyclonedx MODULE@VERSION -out dist
//
// It is run in the root of the module ("make release" does it). The folder gets an archive for each target, with the
// program, its manual pages and completion, packages for Debian and RPM, recipes for Homebrew, Scoop and containers,
// what the program is made of (CycloneDX), and SHA256SUMS. The same commit and the same version of Go give the same
// bytes, in whatever folder: times are that of SOURCE_DATE_EPOCH, in seconds, which has to be set.
package main

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/peft"
)

func main() {
	r := release{module: "github.com/peftconv/peftconv", sums: map[string]string{}}
	flag.StringVar(&r.version, "version", "", "what the release is called: a tag, or a commit")
	flag.StringVar(&r.out, "out", "dist", "the folder to make")
	flag.StringVar(&r.nfpm, "nfpm", "", "the module of nfpm, with its version")
	flag.StringVar(&r.cyclonedx, "cyclonedx", "", "the module of cyclonedx-gomod, with its version")
	flag.BoolVar(&r.anew, "a", false, "compile everything, and take nothing from the cache")
	targets := flag.String("targets", strings.Join(allTargets, ","), "the systems and processors")
	flag.Parse()
	r.targets = strings.Split(*targets, ",")
	if err := r.make(); err != nil {
		fmt.Fprintln(os.Stderr, "packaging:", err)
		os.Exit(1)
	}
}

// allTargets are the systems and processors for which there is a release.
var allTargets = []string{
	"darwin-amd64", "darwin-arm64", "linux-amd64", "linux-arm64", "windows-amd64", "windows-arm64",
}

// release is one that is being made.
type release struct {
	module, version string
	out, work       string // the folder of the release, and one for what is in between
	nfpm, cyclonedx string // modules of tools, with their versions
	targets         []string
	anew            bool
	time            time.Time

	common []file            // of all archives
	sums   map[string]string // SHA-256 of the files in out
}

// make makes everything.
func (r *release) make() error {
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w; git log -1 --format=%%ct prints it", err)
	}
	r.time = time.Unix(seconds, 0).UTC()
	for _, t := range r.targets {
		if !slices.Contains(allTargets, t) {
			return fmt.Errorf("-targets: %q, expected some of %s", t, strings.Join(allTargets, ", "))
		}
	}
	if r.version == "" || r.nfpm == "" || r.cyclonedx == "" || flag.NArg() > 0 {
		return errors.New("expected -version, -nfpm and -cyclonedx, and no arguments")
	}
	if there, err := os.ReadDir(r.out); err == nil && len(there) > 0 {
		return fmt.Errorf("%s is not empty; \"make clean\" removes it", r.out)
	}
	if err := os.MkdirAll(r.out, 0o777); err != nil {
		return err
	}
	if r.work, err = os.MkdirTemp("", "peftconv-release-"); err != nil {
		return err
	}
	defer os.RemoveAll(r.work)
	for _, step := range []func() error{r.tools, r.gather, r.programs, r.recipes, r.madeOf, r.writeSums} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// programs builds, archives and packages the program for each target.
func (r *release) programs() error {
	for _, t := range r.targets {
		path, err := r.build(t)
		if err != nil {
			return err
		}
		program, err := infile.Read(path, infile.Unlimited)
		if err != nil {
			return err
		}
		if err := r.archive(t, program); err != nil {
			return err
		}
		if strings.HasPrefix(t, "linux-") {
			if err := r.packages(t, program); err != nil {
				return err
			}
		}
	}
	return nil
}

// add writes a file of the release.
func (r *release) add(name string, data []byte) error {
	r.sums[name] = fmt.Sprintf("%x", sha256.Sum256(data))
	return os.WriteFile(filepath.Join(r.out, name), data, 0o666)
}

// archiveName is the folder in a target's archive.
func (r *release) archiveName(target string) string { return "peftconv-" + r.version + "-" + target }

// archiveFile is the name of a target's archive.
func (r *release) archiveFile(target string) string {
	if strings.HasPrefix(target, "windows-") {
		return r.archiveName(target) + ".zip"
	}
	return r.archiveName(target) + ".tar.gz"
}

// archive writes a program with all that belongs to it.
func (r *release) archive(target string, program []byte) error {
	pack, name := tarGz, "peftconv"
	if strings.HasPrefix(target, "windows-") {
		pack, name = zipped, "peftconv.exe"
	}
	files := append([]file{{name, 0o755, program}}, r.common...)
	if strings.HasPrefix(target, "linux-") {
		files = append(files, file{"Containerfile", 0o644, containerfile})
	}
	data, err := pack(r.archiveName(target), files, r.time)
	if err != nil {
		return err
	}
	return r.add(r.archiveFile(target), data)
}

// writeSums writes SHA256SUMS, as sha256sum does.
func (r *release) writeSums() error {
	var text strings.Builder
	for _, name := range sortedKeys(r.sums) {
		fmt.Fprintf(&text, "%s  %s\n", r.sums[name], name)
	}
	return os.WriteFile(filepath.Join(r.out, "SHA256SUMS"), []byte(text.String()), 0o666)
}

// packageVersion is the version of packages: it begins with a digit, has no hyphen, and is sorted as releases are. Of a
// commit that is no release it is the version of the library, the day and the commit.
func (r *release) packageVersion() string {
	plain := func(s string) string { return strings.ReplaceAll(s, "-", ".") }
	m := releaseName.FindStringSubmatch(r.version)
	switch {
	case m == nil:
		return peft.Version + "~git" + r.time.Format("20060102") + "." + plain(r.version)
	case m[2] == "":
		return m[1]
	case commitsAfter.MatchString(m[2]):
		return m[1] + "+" + plain(m[2][1:])
	}
	return m[1] + "~" + plain(m[2][1:])
}
