# What .ci/run and .ci/nightly know of fuzz targets; to be sourced by them, in the root of the module.

# The fuzz targets that parse files. The second list has the smaller ones, which need less time.
parsers="gguf/FuzzParse safetensors/FuzzParse safetensors/FuzzIndex gguf/imatrix/FuzzParse peft/train/FuzzReadAdapter
internal/lorafile/FuzzRead internal/tokenizer/FuzzFromHF internal/tokenizer/FuzzSentencePiece internal/hfvocab/FuzzReadFiles
internal/dataset/FuzzLoad internal/records/FuzzRecords gguf/edit/FuzzDecodeJournal internal/cli/FuzzParseConfig"
small_parsers="internal/tokenizer/FuzzFromGGUF internal/arch/FuzzReadGGUF internal/arch/FuzzReadValues
internal/records/FuzzParquet internal/records/FuzzParseObject internal/records/FuzzCompressed internal/dataset/FuzzReadCache
internal/names/FuzzOllama internal/modelcard/FuzzFrontMatter gguf/verify/FuzzParseSums peft/search/FuzzParsePrompt
internal/chat/FuzzReadJSON internal/names/FuzzLMStudio internal/atomicfile/FuzzReadJournal peft/train/FuzzReadCheckpoint
peft/export/FuzzStateInto internal/logprobs/FuzzOpen internal/requant/FuzzUnpack"

# all_targets prints the fuzz targets of the module, each as FOLDER/NAME.
all_targets() {
  local module package target
  module=$(go list -m)
  for package in $(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...); do
    for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
      echo "${package#"$module"/}/$target"
    done
  done
}

# fuzz_one FOLDER/NAME FUZZTIME WORKERS: fuzzes a target. An input that is new is made small in 20 tries and no more: to
# make it as small as it can be takes a minute, of which nothing is fuzzed. What is fuzzed may not take all memory.
fuzz_one() {
  GOMEMLIMIT=2GiB go test -run '^$' -fuzz "^${1##*/}\$" -fuzztime "$2" -fuzzminimizetime 20x -parallel "$3" "./${1%/*}"
}

# executions LOG: how often a target was run.
executions() { sed -n 's/.*execs: \([0-9]*\).*/\1/p' "$1" | tail -n 1; }
