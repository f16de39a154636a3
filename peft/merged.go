package peft

// Keys of the metadata in which a merged GGUF file records what was merged.
const (
	mergeVersion    = "peftconv.merge.version"        // of this library
	mergeBaseSHA256 = "peftconv.merge.base_sha256"    // of the file that the adapters were merged into
	mergeMethods    = "peftconv.merge.methods"        // of the adapters, in order
	mergeAdapters   = "peftconv.merge.adapter_sha256" // of their configurations and tensors
	mergeScales     = "peftconv.merge.scales"         // the factors on them
)
