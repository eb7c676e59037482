//! DlqHeap in memory.
