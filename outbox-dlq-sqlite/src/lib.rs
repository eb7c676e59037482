//! DlqHeap on SQLite.
