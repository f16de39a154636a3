package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/cli"
)

// TestDoctorModel compares the plan for a model and a file with that of train, whose defaults it has to be.
func TestDoctorModel(t *testing.T) {
	base, data := tinyBase(t, tiny), tinyText(t)
	stdout, _ := want(t, cli.ExitOK, "doctor", base, "--data", data, "--quick", "--json")
	model := document(t, stdout, "version", "go", "system", "processor", "kernels", "memory", "disks", "settings",
		"warnings", "model")["model"].(map[string]any)
	stdout, _ = want(t, cli.ExitOK, "train", "--base", base, "--data", data, "--dry-run", "--json")
	trial := document(t, stdout)
	plan, epoch := model["training"].([]any)[0].(map[string]any), model["epoch"].(map[string]any)
	if plan["memory_bytes"] != trial["memory_bytes"] || plan["fits"] != true {
		t.Errorf("doctor plans %v, train %v", plan, trial["memory_bytes"])
	}
	for _, key := range []string{"tokens", "steps", "first_loss", "memory_bytes"} {
		if epoch[key] != trial[key] {
			t.Errorf("%s: doctor has %v, train %v", key, epoch[key], trial[key])
		}
	}
	stdout, _ = want(t, cli.ExitOK, "doctor", base, "--quick")
	if !strings.Contains(stdout, "\ntraining   fits: about ") || strings.Contains(stdout, "epoch") {
		t.Errorf("without data: %s", stdout)
	}
}

func TestDoctorProblems(t *testing.T) {
	base := tinyBase(t, tiny)
	unknown := filepath.Join(t.TempDir(), "unknown.gguf")
	want(t, cli.ExitOK, "edit", base, "--set", "general.architecture=unheard", "--out", unknown)
	stdout, _ := want(t, cli.ExitError, "doctor", unknown, "--quick")
	if !strings.Contains(stdout, `architecture "unheard" is not supported`) ||
		!strings.Contains(stdout, "inspect, verify") {
		t.Errorf("an unknown architecture: %s", stdout)
	}
	for _, c := range []struct {
		status  int
		args    string
		message string
	}{
		{cli.ExitError, unknown + ".absent", "no such file"},
		{cli.ExitError, base + " --data " + unknown + ".absent", "no such file"},
		{cli.ExitUsage, "a b", "expected one MODEL"},
		{cli.ExitUsage, "--data x", "--data: needs a MODEL"},
	} {
		_, stderr := want(t, c.status, append([]string{"doctor", "--quick"}, strings.Fields(c.args)...)...)
		if !strings.Contains(stderr, c.message) {
			t.Errorf("%s: %q, want %q", c.args, stderr, c.message)
		}
	}
}
