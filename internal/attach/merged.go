package attach

// Keys of the metadata in which a merged GGUF file records what was merged.
const (
	MergeVersion    = "peftconv.merge.version"        // of this library
	MergeBaseSHA256 = "peftconv.merge.base_sha256"    // of the file that the adapters were merged into
	MergeMethods    = "peftconv.merge.methods"        // of the adapters, in order
	MergeAdapters   = "peftconv.merge.adapter_sha256" // of their configurations and tensors
	MergeScales     = "peftconv.merge.scales"         // the factors on them
)
