"""The manifold in the reader's browser: one ES module, its WebAssembly kernel, and the data it loads."""
