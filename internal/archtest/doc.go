// Package archtest writes small random models of every architecture for tests.
package archtest
