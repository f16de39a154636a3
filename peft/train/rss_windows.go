package train

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

var getProcessMemoryInfo = windows.NewLazySystemDLL("kernel32.dll").NewProc("K32GetProcessMemoryInfo")

// processMemoryCounters is the system's PROCESS_MEMORY_COUNTERS.
type processMemoryCounters struct {
	size, pageFaults                 uint32
	peakWorkingSet, workingSet       uintptr
	peakPagedPool, pagedPool         uintptr
	peakNonPagedPool, nonPagedPool   uintptr
	pagefileUsage, peakPagefileUsage uintptr
}

// PeakRSS is the largest amount of memory the process has had resident, in bytes; mapped files count as far as they
// were read. It is 0 where the system does not say.
func PeakRSS() int64 { return int64(memoryCounters().peakWorkingSet) }

// RSS is the memory that the process has resident now, in bytes; 0 where the system does not say.
func RSS() int64 { return int64(memoryCounters().workingSet) }

// memoryCounters are zero where the system gives none.
func memoryCounters() (c processMemoryCounters) {
	c.size = uint32(unsafe.Sizeof(c))
	ok, _, _ := getProcessMemoryInfo.Call(uintptr(windows.CurrentProcess()), uintptr(unsafe.Pointer(&c)), uintptr(c.size))
	if ok == 0 {
		return processMemoryCounters{}
	}
	return c
}
