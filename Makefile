# The few commands that developing peftconv takes; "make" alone lists them.

include .ci/tools.env
VERSION ?= $(shell git describe --tags --always --dirty)
export CGO_ENABLED = 0

.PHONY: help build test race purego lint bench generate model integration release nightly ci clean

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 14

build: ## the command, for this machine
	go build -trimpath -ldflags '-s -w -X main.release=$(VERSION)' -o peftconv ./cmd/peftconv

test: ## all tests
	go test ./...

race: ## the shorter tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race -short ./...

purego: ## all tests without assembly
	go test -tags purego ./...

lint: ## gofmt, vet on every platform, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go') | tee /dev/stderr)"
	go vet ./... && go vet -tags purego ./...
	GOARCH=arm64 go vet ./... && GOOS=windows go vet ./... && GOOS=darwin go vet ./...
	go run $(STATICCHECK) ./...

bench: ## benchmarks of the kernels and the block formats
	go test -run '^$$' -bench . ./kernels ./quant

generate: ## the kernels' assembly, from its generators
	go generate ./kernels

model: ## the built-in model, from nothing (long)
	go generate ./internal/demo

integration: ## our files against a real llama.cpp (needs Node.js)
	cd integration && npm install --no-save --ignore-scripts --omit=optional --no-audit --no-fund
	PEFTCONV_INTEGRATION=1 go test -count=1 -v ./integration

release: ## archives, packages, recipes, checksums and the list of modules, in dist/
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} \
	go run ./internal/packaging -version $(VERSION) -nfpm $(NFPM) -cyclonedx $(CYCLONEDX) -out dist

nightly: ## fuzz every target, 10⁸ executions in all (long)
	.ci/nightly

ci: ## every check
	.ci/run

clean: ## remove what building made
	rm -rf dist peftconv peftconv.exe
