// Package mapped opens files as read-only memory maps, so that a model larger than memory can be read without copying:
// pages are loaded when they are touched and are shared with every other process that reads the same file.
//
// The bytes belong to the map. They must not be written to (doing so faults), and they must not be used after Close.
// Files that are replaced by renaming a new one over them, as package atomicfile does, stay readable.
//
// A file can become shorter while it is mapped, or its disk fail. The processor then faults where the missing page is
// touched, wherever that is: in a product, in a hash, in the system's own copying. [Guard] makes an error of it, which
// says which file and where. Functions that read maps are called under one:
//
//	func Loss(b *Base) (loss float64, err error) {
//		defer mapped.Guard(&err)()
//
// A file that another program writes to in place is noticed too, after the fact: see [Changed].
package mapped
