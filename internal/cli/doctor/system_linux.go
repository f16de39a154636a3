package doctor

import (
	"runtime"
	"strings"

	"github.com/peftconv/peftconv/internal/infile"
)

// processorName is what the kernel calls the first processor, "" where it gives no name, as on many arm64 machines.
func processorName() string {
	text, err := infile.Read("/proc/cpuinfo", infile.Text)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		if key = strings.TrimSpace(key); key == "model name" || key == "Model" && runtime.GOARCH == "arm64" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// memoryTotal is not needed here: a limit tells it.
func memoryTotal() int64 { return 0 }
