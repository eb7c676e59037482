//! The suites that check a DlqHeap, an OutboxStorage and a Transport.
