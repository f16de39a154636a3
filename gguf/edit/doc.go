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
// # Several edits at once
//
// [Plan.Apply] and [Recover] hold a lock of the file while they write; an edit that comes second waits. When it has
// the lock and the file is not the one that it was prepared for, it is a [ChangedError], and can be prepared anew.
// Readers wait for an edit in place too (gguf.Open); one that begins while they read is noticed (mapped.Changed).
package edit
