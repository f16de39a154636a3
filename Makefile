# The few commands that developing peftconv takes; "make" alone lists them.

include .ci/tools.env
VERSION ?= $(shell git describe --tags --always --dirty)
TARGETS  = linux-amd64 linux-arm64 darwin-amd64 darwin-arm64 windows-amd64 windows-arm64
export CGO_ENABLED = 0

.PHONY: help build test race purego lint bench generate model integration release sbom nightly ci clean

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

release: $(TARGETS:%=dist/peftconv-%) dist/man dist/completion ## static binaries, manual pages, completion, in dist/

dist/peftconv-%:
	GOOS=$(word 1,$(subst -, ,$*)) GOARCH=$(word 2,$(subst -, ,$*)) \
	go build -trimpath -ldflags '-s -w -X main.release=$(VERSION)' \
	-o $@$(if $(findstring windows,$*),.exe) ./cmd/peftconv

dist/man:
	go run -ldflags '-X main.release=$(VERSION)' ./cmd/peftconv man --force $@

dist/completion:
	mkdir -p $@
	for shell in bash zsh fish powershell; do go run ./cmd/peftconv completion $$shell > $@/peftconv.$$shell || exit 1; done

sbom: ## what the program is made of (CycloneDX), in dist/
	mkdir -p dist && go run $(CYCLONEDX) mod -json -output dist/peftconv.cdx.json

nightly: ## fuzz every target, 10⁸ executions in all (long)
	.ci/nightly

ci: ## every check
	.ci/run

clean: ## remove what building made
	rm -rf dist peftconv peftconv.exe
