package tokenizer

import "slices"

// trie finds the tokens that a text begins with. Nodes stand in one slice, the children of a node side by side and in
// order; node 0 is the root.
type trie struct {
	nodes []trieNode
	root  [256]int32 // children of the root by byte, 0: none
}

type trieNode struct {
	first    int32 // the first child
	value    int32 // the token that ends here, or none
	children uint16
	label    byte
}

// newTrie makes the trie of texts, each with the id at its place. Empty texts are left out; of equal texts the first
// counts.
func newTrie(texts []string, ids []int32) *trie {
	order := make([]int, 0, len(texts))
	for i, s := range texts {
		if s != "" {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case texts[a] < texts[b]:
			return -1
		case texts[a] > texts[b]:
			return 1
		}
		return 0
	})
	t := &trie{nodes: []trieNode{{value: none}}}
	// Breadth first, so that the children of a node are neighbours. A job is a node and the texts below it.
	type job struct {
		node, from, to, depth int
	}
	for jobs := []job{{0, 0, len(order), 0}}; len(jobs) > 0; jobs = jobs[1:] {
		j := jobs[0]
		t.nodes[j.node].first = int32(len(t.nodes))
		for i := j.from; i < j.to; {
			label := texts[order[i]][j.depth]
			child := trieNode{value: none, label: label}
			from := i
			for ; i < j.to && texts[order[i]][j.depth] == label; i++ {
				if ends := len(texts[order[i]]) == j.depth+1; ends {
					if child.value == none {
						child.value = ids[order[i]]
					}
					from = i + 1
				}
			}
			t.nodes = append(t.nodes, child)
			t.nodes[j.node].children++
			if from < i {
				jobs = append(jobs, job{len(t.nodes) - 1, from, i, j.depth + 1})
			}
		}
	}
	root := t.nodes[0]
	for i := root.first; i < root.first+int32(root.children); i++ {
		t.root[t.nodes[i].label] = i
	}
	return t
}

// child is the node after byte b, or 0.
func (t *trie) child(node int32, b byte) int32 {
	if node == 0 {
		return t.root[b]
	}
	n := &t.nodes[node]
	lo, hi := n.first, n.first+int32(n.children)
	for lo < hi {
		mid := (lo + hi) / 2
		if t.nodes[mid].label < b {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < n.first+int32(n.children) && t.nodes[lo].label == b {
		return lo
	}
	return 0
}

// longest is the longest token that text begins with, of those that want accepts (nil: all); id is none where there is
// no such token.
func (t *trie) longest(text string, want func(id int32) bool) (id int32, length int) {
	id = none
	node := int32(0)
	for i := range len(text) {
		if node = t.child(node, text[i]); node == 0 {
			break
		}
		if v := t.nodes[node].value; v != none && (want == nil || want(v)) {
			id, length = v, i+1
		}
	}
	return id, length
}
