package autograd

import "github.com/peftconv/peftconv/kernels"

// rowTask is work on rows that do not depend on each other: rows does those from from to to-1.
type rowTask interface{ rows(from, to int) }

// loop is a rowTask in progress on all threads. There is one per tape, so that running a task allocates nothing.
type loop struct {
	task    rowTask
	n, size int
	run     func(i int) // piece, bound once
}

// pieceFloats is the number of values below which work is not divided among threads.
const pieceFloats = 1 << 13

// rows runs a task on rows 0 to n-1 of cols values each, divided evenly.
func (t *Tape) rows(n, cols int, task rowTask) {
	pieces := min(n, n*cols/pieceFloats, 4*kernels.Threads())
	if pieces <= 1 {
		task.rows(0, n)
		return
	}
	l := &t.loop
	if l.run == nil {
		l.run = l.piece
	}
	l.task, l.n, l.size = task, n, (n+pieces-1)/pieces
	kernels.Parallel((n+l.size-1)/l.size, l.run)
	l.task = nil
}

// piece does the rows of piece number i.
func (l *loop) piece(i int) { l.task.rows(i*l.size, min(l.n, (i+1)*l.size)) }

// rowsPerTask is the number of rows of one task of forRows.
const rowsPerTask = 16

// forRows runs f on rows 0 to n-1, a few rows a task: like Tape.rows, for operations that are rare.
func forRows(n int, f func(i int)) {
	kernels.Parallel((n+rowsPerTask-1)/rowsPerTask, func(task int) {
		for i := task * rowsPerTask; i < min(n, (task+1)*rowsPerTask); i++ {
			f(i)
		}
	})
}
