//! Pages and files to test with.

use ltx::{
    Checksum, Compression, Header, PageSize, Pgno, Reader, Trailer, TxId, Writer, page_checksum,
};

/// A page number and the seed of its content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Page {
    pub(crate) pgno: u32,
    pub(crate) seed: u32,
}

impl Page {
    pub(crate) fn number(self) -> Pgno {
        pgno(self.pgno)
    }

    /// The content, by the rule of golden/gen/main.go: zeros, a pattern, or noise.
    pub(crate) fn content(self, size: PageSize) -> Vec<u8> {
        let Page { pgno, seed } = self;
        let bytes = 0..size.get();
        match (pgno + seed) % 3 {
            0 => vec![0; size.bytes()],
            1 => bytes
                .map(|i| if i % 4 == 3 { i / 64 + seed } else { pgno.wrapping_mul(7) + i % 4 } as u8)
                .collect(),
            _ => {
                let mut x = u64::from(pgno) << 32 | u64::from(seed) << 1 | 1;
                bytes
                    .map(|_| {
                        x ^= x << 13;
                        x ^= x >> 7;
                        x ^= x << 17;
                        (x >> 32) as u8
                    })
                    .collect()
            }
        }
    }
}

pub(crate) fn pgno(number: u32) -> Pgno {
    Pgno::new(number).unwrap()
}

pub(crate) fn page_size(bytes: u32) -> PageSize {
    PageSize::new(bytes).unwrap()
}

/// Every page size.
pub(crate) fn page_sizes() -> impl Iterator<Item = PageSize> {
    (9..=16).map(|bits| page_size(1 << bits))
}

/// Checksum of a database of these pages.
pub(crate) fn rolling(pages: &[Page], size: PageSize) -> Checksum {
    pages.iter().fold(Checksum::EMPTY, |sum, page| {
        sum.toggled(page_checksum(page.number(), &page.content(size)))
    })
}

/// The header of a snapshot.
pub(crate) fn snapshot(page_size: PageSize, commit: u32) -> Header {
    Header {
        page_size,
        commit,
        min_txid: TxId::new(1),
        max_txid: TxId::new(1),
        timestamp_ms: 1_700_000_000_000,
        pre_apply_checksum: Checksum::NONE,
        wal_offset: 0,
        wal_size: 0,
        wal_salts: (0, 0),
        node_id: 0,
    }
}

/// The header of transaction 2, which applies to a database with this checksum.
pub(crate) fn increment(page_size: PageSize, commit: u32, pre: Checksum) -> Header {
    Header {
        min_txid: TxId::new(2),
        max_txid: TxId::new(2),
        pre_apply_checksum: pre,
        ..snapshot(page_size, commit)
    }
}

/// A file with these pages.
pub(crate) fn file(
    header: Header,
    pages: &[Page],
    post: Checksum,
    compression: Compression,
) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), header)
        .unwrap()
        .with_compression(compression);
    for page in pages {
        writer
            .write_page(page.number(), &page.content(header.page_size))
            .unwrap();
    }
    writer.finish(post).unwrap().0
}

/// A snapshot of `commit` pages, without the lock page.
pub(crate) fn snapshot_file(size: PageSize, commit: u32) -> Vec<u8> {
    let pages: Vec<Page> = (1..=commit)
        .filter(|number| pgno(*number) != size.lock_page())
        .map(|pgno| Page { pgno, seed: 1 })
        .collect();
    file(
        snapshot(size, commit),
        &pages,
        rolling(&pages, size),
        Compression::Lz4,
    )
}

/// What a file holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Content {
    pub(crate) header: Header,
    pub(crate) pages: Vec<(Pgno, Vec<u8>)>,
    pub(crate) trailer: Trailer,
}

/// Reads a whole file.
pub(crate) fn read(bytes: &[u8]) -> ltx::Result<Content> {
    let mut reader = Reader::new(bytes)?;
    let mut pages = Vec::new();
    let mut page = Vec::new();
    while let Some(pgno) = reader.next_page(&mut page)? {
        pages.push((pgno, page.clone()));
    }
    assert_eq!(reader.next_page(&mut page)?, None);
    Ok(Content {
        header: *reader.header(),
        pages,
        trailer: reader.finish()?,
    })
}

/// The bytes of a file that are LZ4 blocks: the only ones that the file checksum does not cover as they are.
pub(crate) fn block_bytes(file: &[u8]) -> Vec<bool> {
    let mut is_block = vec![false; file.len()];
    let mut at = Header::SIZE;
    while file[at..at + 6] != [0; 6] {
        let size = u32::from_be_bytes(file[at + 6..at + 10].try_into().unwrap()) as usize;
        is_block[at + 10..at + 10 + size].fill(true);
        at += 10 + size;
    }
    is_block
}
