// Package mapped opens files as read-only memory maps.
package mapped
