// Package generate continues a prompt with a base, with adapters or without.
package generate
