package quant

import (
	"bytes"
	"os/exec"
	"regexp"
	"testing"
)

// Blocks are the same on every platform only while the compiler fuses no multiplication with an addition. It may do so
// on arm64 and on amd64 from v3, wherever a product is not converted to float32 before it is added to.
func TestNoFusedMultiplyAdd(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the package twice more")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip(err)
	}
	// What quant takes from kernels is in files that begin so.
	of := regexp.MustCompile(`/quant/[^/]*$|/kernels/quantize[^/]*$`)
	fused := regexp.MustCompile(`(?m)^.*\((\S+\.go:\d+)\)\s+(V?FN?M(ADD|SUB)\w*).*$`)
	for _, platform := range []string{"GOARCH=amd64 GOAMD64=v3", "GOARCH=arm64"} {
		t.Run(platform, func(t *testing.T) {
			build := exec.Command("go", "build", "-gcflags=-S", ".", "../kernels")
			build.Env = append(build.Environ(), "CGO_ENABLED=0", "GOOS=linux")
			build.Env = append(build.Env, regexp.MustCompile(`\s+`).Split(platform, -1)...)
			assembly, err := build.CombinedOutput()
			if err != nil {
				t.Fatalf("go build: %v\n%s", err, assembly)
			}
			for _, name := range []string{"quant.Dequantize", "kernels.ErrorWeights"} {
				if !bytes.Contains(assembly, []byte(name)) {
					t.Fatalf("go build -gcflags=-S does not list %s", name)
				}
			}
			for _, m := range fused.FindAllSubmatch(assembly, -1) {
				if of.Match(m[1]) {
					t.Errorf("%s: %s", m[1], m[2])
				}
			}
		})
	}
}
