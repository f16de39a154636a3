// Package edit changes the metadata of a GGUF file and the names of its tensors, without touching the tensors' data.
//
// [Prepare] makes a [Plan] from an [Edit]: what will change and how it is written. [Plan.Apply] writes it. If the new
// header fits into the space of the old one, the data stay where they are and only the header is written; the metadata
// value [PadKey] fills the unused space. Otherwise the whole file is written to a new one and the data are copied.
//
// # What a crash leaves
//
// A rewritten file gets its name when it is complete. A header that fits is written in the same way into a clone of
// the file, where the file system supports clones (Btrfs, XFS): that takes no time and no space. On other file systems
// it is written in place, after the bytes that change, old and new, have been saved on the disk in FILE.edit-journal.
// If the program or the machine stops in between, no byte is lost: the journal is still there, and [Recover] finishes
// the edit. A file that has other names (hard links), which may be somebody's copies, is never written in place.
//
// Two edits of one file at the same time are not protected from each other.
package edit
