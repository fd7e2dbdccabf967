//! Files written by the Go package; golden/README.md tells how.

use std::{fs, io::Cursor, path::Path};

use ltx::{ChecksumTracking, Header, IndexedReader, Reader, Trailer, TxId, read_ends, verify};

use crate::fixture::{Content, Page, page_size, read, rolling};

/// A line of the manifest.
struct Golden {
    name: String,
    bytes: Vec<u8>,
    tracking: ChecksumTracking,
    header: Header,
    trailer: Trailer,
    pages: Vec<Page>,
}

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"))
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(directory().join(name)).unwrap()
}

fn manifest() -> Vec<Golden> {
    let text = fs::read_to_string(directory().join("manifest.tsv")).unwrap();
    text.lines().skip(1).map(parse_line).collect()
}

fn parse_line(line: &str) -> Golden {
    let fields: Vec<&str> = line.split('\t').collect();
    let number = |at: usize| fields[at].parse::<u64>().unwrap();
    let pages = fields[15]
        .split(',')
        .filter(|page| !page.is_empty())
        .map(|page| {
            let (pgno, seed) = page.split_once(':').unwrap();
            Page {
                pgno: pgno.parse().unwrap(),
                seed: seed.parse().unwrap(),
            }
        });
    Golden {
        name: fields[0].to_owned(),
        bytes: golden(fields[0]),
        tracking: match fields[1] {
            "0" => ChecksumTracking::Tracked,
            "2" => ChecksumTracking::Untracked,
            flags => panic!("flags {flags}"),
        },
        header: Header {
            page_size: page_size(number(2) as u32),
            commit: number(3) as u32,
            min_txid: fields[4].parse().unwrap(),
            max_txid: fields[5].parse().unwrap(),
            timestamp_ms: fields[6].parse().unwrap(),
            pre_apply_checksum: fields[7].parse().unwrap(),
            wal_offset: number(8),
            wal_size: number(9),
            wal_salts: (number(10) as u32, number(11) as u32),
            node_id: number(12),
        },
        trailer: Trailer {
            post_apply_checksum: fields[13].parse().unwrap(),
            file_checksum: fields[14].parse().unwrap(),
        },
        pages: pages.collect(),
    }
}

#[test]
fn what_go_wrote_is_read_in_full() {
    let files = manifest();
    assert_eq!(files.len(), 18);
    for file in files {
        let name = &file.name;
        let size = file.header.page_size;
        let pages = file
            .pages
            .iter()
            .map(|page| (page.number(), page.content(size)))
            .collect();
        let expected = Content {
            header: file.header,
            pages,
            trailer: file.trailer,
        };
        assert!(read(&file.bytes).unwrap() == expected, "{name}");
        assert_eq!(
            Reader::new(&file.bytes[..]).unwrap().tracking(),
            file.tracking,
            "{name}"
        );
        assert_eq!(
            verify(&file.bytes[..]).unwrap(),
            (file.header, file.trailer),
            "{name}"
        );
        assert_eq!(
            read_ends(&mut Cursor::new(&file.bytes)).unwrap(),
            (file.header, file.trailer),
            "{name}"
        );
        if file.header.is_snapshot() && file.tracking == ChecksumTracking::Tracked {
            assert_eq!(
                rolling(&file.pages, size),
                file.trailer.post_apply_checksum,
                "{name}"
            );
        }
    }
}

#[test]
fn what_go_wrote_is_read_by_its_index() {
    for file in manifest() {
        let mut reader = IndexedReader::new(Cursor::new(&file.bytes)).unwrap();
        assert_eq!(
            (reader.header(), reader.trailer()),
            (&file.header, &file.trailer)
        );
        assert_eq!(reader.tracking(), file.tracking);
        assert!(
            reader
                .pages()
                .eq(file.pages.iter().map(|page| page.number())),
            "{}",
            file.name
        );
        let mut content = Vec::new();
        for page in file.pages.iter().rev() {
            assert!(reader.page(page.number(), &mut content).unwrap());
            assert!(
                content == page.content(file.header.page_size),
                "{} page {}",
                file.name,
                page.pgno
            );
        }
    }
}

#[test]
fn pages_as_frames_are_read() {
    let bytes = golden("frames.ltx");
    let size = page_size(4096);
    let pages = [1, 2, 3].map(|pgno| Page { pgno, seed: 0 });
    let content = read(&bytes).unwrap();
    assert_eq!(content.trailer.post_apply_checksum, rolling(&pages, size));
    let expected: Vec<_> = pages
        .iter()
        .map(|page| (page.number(), page.content(size)))
        .collect();
    assert!(content.pages == expected);

    let mut reader = IndexedReader::new(Cursor::new(&bytes)).unwrap();
    let mut page = Vec::new();
    for (pgno, content) in expected {
        assert!(reader.page(pgno, &mut page).unwrap());
        assert!(page == content);
    }
    for at in 100..bytes.len() {
        assert!(verify(&bytes[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn compaction_gives_what_go_gives() {
    let inputs: Vec<Vec<u8>> = (1..=3)
        .map(|n| golden(&format!("compact-{n}.ltx")))
        .collect();
    let mut output = Vec::new();
    let (header, trailer) =
        ltx::compact(inputs.iter().map(Vec::as_slice).collect(), &mut output).unwrap();
    let (ours, theirs) = (
        read(&output).unwrap(),
        read(&golden("compacted.ltx")).unwrap(),
    );
    assert_eq!((ours.header, ours.trailer), (header, trailer));
    assert_eq!(ours.header, theirs.header);
    assert_eq!(
        ours.trailer.post_apply_checksum,
        theirs.trailer.post_apply_checksum
    );
    assert!(ours.pages == theirs.pages);
    assert_eq!(header.max_txid, TxId::new(3));
}
