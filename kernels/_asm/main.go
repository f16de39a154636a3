// Command _asm writes the assembly of package kernels: one file FAMILY_ARCH.s for each family of kernels,
// into the directory that is its argument. "go generate" in the package runs
//
//	go run . ..
//
// A kernel is described once, over an isa, and emitted for each.
package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/printer"
)

// amd64Files maps the name of each file to the generators of what is in it.
var amd64Files = map[string]func(g *gen){
	"tile_amd64.s":       tileFile,
	"narrow_amd64.s":     narrowFile,
	"peak_amd64.s":       peakFile,
	"vector_amd64.s":     vectorFile,
	"norm_amd64.s":       normFile,
	"softmax_amd64.s":    softmaxFile,
	"softcap_amd64.s":    softCapFile,
	"rope_amd64.s":       ropeFile,
	"swiglu_amd64.s":     swigluFile,
	"adamw_amd64.s":      adamwFile,
	"quantize_amd64.s":   quantizeFile,
	"requantize_amd64.s": requantizeFile,
	"dequantize_amd64.s": dequantizeFile,
	"rounded_amd64.s":    roundedFile,
	"lowrank_amd64.s":    lowRankFile,
	"round_amd64.s":      roundFile,
	"amx_amd64.s":        amxFile,
}

// arm64Files is the same for arm64.
var arm64Files = map[string]func(k *neon){
	"tile_arm64.s":       neonTileFile,
	"narrow_arm64.s":     neonNarrowFile,
	"peak_arm64.s":       neonPeakFile,
	"vector_arm64.s":     neonVectorFile,
	"norm_arm64.s":       neonNormFile,
	"softmax_arm64.s":    neonSoftmaxFile,
	"softcap_arm64.s":    neonSoftCapFile,
	"rope_arm64.s":       neonRopeFile,
	"swiglu_arm64.s":     neonSwigluFile,
	"adamw_arm64.s":      neonAdamwFile,
	"dequantize_arm64.s": neonDequantizeFile,
	"quantize_arm64.s":   neonQuantizeFile,
	"rounded_arm64.s":    neonRoundedFile,
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: _asm DIRECTORY")
	}
	for name, generate := range amd64Files {
		text, err := amd64Source(generate)
		if err != nil {
			log.Fatalf("%s: %v", name, err)
		}
		write(name, text)
	}
	for name, generate := range arm64Files {
		write(name, arm64Source(generate))
	}
}

// write makes a file in the directory of the command line.
func write(name string, text []byte) {
	if err := os.WriteFile(filepath.Join(os.Args[1], name), text, 0o644); err != nil {
		log.Fatal(err)
	}
}

// amd64Source is the text of one file.
func amd64Source(generate func(g *gen)) ([]byte, error) {
	ctx := build.NewContext()
	ctx.ConstraintExpr("!purego")
	generate(&gen{Context: ctx, constants: map[uint32]operand.Mem{}, tables: map[string]operand.Mem{}})
	file, err := ctx.Result()
	if err != nil {
		return nil, fmt.Errorf("describe: %w", err)
	}
	if err := pass.Compile.Execute(file); err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	config := printer.Config{Name: "kernels/_asm", Pkg: "kernels"}
	text, err := printer.NewGoAsm(config).Print(file)
	return writePrefetchw(writeEVEX(writeTiles(text))), err
}
