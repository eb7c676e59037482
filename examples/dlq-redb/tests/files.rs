//! Files that cannot be opened.

use dlq_redb::RedbDlqHeap;
use outbox_conformance::Folder;
use outbox_core::ErrorKind;

#[test]
fn a_file_of_another_program_is_refused_and_stays_as_it_is() {
    let folder = Folder::new();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "not a database").unwrap();
    let error = RedbDlqHeap::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(std::fs::read(&path).unwrap(), b"not a database");
}

#[test]
fn a_file_that_is_open_is_unavailable_until_it_is_closed() {
    let folder = Folder::new();
    let path = folder.path().join("heap.redb");
    let heap = RedbDlqHeap::open(&path).unwrap();
    let error = RedbDlqHeap::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    drop(heap);
    RedbDlqHeap::open(&path).unwrap();
}
