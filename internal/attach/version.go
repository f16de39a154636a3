package attach

// Version is the version of this library; files that it writes record it.
const Version = "0.1.0"
