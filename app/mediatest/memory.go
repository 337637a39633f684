package mediatest

import "runtime"

// Allocated returns the bytes that the process allocates while f runs, also
// those that are garbage by its end. Nothing else may run meanwhile: neither a
// fuzz target nor a test that measures is parallel.
func Allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}
