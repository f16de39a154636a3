//go:build mpi

package mpi

import (
	"encoding/json"
	"os"
	"runtime"
	"slices"
)

// place is where a rank runs.
type place struct {
	Host       string
	Processors []int // that it may use, where the system tells
	Count      int   // of them, after limits of its control group
}

// describe is the place of this process, as a text.
func describe() string {
	p := place{Processors: processors(), Count: runtime.GOMAXPROCS(0)}
	p.Host, _ = os.Hostname()
	text, _ := json.Marshal(p)
	return string(text)
}

// share gives the host names of all ranks, and the number of processors for a rank: of those that it may use, its share
// with the ranks on its host that may use one of them, too.
func share(texts []string, rank int) (names []string, threads int) {
	places := make([]place, len(texts))
	for i, text := range texts {
		json.Unmarshal([]byte(text), &places[i])
		names = append(names, places[i].Host)
	}
	me, sharing := places[rank], 0
	for i, p := range places {
		meets := func(n int) bool { return slices.Contains(me.Processors, n) }
		if p.Host == me.Host && (i == rank || me.Processors == nil || slices.ContainsFunc(p.Processors, meets)) {
			sharing++
		}
	}
	count := me.Count
	if me.Processors != nil {
		count = min(count, len(me.Processors))
	}
	return names, max(1, count/sharing)
}
