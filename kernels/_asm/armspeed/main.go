// Command armspeed says how fast the register tiles for arm64 are on processors that llvm-mca has a model of: cycles of
// a tile, and its share of the peak, which is as many of its multiplying instructions as the model starts in that time
// if they wait for nothing.
// It reads a program that the kernels are linked into. .ci/arm-speed runs it.
//
//	armspeed PROGRAM
//
// A tile is simulated as a trace: its beginning, its unrolled loop as often as k says, its end; tile after tile. The
// models know of no caches: operands are as in the L1 cache.
package main

import (
	"fmt"
	"log"
	"math"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A kernel is a register tile: the function, the instruction that it is made of, and how many numbers along k its
// unrolled loop takes.
type kernel struct {
	name, multiply string
	k              int
}

var kernels = []kernel{
	{"tile12", "fmla", 4}, {"tile8", "fmla", 4}, {"tile4", "fmla", 4}, {"dots", "fmla", 4},
	{"tileDotsx12", "sdot", 16}, {"tileDotsx8", "sdot", 16}, {"tileDotsx4", "sdot", 16},
	{"tileMatricesx12", "smmla", 16}, {"tileMatricesx8", "smmla", 16}, {"tileMatricesx4", "smmla", 16},
	{"tileBF16x12", "bfmmla", 8}, {"tileBF16x8", "bfmmla", 8}, {"tileBF16x4", "bfmmla", 8},
}

// blocks are the kernels over blocks of weights: those that unpack them, and those that multiply them by SDOT.
var blocks = []struct {
	format  string
	weights float64
}{
	{"Q8_0", 32}, {"Q4_0", 32}, {"Q4_K", 256}, {"Q5_K", 256}, {"Q6_K", 256}, {"IQ4_XS", 256},
}

// elements are loops over slices, and the elements that one pass takes.
var elements = []struct {
	name  string
	count float64
}{
	{"dot", 16}, {"axpy", 16}, {"sumSquares", 16}, {"scaleMul", 16}, {"expSum", 4}, {"swiglu", 4}, {"swigluBackward", 4},
	{"softCap", 4}, {"rope", 8}, {"ropeNeox", 8}, {"adamw", 4},
}

// processors are those of which the models are asked, with the instructions that they lack.
var processors = []struct {
	name  string
	lacks []string
}{
	{"apple-m1", []string{"smmla", "bfmmla"}},
	{"neoverse-n1", []string{"smmla", "bfmmla"}},
	{"neoverse-v1", nil},
}

const (
	depth    = 256 // k of a tile
	features = "+dotprod,+i8mm,+bf16"
	version  = "-19"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: armspeed PROGRAM")
	}
	header(fmt.Sprintf("tile, k = %d", depth))
	for _, k := range kernels {
		tile := disassemble(os.Args[1], k.name)
		fmt.Printf("| %s (%s) |", k.name, strings.ToUpper(k.multiply))
		for _, p := range processors {
			if slices.Contains(p.lacks, k.multiply) {
				fmt.Print(" – |")
				continue
			}
			trace := tile.trace(depth / k.k)
			cycles := simulate(p.name, trace)
			best := reciprocal(p.name, tile.loops[0], k.multiply)
			loop := simulate(p.name, tile.loops[0]) / count(tile.loops[0], k.multiply)
			fmt.Printf(" %.0f cycles, %.0f %% (loop %.0f %%) |", cycles, 100*best*count(trace, k.multiply)/cycles,
				100*best/loop)
		}
		fmt.Println()
	}
	fmt.Println()
	header("weights a cycle, unpacked / multiplied")
	for _, b := range blocks {
		fmt.Printf("| %s |", b.format)
		for _, p := range processors {
			fmt.Printf(" %.1f / %.1f |", b.weights/simulate(p.name, disassemble(os.Args[1], "dequantize"+b.format).loops[0]),
				b.weights/simulate(p.name, disassemble(os.Args[1], "products"+b.format).loops[0]))
		}
		fmt.Println()
	}
	loops(os.Args[1])
}

// loops prints the elements a cycle of simple loops.
func loops(program string) {
	fmt.Println()
	header("elements a cycle")
	for _, e := range elements {
		fmt.Printf("| %s |", e.name)
		for _, p := range processors {
			fmt.Printf(" %.2f |", e.count/simulate(p.name, disassemble(program, e.name).loops[0]))
		}
		fmt.Println()
	}
}

// header begins a table with a column for each processor.
func header(first string) {
	fmt.Printf("| %s |", first)
	for _, p := range processors {
		fmt.Printf(" %s |", p.name)
	}
	fmt.Println("\n|" + strings.Repeat("---|", 1+len(processors)))
}

