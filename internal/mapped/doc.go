// Package mapped opens files as read-only memory maps, so that a model larger than memory can be read without copying:
// pages are loaded when they are touched and are shared with every other process that reads the same file.
//
// The bytes belong to the map. They must not be written to (doing so faults), and they must not be used after Close. A
// file that another process makes shorter while it is mapped faults where the missing pages are touched; files that are
// replaced by renaming a new one over them, as package atomicfile does, stay readable.
package mapped
