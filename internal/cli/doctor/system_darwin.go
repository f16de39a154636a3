package doctor

import "golang.org/x/sys/unix"

// processorName is what the system calls the processor.
func processorName() string {
	name, _ := unix.Sysctl("machdep.cpu.brand_string")
	return name
}

// memoryTotal is the memory of the machine, in bytes.
func memoryTotal() int64 {
	n, _ := unix.SysctlUint64("hw.memsize")
	return int64(n)
}
