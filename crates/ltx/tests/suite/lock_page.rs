//! Databases beyond 1 GiB, where SQLite's lock bytes are.

use std::{fs::File, path::Path};

use ltx::{
    Checksum, Error, Header, IndexedReader, PageSize, Reader, Trailer, TxId, Writer, compact,
    page_checksum, verify,
};

use crate::{
    fixture::{increment, page_size, pgno, snapshot},
    go,
};

/// Writes a snapshot of zero pages that ends `beyond` pages after the lock page.
fn zeros(path: &Path, size: PageSize, beyond: u32) -> (Header, Trailer) {
    let lock = size.lock_page();
    let header = snapshot(size, lock.get() + beyond);
    let page = vec![0; size.bytes()];
    let mut writer = Writer::new(File::create(path).unwrap(), header).unwrap();
    let mut sum = Checksum::EMPTY;
    for number in (1..=header.commit)
        .map(pgno)
        .filter(|number| *number != lock)
    {
        writer.write_page(number, &page).unwrap();
        sum = sum.toggled(page_checksum(number, &page));
    }
    (header, writer.finish(sum).unwrap().1)
}

#[test]
fn a_snapshot_passes_over_the_lock_page() {
    let size = page_size(512);
    assert_eq!(size.lock_page(), pgno(2_097_153));
    let directory = go::directory();
    let path = directory.path().join("snapshot.ltx");
    let ends = zeros(&path, size, 2);
    // Go's command makes three system calls per page, so it takes longest: it runs meanwhile.
    let go = go::tool().map(|tool| go::spawn(tool, [Path::new("verify"), &path]));
    assert_eq!(verify(File::open(&path).unwrap()).unwrap(), ends);

    let mut reader = IndexedReader::new(File::open(&path).unwrap()).unwrap();
    assert_eq!(reader.pages().len(), 2_097_154);
    let mut page = Vec::new();
    assert!(reader.page(pgno(2_097_152), &mut page).unwrap());
    assert!(!reader.page(pgno(2_097_153), &mut page).unwrap());
    assert!(reader.page(pgno(2_097_155), &mut page).unwrap());

    if let Some(go) = go {
        assert_eq!(go::stdout(go.wait_with_output().unwrap()), "ok");
    }
}

#[test]
fn the_lock_page_cannot_be_written_or_read() {
    let size = page_size(65536);
    let lock = size.lock_page();
    let page = vec![0; size.bytes()];
    let mut writer = Writer::new(Vec::new(), increment(size, 20_000, Checksum::EMPTY)).unwrap();
    assert!(matches!(writer.write_page(lock, &page), Err(Error::LockPage(found)) if found == lock));
    writer.write_page(pgno(lock.get() + 1), &page).unwrap();
    let (mut bytes, _) = writer.finish(Checksum::EMPTY).unwrap();

    bytes[Header::SIZE..Header::SIZE + 4].copy_from_slice(&lock.get().to_be_bytes());
    let mut reader = Reader::new(&bytes[..]).unwrap();
    assert!(
        matches!(reader.next_page(&mut Vec::new()), Err(Error::LockPage(found)) if found == lock)
    );
}

#[test]
fn compaction_fills_a_database_on_both_sides_of_the_lock_page() {
    let size = page_size(65536);
    let lock = size.lock_page().get();
    let commit = lock + 2;
    let page = vec![0; size.bytes()];
    let sum = (1..=commit)
        .filter(|number| *number != lock)
        .fold(Checksum::EMPTY, |sum, number| {
            sum.toggled(page_checksum(pgno(number), &page))
        });

    let (empty, _) = Writer::new(Vec::new(), snapshot(size, 0))
        .unwrap()
        .finish(Checksum::EMPTY)
        .unwrap();
    let mut writer = Writer::new(Vec::new(), increment(size, commit, Checksum::EMPTY)).unwrap();
    writer.write_page(pgno(commit), &page).unwrap();
    let (grown, _) = writer.finish(sum).unwrap();

    let mut output = Vec::new();
    let (header, _) = compact(vec![&empty[..], &grown[..]], &mut output).unwrap();
    assert_eq!((header.commit, header.max_txid), (commit, TxId::new(2)));
    let mut reader = IndexedReader::new(std::io::Cursor::new(&output)).unwrap();
    assert!(
        reader
            .pages()
            .map(|number| number.get())
            .eq((1..=commit).filter(|number| *number != lock))
    );
    let mut content = Vec::new();
    assert!(reader.page(pgno(lock + 1), &mut content).unwrap());
    assert!(content == page);
}