// A function is its instructions as text, cut at its loops.
type function struct {
	straight [][]string // before, between and after the loops
	loops    [][]string
}

// trace is the instructions of a call that runs the first loop n times, and the others not at all.
func (f function) trace(n int) []string {
	t := slices.Clone(f.straight[0])
	for range n {
		t = append(t, f.loops[0]...)
	}
	for _, s := range f.straight[1:] {
		t = append(t, s...)
	}
	return t
}

var (
	line   = regexp.MustCompile(`^\s*([0-9a-f]+):\s+(.*)$`)
	branch = regexp.MustCompile(`^b\.ge\s+0x([0-9a-f]+)`)
	jump   = regexp.MustCompile(`^(b|b\.\w+|cbn?z\s+\w+,)\s+0x[0-9a-f]+$`)
)

// disassemble reads a kernel from a program. Its loops end with a conditional branch back.
func disassemble(program, name string) function {
	symbol := "github.com/peftconv/peftconv/kernels." + name + "NEON.abi0"
	out := run("", "llvm-objdump"+version, "-d", "--no-show-raw-insn", "--mattr="+features,
		"--disassemble-symbols="+symbol, program)
	var at []int
	var text []string
	for _, l := range strings.Split(out, "\n") {
		if m := line.FindStringSubmatch(l); m != nil {
			address, _ := strconv.ParseInt(m[1], 16, 64)
			at = append(at, int(address))
			text = append(text, strings.TrimSpace(strings.Split(m[2], "<")[0]))
		}
	}
	var f function
	from := 0
	defer func() { // addresses mean nothing to llvm-mca
		for _, part := range append(f.straight, f.loops...) {
			for i, t := range part {
				part[i] = jump.ReplaceAllString(t, "$1 #8")
			}
		}
	}()
	for i, t := range text {
		if t == "ret" {
			f.straight = append(f.straight, text[from:i])
			break
		}
		m := branch.FindStringSubmatch(t)
		if m == nil {
			continue
		}
		target, _ := strconv.ParseInt(m[1], 16, 64)
		if start, ok := slices.BinarySearch(at, int(target)); ok && from < start && start < i { // not a loop around others
			f.straight = append(f.straight, text[from:start-1]) // without the jump to the end of the loop
			f.loops = append(f.loops, text[start:i])
			from = i + 1
		}
	}
	if len(f.loops) == 0 {
		log.Fatalf("%s has no loop in %s", symbol, program)
	}
	return f
}

// count is how often an instruction is in a text.
func count(text []string, name string) float64 {
	n := 0
	for _, t := range text {
		if strings.HasPrefix(t, name+"\t") || strings.HasPrefix(t, name+" ") {
			n++
		}
	}
	return float64(n)
}

// simulate is the cycles of a text, one of many repetitions.
func simulate(processor string, text []string) float64 {
	const few, many = 20, 120
	cycles := func(iterations int) float64 {
		out := model(processor, text, "-iterations="+strconv.Itoa(iterations), "-instruction-info=false")
		return number(out, `Total Cycles:\s+(\d+)`)
	}
	return (cycles(many) - cycles(few)) / (many - few)
}

// reciprocal is the cycles between two starts of an instruction of a text.
func reciprocal(processor string, text []string, name string) float64 {
	i := slices.IndexFunc(text, func(t string) bool { return count([]string{t}, name) > 0 })
	columns := number(model(processor, text[i:i+1], "-iterations=1"), `(?m)^\s*\d+\s+\d+\s+([0-9.]+)\s+`+name)
	return 1 / math.Round(1/columns) // it is printed with two digits
}

// model asks llvm-mca.
func model(processor string, text []string, args ...string) string {
	args = append(args, "-mtriple=aarch64", "-mcpu="+processor, "-mattr="+features, "-resource-pressure=false")
	return run(strings.Join(text, "\n"), "llvm-mca"+version, args...)
}

// number is what a pattern matches in what llvm-mca said.
func number(said, pattern string) float64 {
	m := regexp.MustCompile(pattern).FindStringSubmatch(said)
	if m == nil {
		log.Fatalf("llvm-mca says:\n%s", said)
	}
	n, _ := strconv.ParseFloat(m[1], 64)
	return n
}

func run(input, name string, args ...string) string {
	c := exec.Command(name, args...)
	c.Stdin, c.Stderr = strings.NewReader(input), os.Stderr
	out, err := c.Output()
	if err != nil {
		log.Fatalf("%s: %v", name, err)
	}
	return string(out)
}
